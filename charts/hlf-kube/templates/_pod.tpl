{{- /* What pods of both kinds say first. Call with (dict "root" $ "values" .Values.peer "component" C "node" NODE). */ -}}
{{- define "hlf-kube.podSpec" -}}
{{- $v := .values -}}
serviceAccountName: hlf-{{ .component }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
terminationGracePeriodSeconds: {{ int64 $v.terminationGracePeriodSeconds }}
enableServiceLinks: false
securityContext:
  {{- toYaml $v.podSecurityContext | nindent 2 }}
{{- with $v.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $v.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
  {{- with $v.affinity }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "hlf-kube.selector" (dict "root" .root "component" .component "org" (eq .component "peer" | ternary .node.org "")) | nindent 14 }}
  {{- end }}
{{- end -}}

{{- /* A node's identity. Call with NODE. Fabric reads a directory; the Secret has flat keys. */ -}}
{{- define "hlf-kube.identityVolumes" -}}
- name: msp
  secret:
    secretName: {{ .name }}-msp
    defaultMode: 0440
    items:
      - {key: cacert.pem, path: cacerts/ca.pem}
      - {key: tlscacert.pem, path: tlscacerts/tlsca.pem}
      - {key: signcert.pem, path: signcerts/cert.pem}
      - {key: key.pem, path: keystore/key.pem}
      {{- if .nodeOUs }}
      - {key: config.yaml, path: config.yaml}
      {{- else }}
      - {key: admincert.pem, path: admincerts/admin.pem}
      {{- end }}
- name: tls
  secret:
    secretName: {{ .name }}-tls
    defaultMode: 0440
{{- end -}}

{{- /*
Probes on a node's operations port. Call with nothing. The first looks every second, since an
install waits for it; the last gives a busy node two minutes before it is started again.
*/ -}}
{{- define "hlf-kube.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: operations, scheme: HTTPS}
  periodSeconds: 1
  timeoutSeconds: 5
  failureThreshold: 600
readinessProbe:
  httpGet: {path: /healthz, port: operations, scheme: HTTPS}
  periodSeconds: 5
  timeoutSeconds: 5
livenessProbe:
  httpGet: {path: /healthz, port: operations, scheme: HTTPS}
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 6
{{- end -}}

{{- /* A claim of a StatefulSet. Call with (dict "root" $ "name" N "persistence" P "labels" L). */ -}}
{{- define "hlf-kube.claim" -}}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata:
    name: {{ .name }}
    labels:
      {{- .labels | nindent 6 }}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .persistence.storageClass | default .root.Values.persistence.storageClass }}
    storageClassName: {{ . }}
    {{- end }}
    resources:
      requests:
        storage: {{ .persistence.size }}
{{- end -}}
