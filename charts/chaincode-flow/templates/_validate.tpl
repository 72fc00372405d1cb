{{- /* Refuse what no step could cure, naming the key and the cure. Call with $. */ -}}
{{- define "chaincode-flow.validate" -}}
{{- $peerOrgs := list -}}
{{- range .Values.PeerOrgs -}}{{- $peerOrgs = append $peerOrgs .Name -}}{{- end -}}
{{- if not $peerOrgs -}}
{{- fail "PeerOrgs: there are none; give the organisations with -f crypto-config.yaml" -}}
{{- end -}}
{{- $channels := list -}}
{{- $channelOrgs := dict -}}
{{- range .Values.network.channels -}}
{{- $channels = append $channels .name -}}
{{- $_ := set $channelOrgs .name (.orgs | default list) -}}
{{- end -}}
{{- $chaincodes := list -}}
{{- range $i, $chaincode := .Values.network.chaincodes -}}
{{- $chaincodes = append $chaincodes $chaincode.name -}}
{{- range $chaincode.orgs -}}
{{- if not (has . $peerOrgs) -}}
{{- fail (printf "network.chaincodes[%d].orgs: chaincode %q: org %q is not in PeerOrgs of crypto-config.yaml; known orgs: %s" $i $chaincode.name . (join ", " $peerOrgs)) -}}
{{- end -}}
{{- end -}}
{{- include "chaincode-flow.collections" (list (printf "network.chaincodes[%d].collections" $i) $chaincode) -}}
{{- range $j, $channel := $chaincode.channels -}}
{{- include "chaincode-flow.collections" (list (printf "network.chaincodes[%d].channels[%d].collections" $i $j) (dict "name" $chaincode.name "collections" $channel.collections)) -}}
{{- if not (has $channel.name $channels) -}}
{{- fail (printf "network.chaincodes[%d].channels[%d].name: chaincode %q: channel %q is not in network.channels; known channels: %s" $i $j $chaincode.name $channel.name (join ", " $channels)) -}}
{{- end -}}
{{- range $channel.orgs -}}
{{- if not (has . (get $channelOrgs $channel.name)) -}}
{{- fail (printf "network.chaincodes[%d].channels[%d].orgs: chaincode %q: org %q is not in channel %q; its orgs: %s" $i $j $chaincode.name . $channel.name (join ", " (get $channelOrgs $channel.name))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range .Values.flow.chaincode.include -}}
{{- if not (has . $chaincodes) -}}
{{- fail (printf "flow.chaincode.include: chaincode %q is not in network.chaincodes; known chaincodes: %s" . (join ", " $chaincodes)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /*
Collections may be a list, or a list as text as --set-file gives it. Charts cannot read files, so
a file's name is no use to the pods. Call with (list KEY (dict "name" CHAINCODE "collections" VALUE)).
*/ -}}
{{- define "chaincode-flow.collections" -}}
{{- $value := (index . 1).collections -}}
{{- if and (kindIs "string" $value) (not (regexMatch "^\\s*\\[" $value)) -}}
{{- fail (printf "%s: chaincode %q: helm cannot read the file %q; write the list into network.yaml, or give the file with --set-file %s=%s if it is JSON, or let \"pivt render chaincode-flow\" read it" (index . 0) (index . 1).name $value (index . 0) $value) -}}
{{- end -}}
{{- end -}}
