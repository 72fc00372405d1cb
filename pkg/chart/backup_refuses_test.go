package chart

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/exit"
)

func TestBackupRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		more   string
		want   string // without "rendering chart backup-flow: "
	}{
		"NoPeers": {
			reason: "Someone who forgets crypto-config.yaml must hear its name.",
			more:   "PeerOrgs: []",
			want:   "PeerOrgs: there are none; give the organisations with -f crypto-config.yaml",
		},
		"NoOrderers": {
			reason: "The same for orderers.",
			more:   "OrdererOrgs: []",
			want:   "OrdererOrgs: there are none; give the organisations with -f crypto-config.yaml",
		},
		"UnknownOrgInChannel": {
			reason: "A mistyped organisation would have its client's Secret waited for.",
			more:   "network: {channels: [{name: c, orgs: [Orgg1]}]}",
			want:   `network.channels[0].orgs: channel "c": org "Orgg1" is not in PeerOrgs of crypto-config.yaml; known orgs: Org1, Org2`,
		},
		"NoTarget": {
			reason: "No default can know where backups go.",
			more:   `backup: {target: {type: s3, pvc: {claimName: ""}}}`,
			want:   "backup.target.s3.bucket: is empty; say where the repository is, or choose another kind of storage with backup.target.type",
		},
		"OtherTarget": {
			reason: "Who fills in one kind and forgets the type means that kind.",
			more:   "backup: {target: {type: s3}}",
			want:   "backup.target.type: is s3, but backup.target.pvc is what is filled in; set backup.target.type=pvc",
		},
		"HalfAzure": {
			reason: "Every key that the kind needs is asked for.",
			more:   "backup: {target: {type: azure, azure: {account: a}}}",
			want:   "backup.target.azure.container: is empty; say where the repository is, or choose another kind of storage with backup.target.type",
		},
		"HalfSFTP": {
			reason: "The same here.",
			more:   "backup: {target: {type: sftp, sftp: {host: h, path: /p}}}",
			want:   "backup.target.sftp.user: is empty; say where the repository is, or choose another kind of storage with backup.target.type",
		},
		"UnknownTarget": {
			reason: "The kinds are named.",
			more:   "backup: {target: {type: tape}}",
			want:   "values: backup.target.type: value must be one of 's3', 'azure', 'gcs', 'sftp', 'webdav', 'pvc', 'awsS3', 'azureBlobStorage'",
		},
		"PIVTsS3": {
			reason: "PIVT's keys held credentials; the error must lead away from that.",
			more:   "backup: {target: {type: awsS3, awsS3: {bucketName: b, accessKeyId: a}}}",
			want: "backup.target.awsS3: is PIVT's; set backup.target.type=s3 with backup.target.s3.bucket and region, and put the keys as accessKeyId and secretAccessKey into Secret hlf-backup: " +
				"files and workflows are no place for keys",
		},
		"PIVTsAzure": {
			reason: "The same, whichever is chosen.",
			more:   "backup: {target: {azureBlobStorage: {accountName: a}}}",
			want: "backup.target.azureBlobStorage: is PIVT's; set backup.target.type=azure with backup.target.azure.account and container, and put the key as storageKey into Secret hlf-backup: " +
				"files and workflows are no place for keys",
		},
		"PIVTsSwitch": {
			reason: "A part that was switched off must not be saved without a word.",
			more:   "flow: {couchdb: {backup: {enabled: false}}}",
			want:   "flow.couchdb.backup.enabled: has no effect; set backup.parts.state=false",
		},
		"EndpointIsURL": {
			reason: "kopia takes a host.",
			more:   `backup: {target: {type: s3, s3: {bucket: b, endpoint: "http://minio:9000"}}}`,
			want:   "backup.target.s3.endpoint: write HOST or HOST:PORT alone; for plain HTTP set backup.target.s3.http=true, for a directory backup.target.prefix",
		},
		"NoURL": {
			reason: "A path alone is no address.",
			more:   "backup: {target: {type: webdav, webdav: {url: dav.example.com}}}",
			want:   "backup.target.webdav.url: write https://HOST/DIRECTORY; user and password are keys webdavUser and webdavPassword of Secret hlf-backup",
		},
		"PrefixLeadsOut": {
			reason: "A network keeps to its own place.",
			more:   "backup: {target: {prefix: a/../../b}}",
			want:   `backup.target.prefix: "a/../../b" leads out of the target; leave ".." out`,
		},
		"UnknownAction": {
			reason: "The actions are named.",
			more:   "backup: {action: delete}",
			want:   "values: backup.action: value must be one of 'create', 'verify', 'restore', 'prune'",
		},
		"RestoreWhat": {
			reason: "Nothing is restored by guess.",
			more:   "backup: {action: restore}",
			want:   `backup.key: restore which backup? set backup.key; "pivt backup list" shows them`,
		},
		"VerifyWhat": {
			reason: "Nor verified.",
			more:   "backup: {action: verify}",
			want:   `backup.key: verify which backup? set backup.key; "pivt backup list" shows them`,
		},
		"PruneOne": {
			reason: "Who names one wants it removed, which prune would not do.",
			more:   "backup: {action: prune, key: k, keep: {last: 1}}",
			want:   `backup.key: prune decides by backup.keep; leave it empty, or remove one backup with "pivt backup delete KEY"`,
		},
		"PruneAll": {
			reason: "Without a rule everything would go, or nothing.",
			more:   "backup: {action: prune}",
			want:   "backup.keep: prune needs to know what stays; set backup.keep.last, daily, weekly or monthly",
		},
		"NegativeKeep": {
			reason: "Less than nothing cannot be kept.",
			more:   "backup: {keep: {daily: -1}}",
			want:   "values: backup.keep.daily: minimum: got -1, want 0",
		},
		"ScheduledPrune": {
			reason: "A backup on a schedule prunes by itself; a restore on a schedule is a disaster.",
			more:   `backup: {action: prune, schedule: "0 2 * * *", keep: {last: 1}}`,
			want:   "backup.schedule: only backups are made on a schedule; to prune, set backup.schedule to nothing for once",
		},
		"ScheduledKey": {
			reason: "The second backup would find the first of its name.",
			more:   `backup: {schedule: "0 2 * * *", key: nightly}`,
			want:   "backup.key: all backups of a schedule would have one name; leave it empty, and each is named after its time",
		},
		"NoSchedule": {
			reason: "Argo would only say so in its log.",
			more:   `backup: {schedule: "02:00"}`,
			want:   `backup.schedule: "02:00" is no schedule; write minute, hour, day, month and weekday, as "0 2 * * *" for two at night, or @daily`,
		},
		"NothingToSuspend": {
			reason: "Whoever suspends expects that nothing runs.",
			more:   "backup: {suspend: true}",
			want:   "backup.suspend: there is no schedule that could rest; set backup.schedule or leave backup.suspend out",
		},
		"NothingToSave": {
			reason: "A backup without a node is a false promise.",
			more:   "backup: {parts: {peers: false, orderers: false, cas: false}}",
			want:   "backup.parts: nothing would be saved; set peers, orderers or cas",
		},
		"ClassWithoutSize": {
			reason: "A claim needs a size.",
			more:   "backup: {verify: {scratch: {storageClass: fast}}}",
			want:   "backup.verify.scratch.storageClass: without a size there is no claim; set backup.verify.scratch.size",
		},
		"SelectionForCreate": {
			reason: "A backup is of the whole network; an ignored selection would look like one of a part.",
			more:   "backup: {restore: {orgs: [Org1]}}",
			want:   "backup.restore: create does not look at it; set backup.action=restore or leave it empty",
		},
		"CancelHalf": {
			reason: "A restore taken back in part would leave orderers of two histories.",
			more:   "backup: {action: restore, key: k, restore: {cancel: true, orgs: [Org1]}}",
			want:   "backup.restore.cancel: a restore is taken back as a whole; leave orgs, nodes and accept empty",
		},
		"UnknownOrg": {
			reason: "A mistyped organisation would be found out by a pod.",
			more:   "backup: {action: restore, key: k, restore: {orgs: [Org1, Org3]}}",
			want:   `backup.restore.orgs: org "Org3" is not in crypto-config.yaml; known orgs: Org1, Org2, Orderer`,
		},
		"FileInDirectory": {
			reason: "A restore writes the files side by side.",
			more:   "backup: {files: {../network.yaml: text}}",
			want:   `backup.files: "../network.yaml" is no file's name; leave directories out`,
		},
		"FilesTooLarge": {
			reason: "Kubernetes would refuse the pod after all nodes have been copied.",
			more:   "backup: {files: {a.yaml: " + strings.Repeat("a", 109_990) + "}}",
			want:   "backup.files: they are 110009 bytes, and a pod takes up to 110000; keep them elsewhere and set backup.parts.files=false",
		},
		"NetworkTooLarge": {
			reason: "The same for what every pod of the workflow is told.",
			more:   "network: {channels: [{name: " + strings.Repeat("a", 120_000) + ", orgs: [Org1]}]}",
			want:   "network: what the steps need to know of the network are 12",
		},
		"SecretInFiles": {
			reason: "Workflows are read by more people than Secrets.",
			more:   "extraObjects: [{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}, {apiVersion: v1, kind: Secret, metadata: {name: b}}]",
			want:   "extraObjects[1]: is a Secret, and anybody who may look at workflows could read it; take it out of the files, or leave the files out with backup.parts.files=false",
		},
		"PasswordInFiles": {
			reason: "PIVT had one there.",
			more:   "couchdb: {password: secret}",
			want:   "couchdb.password: has no effect, but anybody who may look at workflows could read it; take it out of the files, or leave the files out with backup.parts.files=false",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Render(BackupFlow, with(t, sampleNamed(t, "test-network"), tc.more), RenderOptions{})
			if err == nil {
				t.Fatalf("%s\nrendered without an error", tc.reason)
			}
			got, ok := strings.CutPrefix(err.Error(), "rendering chart backup-flow: ")
			if name == "NetworkTooLarge" {
				got = got[:min(len(got), len(tc.want))] // the size is not the point
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || !ok {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
			if code := exit.CodeOf(err); code != exit.Invalid {
				t.Errorf("exit code %d, want %d: the files are wrong, and nothing was changed", code, exit.Invalid)
			}
		})
	}
}

// What one chart must not know of the others is no error there: the user's files go to all.
func TestBackupKeysPassElsewhere(t *testing.T) {
	t.Parallel()
	for _, s := range backupSamples(t) {
		for _, name := range append(flows(), Network) {
			if _, err := Render(name, s.values(t), RenderOptions{}); err != nil {
				t.Errorf("%s: %v", s.name, err)
			}
		}
	}
	const pivts = "backup: {enabled: true, key: 2024-01-01, target: {type: awsS3, awsS3: {bucketName: b}}}"
	for _, name := range append(flows(), Network) {
		if _, err := Render(name, with(t, sampleNamed(t, "test-network"), pivts), RenderOptions{}); err != nil {
			t.Errorf("PIVT's keys: %v", err)
		}
	}
}
