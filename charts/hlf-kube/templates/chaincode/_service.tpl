{{- /*
All chaincode servers that run here, as JSON: one for each chaincode whose service has an image, and
each organisation that installs it. Call with $.
*/ -}}
{{- define "hlf-kube.chaincodeServers" -}}
{{- $network := .Values.network | default dict -}}
{{- $version := get (.Values.chaincode | default dict) "version" | default "1.0" -}}
{{- $members := dict -}}
{{- range $network.channels -}}
{{- $_ := set $members .name (.orgs | default list) -}}
{{- end -}}
{{- $servers := list -}}
{{- range $cc := $network.chaincodes -}}
{{- $service := kindIs "map" $cc.service | ternary $cc.service dict -}}
{{- if $service.image -}}
{{- $orgs := $cc.orgs | default list -}}
{{- if not (hasKey $cc "orgs") -}}
{{- range $cc.channels -}}
{{- $orgs = concat $orgs (.orgs | default (get $members .name) | default list) | uniq -}}
{{- end -}}
{{- end -}}
{{- range $org := $orgs -}}
{{- $server := dict "name" (include "pivt.chaincodeService" (list $org $cc.name)) "org" (include "pivt.org" $org) "mspid" (printf "%sMSP" $org) -}}
{{- $_ := set $server "label" (printf "%s_%s" $cc.name ($cc.version | default $version)) -}}
{{- $_ := set $server "chaincode" (include "pivt.shorten" (list (include "pivt.label" $cc.name) 63)) -}}
{{- $_ := set $server "image" $service.image -}}
{{- $_ := set $server "replicas" (int (hasKey $service "replicas" | ternary $service.replicas 1)) -}}
{{- $_ := set $server "port" (int ($service.port | default 9999)) -}}
{{- $_ := set $server "tls" ($service.tls | default "mtls") -}}
{{- $servers = append $servers $server -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $servers -}}
{{- end -}}

{{- /* Labels that select a chaincode server. Call with (dict "root" $ "server" SERVER). */ -}}
{{- define "hlf-kube.chaincodeServerSelector" -}}
{{ include "hlf-kube.selector" (dict "root" .root "component" "chaincode-server" "org" .server.org) }}
pivt.io/chaincode: {{ .server.chaincode | quote }}
{{- end -}}

{{- /* Labels of its objects. Call as hlf-kube.chaincodeServerSelector. */ -}}
{{- define "hlf-kube.chaincodeServerLabels" -}}
{{ include "hlf-kube.labels" (dict "root" .root "component" "chaincode-server" "org" .server.org) }}
pivt.io/chaincode: {{ .server.chaincode | quote }}
{{- end -}}

{{- /* Refuse servers that could never start, naming the key and the cure. Call with $. */ -}}
{{- define "hlf-kube.validateChaincodeServers" -}}
{{- $orgs := list -}}
{{- range .Values.PeerOrgs -}}{{- $orgs = append $orgs .Name -}}{{- end -}}
{{- $taken := dict -}}
{{- range $i, $cc := (.Values.network | default dict).chaincodes -}}
{{- if kindIs "map" $cc.service -}}
{{- if and $cc.service.image $cc.service.address -}}
{{- fail (printf "network.chaincodes[%d].service: chaincode %q has both address and image; keep address if somebody else runs the server, or image to run it here" $i $cc.name) -}}
{{- end -}}
{{- if $cc.service.image -}}
{{- range $cc.orgs -}}
{{- if not (has . $orgs) -}}
{{- fail (printf "network.chaincodes[%d].orgs: chaincode %q: org %q is not in PeerOrgs of crypto-config.yaml; known orgs: %s" $i $cc.name . (join ", " $orgs)) -}}
{{- end -}}
{{- end -}}
{{- $label := include "pivt.label" $cc.name -}}
{{- if hasKey $taken $label -}}
{{- fail (printf "network.chaincodes[%d].name: the servers of chaincodes %q and %q would have one name; rename one" $i (get $taken $label) $cc.name) -}}
{{- end -}}
{{- $_ := set $taken $label $cc.name -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
