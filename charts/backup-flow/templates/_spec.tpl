{{- /* The spec of the workflow, or of those that the schedule makes. Call with $. */ -}}
{{- define "backup-flow.spec" -}}
{{- $backup := .Values.backup -}}
{{- $clients := list -}}
{{- if has $backup.action (list "create" "restore") -}}
{{- range .Values.network.channels -}}
{{- with .orgs -}}
{{- $clients = append $clients (first .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $clients = uniq $clients -}}
{{- $files := and (eq $backup.action "create") $backup.parts.files -}}
entrypoint: main
onExit: end
arguments:
  parameters:
    - name: network
      value: |-
        {{ include "backup-flow.network" . }}
    - name: settings
      value: |-
        {{ include "backup-flow.settings" . }}
    {{- if $files }}
    - name: files
      value: |-
        {{ include "backup-flow.files" . }}
    {{- end }}
{{ include "backup-flow.flow" (dict "root" . "clients" $clients) }}
templates:
  {{- include (printf "backup-flow.%s" $backup.action) (dict "root" . "clients" $clients "files" $files) | nindent 2 }}
  {{- include "backup-flow.end" (dict "root" .) | nindent 2 }}
{{- end -}}

{{- /* One task. Call with (list NAME TEMPLATE DEPENDS), DEPENDS a list. */ -}}
{{- define "backup-flow.task" -}}
- name: {{ index . 0 }}
  template: {{ index . 1 }}
  {{- with index . 2 }}
  depends: {{ join " && " . }}
  {{- end }}
{{- end -}}

{{- /* A template's head. Call with (list NAME TITLE). */ -}}
{{- define "backup-flow.head" -}}
- name: {{ index . 0 }}
  metadata:
    annotations:
      workflows.argoproj.io/title: {{ index . 1 | quote }}
{{- end -}}

{{- /*
The templates of each action. Call with (dict "root" $ "clients" ORGS "files" BOOL).

create: an organisation's peers are copied one after the other, organisations side by side;
orderers after them, so that none of them is behind a peer. What fails leaves the rest undone.
*/ -}}
{{- define "backup-flow.create" -}}
{{- $root := .root -}}
{{- $backup := .root.Values.backup -}}
{{- $client := empty .clients | ternary (list) (list (dict "name" "client" "mountPath" "/run/pivt/client" "readOnly" true)) -}}
{{- $last := list "begin" -}}
{{- $crypto := list -}}
{{- $cryptoMount := list -}}
{{- with $backup.cryptoConfigConfigMap -}}
{{- $crypto = list (dict "name" "crypto-config" "configMap" (dict "name" .)) -}}
{{- $cryptoMount = list (dict "name" "crypto-config" "mountPath" "/run/pivt/crypto-config" "readOnly" true) -}}
{{- end -}}
- name: main
  dag:
    failFast: false
    tasks:
      - name: begin
        template: begin
      {{- if $backup.parts.peers }}
      {{- $last = list }}
      {{- range $root.Values.PeerOrgs }}
      {{- $name := include "pivt.task" (list "peers" .Name) }}
      {{- $last = append $last $name }}
      - name: {{ $name }}
        template: peers
        depends: begin
        arguments: {parameters: [{name: org, value: {{ .Name | quote }}}, {name: client, value: {{ include "pivt.clientSecret" (list "peer" .Name) | quote }}}, {name: label, value: {{ include "pivt.org" .Name | quote }}}]}
      {{- end }}
      {{- end }}
      {{- if or $backup.parts.orderers $backup.parts.cas }}
      {{- include "backup-flow.task" (list "orderers" "orderers" $last) | nindent 6 }}
      {{- $last = list "orderers" }}
      {{- end }}
      {{- include "backup-flow.task" (list "seal" "seal" $last) | nindent 6 }}
      {{- $last = list "seal" }}
      {{- if $backup.verify.enabled }}
      {{- include "backup-flow.task" (list "verify" "verify" $last) | nindent 6 }}
      {{- $last = list "verify" }}
      {{- end }}
      {{- if include "backup-flow.keeps" $root }}
      {{- include "backup-flow.task" (list "prune" "prune" $last) | nindent 6 }}
      {{- end }}
{{- /* The ConfigMap is mounted by the first step too: a missing one is noticed before a node is stopped. */}}
{{ include "backup-flow.head" (list "begin" "Open the repository, look at the network") }}
  {{- include "backup-flow.step" (dict "root" $root "verb" "begin" "volumes" $crypto "mounts" $cryptoMount) | nindent 2 }}
{{- if $backup.parts.peers }}
{{ include "backup-flow.head" (list "peers" "Copy the peers of {{inputs.parameters.org}}") }}
  inputs: {parameters: [{name: org}, {name: client}, {name: label}]}
  {{- $items := list (dict "key" "cert.pem" "path" "{{inputs.parameters.label}}/cert.pem") (dict "key" "key.pem" "path" "{{inputs.parameters.label}}/key.pem") }}
  {{- include "backup-flow.step" (dict "root" $root "verb" "peers" "args" (list "--org={{inputs.parameters.org}}")
        "volumes" (list (dict "name" "org-client" "secret" (dict "secretName" "{{inputs.parameters.client}}" "defaultMode" 288 "items" $items)))
        "mounts" (list (dict "name" "org-client" "mountPath" "/run/pivt/client" "readOnly" true))) | nindent 2 }}
{{- end }}
{{- if or $backup.parts.orderers $backup.parts.cas }}
{{ include "backup-flow.head" (list "orderers" (ternary (ternary "Copy the orderers, and the CAs of the namespace" "Copy the orderers" $backup.parts.cas) "Copy the CAs of the namespace" $backup.parts.orderers)) }}
  {{- include "backup-flow.step" (dict "root" $root "verb" "orderers" "mounts" $client) | nindent 2 }}
{{- end }}
- name: seal
  metadata:
    annotations:
      workflows.argoproj.io/title: Write down what was saved
      {{- if .files }}
      pivt.io/files: "{{ "{{workflow.parameters.files}}" }}"
      {{- end }}
  {{- $volumes := $crypto }}
  {{- $mounts := $cryptoMount }}
  {{- if .files }}
  {{- $volumes = append $volumes (dict "name" "files" "downwardAPI" (dict "items" (list (dict "path" "files.json" "fieldRef" (dict "fieldPath" "metadata.annotations['pivt.io/files']"))))) }}
  {{- $mounts = append $mounts (dict "name" "files" "mountPath" "/run/pivt/files" "readOnly" true) }}
  {{- end }}
  {{- include "backup-flow.step" (dict "root" $root "verb" "seal" "volumes" $volumes "mounts" $mounts) | nindent 2 }}
{{- if $backup.verify.enabled }}
{{ include "backup-flow.verifyStep" $root }}
{{- end }}
{{- if include "backup-flow.keeps" $root }}
{{ include "backup-flow.pruneStep" $root }}
{{- end }}
{{- end -}}

{{- define "backup-flow.verify" -}}
- name: main
  dag:
    tasks:
      - name: verify
        template: verify
{{ include "backup-flow.verifyStep" .root }}
{{- end -}}

{{- define "backup-flow.prune" -}}
- name: main
  dag:
    tasks:
      - name: prune
        template: prune
{{ include "backup-flow.pruneStep" .root }}
{{- end -}}

{{- define "backup-flow.restore" -}}
{{- $restore := .root.Values.backup.restore -}}
{{- $args := list -}}
{{- range $restore.orgs }}{{ $args = append $args (printf "--only-org=%s" .) }}{{ end -}}
{{- range $restore.nodes }}{{ $args = append $args (printf "--node=%s" .) }}{{ end -}}
{{- range $restore.accept }}{{ $args = append $args (printf "--accept=%s" .) }}{{ end -}}
{{- if $restore.cancel }}{{ $args = append $args "--cancel" }}{{ end -}}
{{- $client := empty .clients | ternary (list) (list (dict "name" "client" "mountPath" "/run/pivt/client" "readOnly" true)) -}}
- name: main
  dag:
    tasks:
      - name: check
        template: check
      - name: restore
        template: restore
        depends: check
{{ include "backup-flow.head" (list "check" "Look whether the backup fits the network") }}
  {{- include "backup-flow.step" (dict "root" .root "verb" "check" "args" $args "mounts" $client) | nindent 2 }}
{{ include "backup-flow.head" (list "restore" ($restore.cancel | ternary "Put back what was replaced" "Stop the nodes, put the saved data in place, start them")) }}
  {{- include "backup-flow.step" (dict "root" .root "verb" "restore" "args" $args "mounts" $client) | nindent 2 }}
{{- end -}}

{{- /* Call with $. */ -}}
{{- define "backup-flow.verifyStep" -}}
{{- $scratch := .Values.backup.verify.scratch -}}
{{- $volume := dict "name" "scratch" "emptyDir" (dict) -}}
{{- with $scratch.size -}}
{{- $claim := dict "accessModes" (list "ReadWriteOnce") "resources" (dict "requests" (dict "storage" .)) -}}
{{- with $scratch.storageClass -}}{{- $_ := set $claim "storageClassName" . -}}{{- end -}}
{{- $volume = dict "name" "scratch" "ephemeral" (dict "volumeClaimTemplate" (dict "spec" $claim)) -}}
{{- end -}}
{{ include "backup-flow.head" (list "verify" "Restore it into a scratch volume, check every block") }}
  {{- include "backup-flow.step" (dict "root" . "verb" "verify" "volumes" (list $volume)
        "mounts" (list (dict "name" "scratch" "mountPath" "/run/pivt/scratch"))) | nindent 2 }}
{{- end -}}

{{- /* Call with $. */ -}}
{{- define "backup-flow.pruneStep" -}}
{{ include "backup-flow.head" (list "prune" "Remove backups that need not be kept") }}
  {{- include "backup-flow.step" (dict "root" . "verb" "prune") | nindent 2 }}
{{- end -}}

{{- /*
The exit handler. It asks the API server why a workflow failed: workflow.failures is text of any
length and with any characters in it, and a pod that could not be made of it would start no node.
*/ -}}
{{- define "backup-flow.end" -}}
{{- $backup := .root.Values.backup -}}
{{- $args := list "--status={{workflow.status}}" -}}
{{- $vars := list -}}
{{- $volumes := list -}}
{{- $mounts := list -}}
{{- with $backup.notify.secretName -}}
{{- $vars = list (dict "name" "PIVT_NOTIFY_ON" "value" $backup.notify.when) -}}
{{- $volumes = list (dict "name" "notify" "secret" (dict "secretName" . "defaultMode" 288 "optional" true)) -}}
{{- $mounts = list (dict "name" "notify" "mountPath" "/run/pivt/notify" "readOnly" true) -}}
{{- end -}}
{{ include "backup-flow.head" (list "end" "Start what is stopped, tell how it ended") }}
  {{- include "backup-flow.step" (dict "root" .root "verb" "end" "args" $args "vars" $vars "volumes" $volumes "mounts" $mounts) | nindent 2 }}
{{- end -}}

{{- /* Not empty if anything may be pruned. Call with $. */ -}}
{{- define "backup-flow.keeps" -}}
{{- range .Values.backup.keep -}}{{- if . -}}y{{- end -}}{{- end -}}
{{- end -}}
