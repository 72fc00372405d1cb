{{- /* Refuse what no step could cure, naming the key and the cure. Call with $. */ -}}
{{- define "channel-flow.validate" -}}
{{- $peerOrgs := list -}}
{{- range .Values.PeerOrgs -}}{{- $peerOrgs = append $peerOrgs .Name -}}{{- end -}}
{{- $ordererOrgs := list -}}
{{- range .Values.OrdererOrgs -}}{{- $ordererOrgs = append $ordererOrgs .Name -}}{{- end -}}
{{- if not $peerOrgs -}}
{{- fail "PeerOrgs: there are none; give the organisations with -f crypto-config.yaml" -}}
{{- end -}}
{{- if not $ordererOrgs -}}
{{- fail "OrdererOrgs: there are none; give the organisations with -f crypto-config.yaml" -}}
{{- end -}}
{{- $channels := list -}}
{{- range $i, $channel := .Values.network.channels -}}
{{- $channels = append $channels $channel.name -}}
{{- range $channel.orgs -}}
{{- if not (has . $peerOrgs) -}}
{{- fail (printf "network.channels[%d].orgs: channel %q: org %q is not in PeerOrgs of crypto-config.yaml; known orgs: %s" $i $channel.name . (join ", " $peerOrgs)) -}}
{{- end -}}
{{- end -}}
{{- range $channel.ordererOrgs -}}
{{- if not (has . $ordererOrgs) -}}
{{- fail (printf "network.channels[%d].ordererOrgs: channel %q: org %q is not in OrdererOrgs of crypto-config.yaml; known orgs: %s" $i $channel.name . (join ", " $ordererOrgs)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range .Values.flow.channel.include -}}
{{- if not (has . $channels) -}}
{{- fail (printf "flow.channel.include: channel %q is not in network.channels; known channels: %s" . (join ", " $channels)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
