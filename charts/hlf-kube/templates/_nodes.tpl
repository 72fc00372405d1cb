{{- /* cryptogen's host names of one organisation, as JSON: those of Specs, then those of Template. Call with (list KIND ORG). */ -}}
{{- define "hlf-kube.hostnames" -}}
{{- $kind := index . 0 -}}
{{- $org := index . 1 -}}
{{- $hosts := list -}}
{{- range $org.Specs -}}
{{- $hosts = append $hosts .Hostname -}}
{{- end -}}
{{- with $org.Template -}}
{{- $template := . -}}
{{- range $i := until (int .Count) -}}
{{- $index := int (add $i (int $template.Start)) -}}
{{- $host := printf "%s%d" $kind $index -}}
{{- with $template.Hostname -}}
{{- $host = tpl . (dict "Prefix" $kind "Index" $index "Domain" $org.Domain) -}}
{{- end -}}
{{- $hosts = append $hosts $host -}}
{{- end -}}
{{- end -}}
{{- toJson $hosts -}}
{{- end -}}

{{- /*
All nodes of a kind, as JSON. Call with (list $ KIND). "bootstrap" is where a peer's gossip
begins: the organisation's first peer for all, so that a further peer changes none that runs.
*/ -}}
{{- define "hlf-kube.nodes" -}}
{{- $root := index . 0 -}}
{{- $kind := index . 1 -}}
{{- $nodes := list -}}
{{- range $org := eq $kind "orderer" | ternary $root.Values.OrdererOrgs $root.Values.PeerOrgs -}}
{{- $bootstrap := "" -}}
{{- range $host := include "hlf-kube.hostnames" (list $kind $org) | fromJsonArray -}}
{{- $name := include "pivt.node" (list $kind $org.Name $host) -}}
{{- $bootstrap = $bootstrap | default $name -}}
{{- $node := dict "name" $name "org" (include "pivt.org" $org.Name) "mspid" (printf "%sMSP" $org.Name) -}}
{{- $_ := set $node "bootstrap" $bootstrap -}}
{{- $_ := set $node "nodeOUs" (default false $org.EnableNodeOUs) -}}
{{- $_ := set $node "couchdb" (include "pivt.node" (list "couchdb" $org.Name $host)) -}}
{{- $nodes = append $nodes $node -}}
{{- end -}}
{{- end -}}
{{- toJson $nodes -}}
{{- end -}}
