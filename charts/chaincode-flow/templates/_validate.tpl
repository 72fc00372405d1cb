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
{{- range $j, $channel := $chaincode.channels -}}
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
