package chart

import "strings"

const (
	backupWF   = "Workflow/backup-flow- "
	backupCron = "CronWorkflow/hlf-backup "
	nightly    = `backup: {schedule: "0 2 * * *"}`
)

// backupChanges are the values of chart backup-flow.
func backupChanges() []change {
	begin := backupWF + "spec.templates[name=begin]."
	end := backupWF + "spec.templates[name=end]."
	settings := backupWF + "spec.arguments.parameters[name=settings].value."
	files := backupWF + "spec.arguments.parameters[name=files].value"
	tasks := backupWF + "spec.templates[name=main].dag.tasks"
	restoring := "backup: {action: restore, key: k}"
	all := []change{
		{value: "hyperledgerVersion", to: "2.5.9", at: backupWF + "spec.arguments.parameters[0].value.hyperledgerVersion", want: "2.5.9"},
		{value: "image.registry", to: "mirror.test", at: begin + "container.image", want: "mirror.test/pivt/pivt:dev"},
		{value: "image.repository", to: "my/pivt", at: settings + "pod.image", want: "my/pivt:dev"},
		{value: "image.tag", to: "v9", at: end + "container.image", want: "pivt/pivt:v9"},
		{value: "image.digest", to: digest1, at: settings + "pod.image", want: "pivt/pivt@" + digest1},
		{value: "imagePullPolicy", to: "Always", at: begin + "container.imagePullPolicy", want: "Always"},
		{value: "imagePullPolicy", to: "Always", at: settings + "pod.imagePullPolicy", want: "Always"},
		{value: "imagePullSecrets", to: "[{name: key}]", at: backupWF + "spec.imagePullSecrets[0].name", want: "key"},
		{value: "imagePullSecrets", to: "[{name: key}]", at: settings + "pod.imagePullSecrets[0].name", want: "key"},

		{value: "backup.action", to: "verify", more: "backup: {key: k}", at: tasks + "[0].name", want: "verify"},
		{value: "backup.action", to: "restore", more: "backup: {key: k}", at: tasks + "[0].name", want: "check"},
		{value: "backup.action", to: "prune", more: "backup: {keep: {last: 1}}", at: tasks + "[0].name", want: "prune"},
		{value: "backup.key", to: "mine", at: begin + "container.args[2]", want: "--key=mine"},
		{value: "backup.schedule", to: "0 2 * * *", at: backupCron + "spec.schedules", want: "[0 2 * * *]"},
		{value: "backup.timezone", to: "Asia/Tokyo", more: nightly, at: backupCron + "spec.timezone", want: "Asia/Tokyo"},
		{value: "backup.suspend", to: "true", more: nightly, at: backupCron + "spec.suspend", want: "true"},
		{value: "backup.startingDeadlineSeconds", to: "7", more: nightly, at: backupCron + "spec.startingDeadlineSeconds", want: "7"},
		{value: "backup.successfulHistoryLimit", to: "7", more: nightly, at: backupCron + "spec.successfulJobsHistoryLimit", want: "7"},
		{value: "backup.failedHistoryLimit", to: "7", more: nightly, at: backupCron + "spec.failedJobsHistoryLimit", want: "7"},
		{value: "backup.secretName", to: "other", at: backupWF + "spec.volumes[name=credentials].secret.secretName", want: "other"},
		{value: "backup.secretName", to: "other", at: settings + "secretName", want: "other"},

		{value: "backup.target.type", to: "s3", more: "backup: {target: {s3: {bucket: b}}}", at: settings + "target.type", want: "s3"},
		{value: "backup.target.prefix", to: "/a/b/", at: settings + "target.prefix", want: "a/b/"},
		{value: "backup.target.s3.endpoint", to: "minio:9000", more: "backup: {target: {type: s3, s3: {bucket: b}}}", at: settings + "target.s3.endpoint", want: "minio:9000"},
		{value: "backup.target.s3.bucket", to: "c", more: "backup: {target: {type: s3, s3: {bucket: b}}}", at: settings + "target.s3.bucket", want: "c"},
		{value: "backup.target.s3.region", to: "eu", more: "backup: {target: {type: s3, s3: {bucket: b}}}", at: settings + "target.s3.region", want: "eu"},
		{value: "backup.target.s3.http", to: "true", more: "backup: {target: {type: s3, s3: {bucket: b}}}", at: settings + "target.s3.http", want: "true"},
		{value: "backup.target.azure.account", to: "x", more: "backup: {target: {type: azure, azure: {account: a, container: b}}}", at: settings + "target.azure.account", want: "x"},
		{value: "backup.target.azure.container", to: "x", more: "backup: {target: {type: azure, azure: {account: a, container: b}}}", at: settings + "target.azure.container", want: "x"},
		{value: "backup.target.azure.domain", to: "x", more: "backup: {target: {type: azure, azure: {account: a, container: b}}}", at: settings + "target.azure.domain", want: "x"},
		{value: "backup.target.gcs.bucket", to: "x", more: "backup: {target: {type: gcs, gcs: {bucket: b}}}", at: settings + "target.gcs.bucket", want: "x"},
		{value: "backup.target.sftp.host", to: "x", more: "backup: {target: {type: sftp, sftp: {host: h, path: /p, user: u}}}", at: settings + "target.sftp.host", want: "x"},
		{value: "backup.target.sftp.port", to: "2222", more: "backup: {target: {type: sftp, sftp: {host: h, path: /p, user: u}}}", at: settings + "target.sftp.port", want: "2222"},
		{value: "backup.target.sftp.path", to: "/x", more: "backup: {target: {type: sftp, sftp: {host: h, path: /p, user: u}}}", at: settings + "target.sftp.path", want: "/x"},
		{value: "backup.target.sftp.user", to: "x", more: "backup: {target: {type: sftp, sftp: {host: h, path: /p, user: u}}}", at: settings + "target.sftp.user", want: "x"},
		{value: "backup.target.webdav.url", to: "http://x", more: "backup: {target: {type: webdav, webdav: {url: https://h/d}}}", at: settings + "target.webdav.url", want: "http://x"},
		{value: "backup.target.pvc.claimName", to: "x", at: settings + "target.pvc.claimName", want: "x"},
		{value: "backup.target.pvc.claimName", to: "x", at: backupWF + "spec.volumes[name=repository].persistentVolumeClaim.claimName", want: "x"},

		{value: "backup.parts.files", to: "false", at: files, want: "absent"},
		{value: "backup.parts.peers", to: "false", at: tasks + "[1].name", want: "orderers"},
		{value: "backup.parts.orderers", to: "false", at: backupWF + "spec.templates[name=orderers].metadata.annotations.workflows,argoproj,io/title", want: "Copy the CAs of the namespace"},
		{value: "backup.parts.cas", to: "false", at: backupWF + "spec.templates[name=orderers].metadata.annotations.workflows,argoproj,io/title", want: "Copy the orderers"},
		{value: "backup.files", to: "{a.yaml: text}", at: files, want: `'{"a.yaml":"text"}'`},
		{value: "backup.cryptoConfigConfigMap", to: "x", at: backupWF + "spec.templates[name=seal].volumes[name=crypto-config].configMap.name", want: "x"},
		{value: "backup.cryptoConfigConfigMap", to: "x", at: begin + "container.volumeMounts[name=crypto-config].mountPath", want: "/run/pivt/crypto-config"},

		{value: "backup.verify.enabled", to: "false", at: backupWF + "spec.templates[name=verify].name", want: "absent"},
		{value: "backup.verify.scratch.size", to: "5Gi", at: backupWF + "spec.templates[name=verify].volumes[name=scratch]",
			want: "{name: scratch, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 5Gi}}}}}}"},
		{value: "backup.verify.scratch.size", to: "5Gi", at: settings + "scratch.size", want: "5Gi"},
		{value: "backup.verify.scratch.storageClass", to: "fast", more: "backup: {verify: {scratch: {size: 1Gi}}}",
			at: backupWF + "spec.templates[name=verify].volumes[name=scratch].ephemeral.volumeClaimTemplate.spec.storageClassName", want: "fast"},
		{value: "backup.snapshotClass", to: "csi", at: settings + "snapshotClass", want: "csi"},
		{value: "backup.maxDowntime", to: "1h", at: settings + "maxDowntime", want: "1h"},
		{value: "backup.notify.secretName", to: "pager", at: end + "volumes[name=notify].secret.secretName", want: "pager"},
		{value: "backup.notify.secretName", to: "pager", at: end + "container.volumeMounts[name=notify].mountPath", want: "/run/pivt/notify"},
		{value: "backup.notify.when", to: "always", more: "backup: {notify: {secretName: s}}", at: end + "container.env[name=PIVT_NOTIFY_ON].value", want: "always"},
		{value: "backup.restore.orgs", to: "[Org1]", more: restoring, at: backupWF + "spec.templates[name=restore].container.args[2]", want: "--only-org=Org1"},
		{value: "backup.restore.nodes", to: "[node]", more: restoring, at: backupWF + "spec.templates[name=check].container.args[2]", want: "--node=node"},
		{value: "backup.restore.accept", to: "[overwrite]", more: restoring, at: backupWF + "spec.templates[name=restore].container.args[2]", want: "--accept=overwrite"},
		{value: "backup.restore.cancel", to: "true", more: restoring, at: backupWF + "spec.templates[name=restore].container.args[2]", want: "--cancel"},

		{value: "backup.serviceAccountName", to: "other", at: backupWF + "spec.serviceAccountName", want: "other"},
		{value: "backup.serviceAccountName", to: "other", at: settings + "pod.serviceAccountName", want: "other"},
		{value: "backup.deadlineSeconds", to: "3000000", at: backupWF + "spec.activeDeadlineSeconds", want: "3000000"},
		{value: "backup.resources", to: "{limits: {cpu: 4}}", at: begin + "container.resources.limits.cpu", want: "4"},
		{value: "backup.resources", to: "{limits: {cpu: 4}}", at: settings + "pod.resources.limits.cpu", want: "4"},
		{value: "backup.memoryTarget", to: "1GiB", at: end + "container.env[name=GOMEMLIMIT].value", want: "1GiB"},
		{value: "backup.memoryTarget", to: "1GiB", at: settings + "pod.extraEnv[name=GOMEMLIMIT].value", want: "1GiB"},
		{value: "backup.podSecurityContext", to: "{runAsUser: 5}", at: backupWF + "spec.securityContext.runAsUser", want: "5"},
		{value: "backup.podSecurityContext", to: "{runAsUser: 5}", at: settings + "pod.securityContext.runAsUser", want: "5"},
		{value: "backup.nodeSelector", to: "{disk: ssd}", at: settings + "pod.nodeSelector.disk", want: "ssd"},
		{value: "backup.tolerations", to: "[{key: k}]", at: settings + "pod.tolerations[0].key", want: "k"},
		{value: "backup.priorityClassName", to: "high", at: settings + "pod.priorityClassName", want: "high"},

		{value: "flow.parallelism", to: "3", at: backupWF + "spec.parallelism", want: "3"},
		{value: "flow.parallelism", to: "0", at: backupWF + "spec.parallelism", want: "absent"},
		{value: "flow.retry.limit", to: "2", at: begin + "retryStrategy.limit", want: "'2'"},
		{value: "flow.retry.duration", to: "1s", at: begin + "retryStrategy.backoff.duration", want: "1s"},
		{value: "flow.retry.factor", to: "3", at: begin + "retryStrategy.backoff.factor", want: "'3'"},
		{value: "flow.retry.cap", to: "9m", at: end + "retryStrategy.backoff.cap", want: "9m"},
		{value: "flow.podGC.strategy", to: "OnPodCompletion", at: backupWF + "spec.podGC.strategy", want: "OnPodCompletion"},
		{value: "flow.podGC.deleteDelay", to: "1h", at: backupWF + "spec.podGC.deleteDelayDuration", want: "1h"},
		{value: "flow.ttl.secondsAfterSuccess", to: "1", at: backupWF + "spec.ttlStrategy.secondsAfterSuccess", want: "1"},
		{value: "flow.ttl.secondsAfterFailure", to: "9000000", at: backupWF + "spec.ttlStrategy.secondsAfterFailure", want: "9000000"},
		{value: "flow.nodeSelector", to: "{disk: ssd}", at: backupWF + "spec.nodeSelector.disk", want: "ssd"},
		{value: "flow.tolerations", to: "[{key: k}]", at: backupWF + "spec.tolerations[0].key", want: "k"},
		{value: "flow.affinity", to: "{nodeAffinity: {}}", at: backupWF + "spec.affinity", want: "{nodeAffinity: {}}"},
		{value: "flow.priorityClassName", to: "high", at: backupWF + "spec.podPriorityClassName", want: "high"},
		{value: "flow.podLabels", to: "{team: a}", at: backupWF + "spec.podMetadata.labels.team", want: "a"},
		{value: "flow.podLabels", to: "{team: a}", at: settings + "pod.labels.team", want: "a"},
		{value: "flow.podAnnotations", to: "{note: a}", at: backupWF + "spec.podMetadata.annotations.note", want: "a"},
		{value: "flow.podAnnotations", to: "{note: a}", at: settings + "pod.annotations.note", want: "a"},
		{value: "flow.extraEnv", to: "[{name: GOGC, value: '50'}]", at: begin + "container.env[name=GOGC].value", want: "'50'"},
		{value: "flow.extraEnv", to: "[{name: GOGC, value: '50'}]", at: settings + "pod.extraEnv[name=GOGC].value", want: "'50'"},
		{value: "flow.containerSecurityContext", to: "{privileged: false}", at: begin + "container.securityContext.privileged", want: "false"},
		{value: "flow.containerSecurityContext", to: "{privileged: false}", at: settings + "pod.containerSecurityContext.privileged", want: "false"},
		{value: "flow.executorSecurityContext", to: "{runAsUser: 8}", at: backupWF + "spec.podSpecPatch.containers[name=wait].securityContext.runAsUser", want: "8"},
		{value: "flow.executorSecurityContext", to: "{runAsUser: 8}", at: backupWF + "spec.podSpecPatch.initContainers[name=init].securityContext.runAsUser", want: "8"},
	}
	for _, part := range strings.Fields("peers state chaincodes transient orderers cas files msps") {
		all = append(all, change{value: "backup.parts." + part, to: "false", at: settings + "parts." + part, want: "false"})
	}
	for _, rule := range strings.Fields("last daily weekly monthly") {
		all = append(all,
			change{value: "backup.keep." + rule, to: "3", at: settings + "keep." + rule, want: "3"},
			change{value: "backup.keep." + rule, to: "3", at: backupWF + "spec.templates[name=prune].name", want: "prune"})
	}
	return all
}
