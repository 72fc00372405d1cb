{{- /*
What the steps of a backup have in common. The other flows share _step.tpl; here nearly every
line of it would differ (another program, user, account and deadline, other mounts for each
verb, a schedule around the whole), so it would be two templates in one file. Flow charts read
nothing but values, so that every Helm prints the same bytes.
*/ -}}

{{- /*
What the workflow's spec says beside its entrypoint, parameters and templates. Call with
(dict "root" $ "clients" ORGS). A volume is only in the pods that mount it. The Secret may be
missing as far as Kubernetes is concerned: a step that says so ends, a pod that waits for a
volume hangs.
*/ -}}
{{- define "backup-flow.flow" -}}
{{- $flow := .root.Values.flow -}}
{{- $backup := .root.Values.backup -}}
serviceAccountName: {{ $backup.serviceAccountName }}
activeDeadlineSeconds: {{ int64 $backup.deadlineSeconds }}
archiveLogs: false
{{- with int64 $flow.parallelism }}
parallelism: {{ . }}
{{- end }}
# Backups share the nodes they stop, and a restore wants them for itself.
synchronization:
  mutexes: [{name: hlf-backup}]
podGC:
  strategy: {{ $flow.podGC.strategy }}
  deleteDelayDuration: {{ $flow.podGC.deleteDelay }}
{{- if not $backup.schedule }}
ttlStrategy:
  secondsAfterSuccess: {{ int64 $flow.ttl.secondsAfterSuccess }}
  secondsAfterFailure: {{ int64 $flow.ttl.secondsAfterFailure }}
{{- end }}
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
    pivt.io/settings: "{{ "{{workflow.parameters.settings}}" }}"
securityContext:
  {{- toYaml $backup.podSecurityContext | nindent 2 }}
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
  - name: settings
    downwardAPI:
      items:
        - path: settings.json
          fieldRef: {fieldPath: "metadata.annotations['pivt.io/settings']"}
  - name: msp
    configMap: {name: hlf-msp, optional: true}
  - name: out
    emptyDir: {}
  - name: cache
    emptyDir: {}
  - name: credentials
    secret: {secretName: {{ $backup.secretName }}, defaultMode: 0440, optional: true}
  {{- if eq $backup.target.type "pvc" }}
  - name: repository
    persistentVolumeClaim: {claimName: {{ $backup.target.pvc.claimName }}}
  {{- end }}
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
"vars" (list VAR...) "volumes" (list VOLUME...) "mounts" (list MOUNT...)); verb "end" does without the repository, so
that whatever keeps others from it cannot keep nodes from being started.
*/ -}}
{{- define "backup-flow.step" -}}
{{- $flow := .root.Values.flow -}}
{{- $backup := .root.Values.backup -}}
outputs: {parameters: [{name: result, valueFrom: {path: /run/pivt/out/result, default: "[]"}}]}
retryStrategy:
  retryPolicy: Always
  # 75: try again; the others: the pod was lost or killed.
  expression: asInt(lastRetry.exitCode) in [75, -1, 137, 143]
  limit: {{ $flow.retry.limit | int64 | quote }}
  backoff: {duration: {{ $flow.retry.duration }}, factor: {{ $flow.retry.factor | int64 | quote }}, cap: {{ $flow.retry.cap }}}
{{- with .volumes }}
volumes:
  {{- range . }}
  - {{ toJson . }}
  {{- end }}
{{- end }}
container:
  image: {{ include "pivt.image" (dict "image" .root.Values.image "tag" .root.Chart.AppVersion) }}
  imagePullPolicy: {{ .root.Values.imagePullPolicy }}
  command: [/usr/local/bin/pivt-backup]
  args: {{ toJson (concat (list "step" .verb) (.args | default list) (list (printf "--key=%s" $backup.key) "--created={{workflow.creationTimestamp.RFC3339}}" (printf "--action=%s" $backup.action))) }}
  env:
    - {name: GOMEMLIMIT, value: {{ $backup.memoryTarget }}}
    - {name: PIVT_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    - {name: PIVT_POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: PIVT_POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
    - {name: PIVT_WORKFLOW, valueFrom: {fieldRef: {fieldPath: "metadata.labels['workflows.argoproj.io/workflow']"}}}
    {{- range .vars }}
    - {{ toJson . }}
    {{- end }}
    {{- with $flow.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  resources: {{ toJson $backup.resources }}
  securityContext: {{ toJson $flow.containerSecurityContext }}
  volumeMounts:
    - {name: network, mountPath: /run/pivt/network, readOnly: true}
    - {name: settings, mountPath: /run/pivt/settings, readOnly: true}
    - {name: msp, mountPath: /run/pivt/msp, readOnly: true}
    - {name: out, mountPath: /run/pivt/out}
    {{- if ne .verb "end" }}
    - {name: credentials, mountPath: /run/pivt/credentials, readOnly: true}
    - {name: cache, mountPath: /run/pivt/cache}
    {{- if eq $backup.target.type "pvc" }}
    - {name: repository, mountPath: /run/pivt/repository}
    {{- end }}
    {{- end }}
    {{- range .mounts }}
    - {{ toJson . }}
    {{- end }}
{{- end -}}
