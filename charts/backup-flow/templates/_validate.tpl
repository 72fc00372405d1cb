{{- /* Refuse what no step could cure, naming the key and the cure. Call with $. */ -}}
{{- define "backup-flow.validate" -}}
{{- $b := .Values.backup -}}
{{- $peerOrgs := list -}}
{{- range .Values.PeerOrgs -}}{{- $peerOrgs = append $peerOrgs .Name -}}{{- end -}}
{{- if not $peerOrgs -}}
{{- fail "PeerOrgs: there are none; give the organisations with -f crypto-config.yaml" -}}
{{- end -}}
{{- if not .Values.OrdererOrgs -}}
{{- fail "OrdererOrgs: there are none; give the organisations with -f crypto-config.yaml" -}}
{{- end -}}
{{- $orgs := $peerOrgs -}}
{{- range .Values.OrdererOrgs -}}{{- $orgs = append $orgs .Name | uniq -}}{{- end -}}
{{- range $i, $channel := .Values.network.channels -}}
{{- range $channel.orgs -}}
{{- if not (has . $peerOrgs) -}}
{{- fail (printf "network.channels[%d].orgs: channel %q: org %q is not in PeerOrgs of crypto-config.yaml; known orgs: %s" $i $channel.name . (join ", " $peerOrgs)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- include "backup-flow.validateTarget" . -}}
{{- include "backup-flow.validateAction" (list . $orgs) -}}
{{- /* Kubernetes takes 256 KiB of annotations; some are Argo's and the user's. */ -}}
{{- $size := len (printf "%s%s" (include "backup-flow.network" .) (include "backup-flow.settings" .)) -}}
{{- if gt $size 120000 -}}
{{- fail (printf "network: what the steps need to know of the network are %d bytes, and their pods take up to 120000; make two networks of it" $size) -}}
{{- end -}}
{{- if and (eq $b.action "create") $b.parts.files -}}
{{- include "backup-flow.validateFiles" . -}}
{{- end -}}
{{- end -}}

{{- /* What the action needs and what has no meaning for it. Call with (list $ ORGS). */ -}}
{{- define "backup-flow.validateAction" -}}
{{- $root := index . 0 -}}
{{- $orgs := index . 1 -}}
{{- $b := $root.Values.backup -}}
{{- $keeps := include "backup-flow.keeps" $root -}}
{{- if and $b.schedule (ne $b.action "create") -}}
{{- fail (printf "backup.schedule: only backups are made on a schedule; to %s, set backup.schedule to nothing for once" $b.action) -}}
{{- end -}}
{{- if and $b.schedule $b.key -}}
{{- fail "backup.key: all backups of a schedule would have one name; leave it empty, and each is named after its time" -}}
{{- end -}}
{{- if and $b.schedule (not (regexMatch "^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|@every [0-9hms]+|\\S+( +\\S+){4})$" $b.schedule)) -}}
{{- fail (printf "backup.schedule: %q is no schedule; write minute, hour, day, month and weekday, as \"0 2 * * *\" for two at night, or @daily" $b.schedule) -}}
{{- end -}}
{{- if and $b.suspend (not $b.schedule) -}}
{{- fail "backup.suspend: there is no schedule that could rest; set backup.schedule or leave backup.suspend out" -}}
{{- end -}}
{{- if and (has $b.action (list "verify" "restore")) (not $b.key) -}}
{{- fail (printf "backup.key: %s which backup? set backup.key; \"pivt backup list\" shows them" $b.action) -}}
{{- end -}}
{{- if and (eq $b.action "prune") $b.key -}}
{{- fail "backup.key: prune decides by backup.keep; leave it empty, or remove one backup with \"pivt backup delete KEY\"" -}}
{{- end -}}
{{- if and (eq $b.action "prune") (not $keeps) -}}
{{- fail "backup.keep: prune needs to know what stays; set backup.keep.last, daily, weekly or monthly" -}}
{{- end -}}
{{- if and (eq $b.action "create") (not (or $b.parts.peers $b.parts.orderers $b.parts.cas)) -}}
{{- fail "backup.parts: nothing would be saved; set peers, orderers or cas" -}}
{{- end -}}
{{- if and $b.verify.scratch.storageClass (not $b.verify.scratch.size) -}}
{{- fail "backup.verify.scratch.storageClass: without a size there is no claim; set backup.verify.scratch.size" -}}
{{- end -}}
{{- if and (ne $b.action "restore") (or $b.restore.orgs $b.restore.nodes $b.restore.accept $b.restore.cancel) -}}
{{- fail (printf "backup.restore: %s does not look at it; set backup.action=restore or leave it empty" $b.action) -}}
{{- end -}}
{{- if and $b.restore.cancel (or $b.restore.orgs $b.restore.nodes $b.restore.accept) -}}
{{- fail "backup.restore.cancel: a restore is taken back as a whole; leave orgs, nodes and accept empty" -}}
{{- end -}}
{{- range $b.restore.orgs -}}
{{- if not (has . $orgs) -}}
{{- fail (printf "backup.restore.orgs: org %q is not in crypto-config.yaml; known orgs: %s" . (join ", " $orgs)) -}}
{{- end -}}
{{- end -}}
{{- range $part := list "peer" "couchdb" "orderer" -}}
{{- $old := get $root.Values.flow $part -}}
{{- if kindIs "map" $old -}}
{{- $old = get $old "backup" -}}
{{- if and (kindIs "map" $old) (eq (toString (get $old "enabled")) "false") -}}
{{- fail (printf "flow.%s.backup.enabled: has no effect; set backup.parts.%s=false" $part (get (dict "peer" "peers" "couchdb" "state" "orderer" "orderers") $part)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The storage. Call with $. */ -}}
{{- define "backup-flow.validateTarget" -}}
{{- $t := .Values.backup.target -}}
{{- $secret := .Values.backup.secretName -}}
{{- range $old, $cure := dict
  "awsS3" "backup.target.type=s3 with backup.target.s3.bucket and region, and put the keys as accessKeyId and secretAccessKey"
  "azureBlobStorage" "backup.target.type=azure with backup.target.azure.account and container, and put the key as storageKey" -}}
{{- if or (eq $t.type $old) (hasKey $t $old) -}}
{{- fail (printf "backup.target.%s: is PIVT's; set %s into Secret %s: files and workflows are no place for keys" $old $cure $secret) -}}
{{- end -}}
{{- end -}}
{{- $needs := dict "s3" (list "bucket") "azure" (list "account" "container") "gcs" (list "bucket") "sftp" (list "host" "path" "user") "webdav" (list "url") "pvc" (list "claimName") -}}
{{- range get $needs $t.type -}}
{{- if not (get (get $t $t.type) .) -}}
{{- $others := list -}}
{{- range $type, $keys := $needs -}}
{{- if get (get $t $type) (first $keys) -}}{{- $others = append $others $type -}}{{- end -}}
{{- end -}}
{{- if and $others (not (has $t.type $others)) -}}
{{- fail (printf "backup.target.type: is %s, but backup.target.%s is what is filled in; set backup.target.type=%s" $t.type (first $others) (first $others)) -}}
{{- end -}}
{{- fail (printf "backup.target.%s.%s: is empty; say where the repository is, or choose another kind of storage with backup.target.type" $t.type .) -}}
{{- end -}}
{{- end -}}
{{- if has ".." (splitList "/" $t.prefix) -}}
{{- fail (printf "backup.target.prefix: %q leads out of the target; leave \"..\" out" $t.prefix) -}}
{{- end -}}
{{- if regexMatch "[/@]" $t.s3.endpoint -}}
{{- fail "backup.target.s3.endpoint: write HOST or HOST:PORT alone; for plain HTTP set backup.target.s3.http=true, for a directory backup.target.prefix" -}}
{{- end -}}
{{- if and $t.webdav.url (not (regexMatch "^https?://[^@/]+(/[^@]*)?$" $t.webdav.url)) -}}
{{- fail (printf "backup.target.webdav.url: write https://HOST/DIRECTORY; user and password are keys webdavUser and webdavPassword of Secret %s" $secret) -}}
{{- end -}}
{{- end -}}

{{- /* The input files. What they say can be read in the Workflow. Call with $. */ -}}
{{- define "backup-flow.validateFiles" -}}
{{- $cure := "anybody who may look at workflows could read it; take it out of the files, or leave the files out with backup.parts.files=false" -}}
{{- range $name, $text := .Values.backup.files -}}
{{- if not (regexMatch "^[A-Za-z0-9_][A-Za-z0-9._-]*$" $name) -}}
{{- fail (printf "backup.files: %q is no file's name; leave directories out" $name) -}}
{{- end -}}
{{- end -}}
{{- /* Argo hands a step's template to its pod in an environment variable, and 128 KiB are the most for one. */ -}}
{{- $size := len (toJson (include "backup-flow.files" .)) -}}
{{- if gt $size 110000 -}}
{{- fail (printf "backup.files: they are %d bytes, and a pod takes up to 110000; keep them elsewhere and set backup.parts.files=false" $size) -}}
{{- end -}}
{{- range $i, $object := .Values.extraObjects -}}
{{- if and (kindIs "map" $object) (eq (toString (get $object "kind")) "Secret") -}}
{{- fail (printf "extraObjects[%d]: is a Secret, and %s" $i $cure) -}}
{{- end -}}
{{- end -}}
{{- if kindIs "map" .Values.couchdb -}}
{{- if .Values.couchdb.password -}}
{{- fail (printf "couchdb.password: has no effect, but %s" $cure) -}}
{{- end -}}
{{- end -}}
{{- end -}}
