{{- /* Fabric's version; 1.x has no successor here and is replaced by the default. Call with $. */ -}}
{{- define "hlf-kube.fabricVersion" -}}
{{- hasPrefix "1." .Values.hyperledgerVersion | ternary "3.1.1" .Values.hyperledgerVersion -}}
{{- end -}}

{{- /* Labels that select, and so can never change. Call with (dict "root" $ "component" C ["org" O] ["node" N]). */ -}}
{{- define "hlf-kube.selector" -}}
app.kubernetes.io/name: hlf-{{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .org }}
pivt.io/org: {{ . | quote }}
{{- end }}
{{- with .node }}
pivt.io/node: {{ . }}
{{- end }}
{{- end -}}

{{- /* Labels of pods: none that an upgrade of the chart alone would change. Call as hlf-kube.selector. */ -}}
{{- define "hlf-kube.podLabels" -}}
{{ include "hlf-kube.selector" . }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: hlf-kube
{{- end -}}

{{- /* Labels of all other objects. Call as hlf-kube.selector. */ -}}
{{- define "hlf-kube.labels" -}}
{{ include "hlf-kube.podLabels" . }}
app.kubernetes.io/version: {{ include "hlf-kube.fabricVersion" .root | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}
