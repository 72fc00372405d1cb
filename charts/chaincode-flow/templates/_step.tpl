{{- /*
What all steps of a flow have in common. The same file is in both flow charts; a test
compares. Flow charts read nothing but values, so that every Helm prints the same bytes.
*/ -}}

{{- /*
What the Workflow's spec says beside its templates. Call with (dict "root" $ "clients" ORGS).
The network travels in it once, as a parameter; each pod gets it as an annotation and reads
it as a file. A raw artifact would end up in the status of every node, 111 times here and
121 times there for a network of ten organisations and ten channels.
*/ -}}
{{- define "pivt.flow" -}}
{{- $flow := .root.Values.flow -}}
serviceAccountName: {{ $flow.serviceAccountName }}
activeDeadlineSeconds: {{ int64 $flow.deadlineSeconds }}
archiveLogs: false
{{- with int64 $flow.parallelism }}
parallelism: {{ . }}
{{- end }}
podGC:
  strategy: {{ $flow.podGC.strategy }}
  deleteDelayDuration: {{ $flow.podGC.deleteDelay }}
ttlStrategy:
  secondsAfterSuccess: {{ int64 $flow.ttl.secondsAfterSuccess }}
  secondsAfterFailure: {{ int64 $flow.ttl.secondsAfterFailure }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $flow.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $flow.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $flow.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $flow.priorityClassName }}
podPriorityClassName: {{ . }}
{{- end }}
podMetadata:
  labels:
    {{- with $flow.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    app.kubernetes.io/part-of: hlf-kube
    pivt.io/component: flow
  annotations:
    {{- with $flow.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    pivt.io/network: "{{ "{{workflow.parameters.network}}" }}"
securityContext:
  {{- toYaml $flow.podSecurityContext | nindent 2 }}
# Argo gives its own containers no security context unless its administrator says so.
podSpecPatch: |
  initContainers:
    - name: init
      securityContext: {{ toJson $flow.executorSecurityContext }}
  containers:
    - name: wait
      securityContext: {{ toJson $flow.executorSecurityContext }}
volumes:
  - name: network
    downwardAPI:
      items:
        - path: network.yaml
          fieldRef: {fieldPath: "metadata.annotations['pivt.io/network']"}
  - name: msp
    configMap: {name: hlf-msp}
  - name: out
    emptyDir: {}
  {{- with .clients }}
  - name: client
    projected:
      defaultMode: 0440
      sources:
        {{- range . }}
        - secret:
            name: {{ include "pivt.clientSecret" (list "peer" .) }}
            items:
              - {key: cert.pem, path: {{ include "pivt.org" . }}/cert.pem}
              - {key: key.pem, path: {{ include "pivt.org" . }}/key.pem}
        {{- end }}
  {{- end }}
{{- end -}}

{{- /*
The body of a template that runs one step. Call with (dict "root" $ "verb" VERB "args" (list ARG...)
"admin" BOOL "registry" BOOL "clients" ORGS "output" NAME): "admin" mounts the Secret that input
parameter admin names, and no other admin's key ever is in the pod; "registry" mounts what it takes
to pull chaincode packages.
*/ -}}
{{- define "pivt.step" -}}
{{- $flow := .root.Values.flow -}}
{{- $registry := dict -}}
{{- if .registry }}{{ $registry = .root.Values.registry }}{{ end -}}
outputs: {parameters: [{name: {{ .output }}, valueFrom: {path: /run/pivt/out/{{ .output }}, default: "[]"}}]}
retryStrategy:
  retryPolicy: Always
  # 75: try again; the others: the pod was lost or killed.
  expression: asInt(lastRetry.exitCode) in [75, -1, 137, 143]
  limit: {{ $flow.retry.limit | int64 | quote }}
  backoff: {duration: {{ $flow.retry.duration }}, factor: {{ $flow.retry.factor | int64 | quote }}, cap: {{ $flow.retry.cap }}}
{{- if .admin }}
volumes:
  - name: admin
    secret: {secretName: "{{ "{{inputs.parameters.admin}}" }}", defaultMode: 0440}
  {{- with $registry.secretName }}
  - name: registry
    secret: {secretName: {{ . }}, defaultMode: 0440, items: [{key: .dockerconfigjson, path: config.json}]}
  {{- end }}
  {{- with $registry.caConfigMap }}
  - name: registry-ca
    configMap: {name: {{ . }}}
  {{- end }}
{{- end }}
container:
  image: {{ include "pivt.image" (dict "image" .root.Values.image "tag" .root.Chart.AppVersion) }}
  imagePullPolicy: {{ .root.Values.imagePullPolicy }}
  command: [/usr/local/bin/pivt]
  args: {{ toJson (concat (list "step" .verb) .args (list (printf "--wait=%s" $flow.wait))) }}
  {{- if or $flow.extraEnv $registry.secretName $registry.caConfigMap }}
  env:
    {{- if $registry.secretName }}
    - {name: DOCKER_CONFIG, value: /run/pivt/registry}
    {{- end }}
    {{- if $registry.caConfigMap }}
    - {name: SSL_CERT_DIR, value: "/run/pivt/registry-ca:/etc/ssl/certs"}
    {{- end }}
    {{- with $flow.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  resources: {{ toJson $flow.resources }}
  securityContext: {{ toJson $flow.containerSecurityContext }}
  volumeMounts:
    - {name: network, mountPath: /run/pivt/network, readOnly: true}
    - {name: msp, mountPath: /run/pivt/msp, readOnly: true}
    - {name: out, mountPath: /run/pivt/out}
    {{- if .admin }}
    - {name: admin, mountPath: /run/pivt/admin, readOnly: true}
    {{- end }}
    {{- if $registry.secretName }}
    - {name: registry, mountPath: /run/pivt/registry, readOnly: true}
    {{- end }}
    {{- if $registry.caConfigMap }}
    - {name: registry-ca, mountPath: /run/pivt/registry-ca, readOnly: true}
    {{- end }}
    {{- if .clients }}
    - {name: client, mountPath: /run/pivt/client, readOnly: true}
    {{- end }}
{{- end -}}

{{- /*
One task. Call with (dict "name" NAME "template" KIND "depends" DEPENDS "params" (dict …)).
It runs if the probe listed it; what depends on a skipped task runs all the same.
*/ -}}
{{- define "pivt.taskOf" -}}
- name: {{ .name }}
  template: {{ .template }}
  depends: {{ .depends }}
  when: '{{ printf "{{=%q in fromJSON(tasks.probe.outputs.parameters.todo)}}" .name }}'
  arguments: {parameters: [{{ range $i, $name := keys .params | sortAlpha }}{{ if $i }}, {{ end }}{name: {{ $name }}, value: {{ get $.params $name | quote }}}{{ end }}]}
{{- end -}}

{{- /* The value of parameter network. Call with a dict; "{{" in it is not Argo's. */ -}}
{{- define "pivt.network" -}}
{{- toJson . | replace "{{" "\\u007b\\u007b" -}}
{{- end -}}
