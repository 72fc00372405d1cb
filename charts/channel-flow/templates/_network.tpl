{{- /* What the steps need to know of the network, as network.Load reads it. Call with $. */ -}}
{{- define "channel-flow.network" -}}
{{- $v := .Values -}}
{{- $network := dict "OrdererOrgs" $v.OrdererOrgs "PeerOrgs" $v.PeerOrgs -}}
{{- $_ := set $network "hyperledgerVersion" $v.hyperledgerVersion -}}
{{- $_ := set $network "network" (omit $v.network "chaincodes") -}}
{{- $_ := set $network "flow" (dict "channel" (dict "include" $v.flow.channel.include)) -}}
{{- include "pivt.network" $network -}}
{{- end -}}
