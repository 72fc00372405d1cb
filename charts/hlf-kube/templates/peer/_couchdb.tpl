{{- /*
CouchDB beside its peer; no Service, so nobody else finds it. Call with (dict "root" $ "node" NODE).
The image writes the password's hash into local.d and Erlang's cookie into HOME; all else is read-only.
*/ -}}
{{- define "hlf-kube.couchdb" -}}
{{- $v := .root.Values.couchdb -}}
- name: couchdb
  image: {{ include "pivt.image" (dict "image" $v.image "tag" "") }}
  imagePullPolicy: {{ .root.Values.imagePullPolicy }}
  ports:
    - {name: couchdb, containerPort: 5984}
  env:
    - {name: HOME, value: /tmp}
    - name: COUCHDB_USER
      valueFrom: {secretKeyRef: {name: {{ .node.couchdb }}, key: username}}
    - name: COUCHDB_PASSWORD
      valueFrom: {secretKeyRef: {name: {{ .node.couchdb }}, key: password}}
  startupProbe:
    httpGet: {path: /_up, port: couchdb}
    periodSeconds: 1
    timeoutSeconds: 5
    failureThreshold: 600
  livenessProbe:
    httpGet: {path: /_up, port: couchdb}
    periodSeconds: 20
    timeoutSeconds: 10
    failureThreshold: 6
  resources:
    {{- toYaml $v.resources | nindent 4 }}
  securityContext:
    {{- toYaml $v.containerSecurityContext | nindent 4 }}
  volumeMounts:
    - {name: couchdb, mountPath: /opt/couchdb/data}
    - {name: couchdb-config, mountPath: /opt/couchdb/etc/local.d}
    - {name: couchdb-tmp, mountPath: /tmp}
{{- end -}}
