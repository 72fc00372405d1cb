{{- /* What the steps need to know of the network, as network.Load reads it. Call with $. */ -}}
{{- define "chaincode-flow.network" -}}
{{- $v := .Values -}}
{{- $network := dict "OrdererOrgs" $v.OrdererOrgs "PeerOrgs" $v.PeerOrgs -}}
{{- $_ := set $network "hyperledgerVersion" $v.hyperledgerVersion -}}
{{- $_ := set $network "network" $v.network -}}
{{- $_ := set $network "chaincode" (dict "version" $v.chaincode.version) -}}
{{- $_ := set $network "flow" (dict "chaincode" (dict "include" $v.flow.chaincode.include)) -}}
{{- include "pivt.network" $network -}}
{{- end -}}
