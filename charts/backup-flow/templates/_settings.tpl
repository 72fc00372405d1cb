{{- /*
What travels in the workflow's parameters: "network" as network.Load reads it, "settings" as
backup.Settings, "files" as the manifest keeps them. No credential is in any of them.
*/ -}}

{{- /* What the steps need to know of the network. Call with $. */ -}}
{{- define "backup-flow.network" -}}
{{- $v := .Values -}}
{{- include "backup-flow.json" (dict "OrdererOrgs" $v.OrdererOrgs "PeerOrgs" $v.PeerOrgs "hyperledgerVersion" $v.hyperledgerVersion "network" (omit $v.network "chaincodes")) -}}
{{- end -}}

{{- /* What the steps need to know of the values, and what the pods they make look like. Call with $. */ -}}
{{- define "backup-flow.settings" -}}
{{- $b := .Values.backup -}}
{{- $flow := .Values.flow -}}
{{- $target := dict "type" $b.target.type $b.target.type (get $b.target $b.target.type) -}}
{{- with trimAll "/" $b.target.prefix -}}
{{- $_ := set $target "prefix" (printf "%s/" .) -}}
{{- end -}}
{{- $keep := dict -}}
{{- range $name, $count := $b.keep -}}
{{- $_ := set $keep $name (int64 $count) -}}
{{- end -}}
{{- $pod := dict "image" (include "pivt.image" (dict "image" .Values.image "tag" .Chart.AppVersion)) "imagePullPolicy" .Values.imagePullPolicy -}}
{{- $_ := set $pod "imagePullSecrets" .Values.imagePullSecrets -}}
{{- $_ := set $pod "serviceAccountName" $b.serviceAccountName -}}
{{- $_ := set $pod "resources" $b.resources -}}
{{- $_ := set $pod "nodeSelector" $b.nodeSelector -}}
{{- $_ := set $pod "tolerations" $b.tolerations -}}
{{- $_ := set $pod "priorityClassName" $b.priorityClassName -}}
{{- $_ := set $pod "labels" $flow.podLabels -}}
{{- $_ := set $pod "annotations" $flow.podAnnotations -}}
{{- $_ := set $pod "extraEnv" (concat (list (dict "name" "GOMEMLIMIT" "value" $b.memoryTarget)) $flow.extraEnv) -}}
{{- $_ := set $pod "securityContext" $b.podSecurityContext -}}
{{- $_ := set $pod "containerSecurityContext" $flow.containerSecurityContext -}}
{{- $settings := dict "target" $target "secretName" $b.secretName "parts" $b.parts "keep" $keep -}}
{{- $_ := set $settings "snapshotClass" $b.snapshotClass -}}
{{- $_ := set $settings "maxDowntime" $b.maxDowntime -}}
{{- $_ := set $settings "scratch" $b.verify.scratch -}}
{{- $_ := set $settings "pod" $pod -}}
{{- include "backup-flow.json" $settings -}}
{{- end -}}

{{- /*
The input files, by name. Who gives values only gets two files that say the same. Call with $.
What is about this run, and not about the network, is left out.
*/ -}}
{{- define "backup-flow.files" -}}
{{- $files := .Values.backup.files -}}
{{- if not $files -}}
{{- $orgs := list "OrdererOrgs" "PeerOrgs" "ExternalOrdererOrgs" "ExternalPeerOrgs" -}}
{{- $crypto := dict -}}
{{- $network := dict -}}
{{- range $key, $value := omit .Values "global" -}}
{{- $_ := set (has $key $orgs | ternary $crypto $network) $key $value -}}
{{- end -}}
{{- $_ := set $network "backup" (omit .Values.backup "action" "files" "key" "restore") -}}
{{- $files = dict "crypto-config.yaml" (toYaml $crypto) "network.yaml" (toYaml $network) -}}
{{- end -}}
{{- include "backup-flow.json" $files -}}
{{- end -}}

{{- /*
JSON that survives the way through YAML and Argo: "{{" in it is not Argo's, and everything but
ASCII is escaped, because Argo quotes values as Go does, which is no JSON for some characters,
and YAML refuses others. Call with a dict.
*/ -}}
{{- define "backup-flow.json" -}}
{{- $json := toJson . | replace "{{" "\\u007b\\u007b" -}}
{{- range regexFindAll "[^ -~]" $json -1 | uniq -}}
{{- $escape := printf "%+q" . | trimAll "\"" -}}
{{- if hasPrefix "\\U" $escape -}}
{{- $code := sub (int64 (replace "\\U" "0x" $escape)) 65536 -}}
{{- $escape = printf "\\u%04x\\u%04x" (add 55296 (div $code 1024)) (add 56320 (mod $code 1024)) -}}
{{- end -}}
{{- $json = replace . (replace "\\x" "\\u00" $escape) $json -}}
{{- end -}}
{{- $json -}}
{{- end -}}
