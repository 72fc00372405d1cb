{{- /*
Every name that templates derive. The same file is in each chart, and the names are
those of package network; tests compare both.
*/ -}}

{{- /* A name of any shape as Kubernetes wants it. Call with a string. */ -}}
{{- define "pivt.label" -}}
{{- regexReplaceAll "[^a-z0-9-]+" (lower .) "-" | trimAll "-" -}}
{{- end -}}

{{- /* Cut a name to a limit, replacing what goes by a hash of the whole. Call with (list NAME LIMIT). */ -}}
{{- define "pivt.shorten" -}}
{{- $name := index . 0 -}}
{{- $limit := index . 1 -}}
{{- if le (len $name) $limit -}}
{{- $name -}}
{{- else -}}
{{- regexReplaceAll "-+$" (trunc (int (sub $limit 9)) $name) "" -}}-{{- sha256sum $name | trunc 8 -}}
{{- end -}}
{{- end -}}

{{- /* An organisation in object names, labels and paths. Call with its name. */ -}}
{{- define "pivt.org" -}}
{{- include "pivt.shorten" (list (include "pivt.label" .) 63) -}}
{{- end -}}

{{- /* A node's workload, Service and address. Call with (list KIND ORG HOSTNAME). */ -}}
{{- define "pivt.node" -}}
{{- include "pivt.shorten" (list (printf "hlf-%s--%s--%s" (index . 0) (include "pivt.label" (index . 1)) (include "pivt.label" (index . 2))) 52) -}}
{{- end -}}

{{- /* An object of one organisation. Call with (list KIND ORG), or (list KIND ORG WHAT). */ -}}
{{- define "pivt.ofOrg" -}}
{{- $name := printf "hlf-%s--%s" (index . 0) (include "pivt.label" (index . 1)) -}}
{{- if gt (len .) 2 -}}
{{- $name = printf "%s--%s" $name (index . 2) -}}
{{- end -}}
{{- include "pivt.shorten" (list $name 63) -}}
{{- end -}}

{{- /* The Secret with an organisation's admin. Call with (list KIND ORG). */ -}}
{{- define "pivt.adminSecret" -}}
{{- include "pivt.ofOrg" (list (index . 0) (index . 1) "admin-msp") -}}
{{- end -}}

{{- /* The Secret with an organisation's client. Call with (list KIND ORG). */ -}}
{{- define "pivt.clientSecret" -}}
{{- include "pivt.ofOrg" (list (index . 0) (index . 1) "client-msp") -}}
{{- end -}}

{{- /* A chaincode server's Deployment, Service and address. Call with (list ORG CHAINCODE). */ -}}
{{- define "pivt.chaincodeService" -}}
{{- include "pivt.shorten" (list (printf "hlf-chaincode--%s--%s" (include "pivt.label" (index . 0)) (include "pivt.label" (index . 1))) 52) -}}
{{- end -}}

{{- /* A workflow task. Call with (list VERB PART...). Argo would read a dot as a task's result. */ -}}
{{- define "pivt.task" -}}
{{- $parts := list -}}
{{- range . -}}
{{- $parts = append $parts (include "pivt.label" .) -}}
{{- end -}}
{{- include "pivt.shorten" (list (join "-" $parts) 63) -}}
{{- end -}}

{{- /* An image reference. Call with (dict "image" IMAGE "tag" DEFAULT). */ -}}
{{- define "pivt.image" -}}
{{- $name := .image.repository -}}
{{- with .image.registry -}}{{- $name = printf "%s/%s" . $name -}}{{- end -}}
{{- $name -}}
{{- if or .image.tag (not .image.digest) -}}:{{- .image.tag | default .tag -}}{{- end -}}
{{- with .image.digest -}}@{{- . -}}{{- end -}}
{{- end -}}
