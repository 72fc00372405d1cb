package chart

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/util/template"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/network"
)

// The parameters as the steps read them.
func TestBackupSettings(t *testing.T) {
	t.Parallel()
	settings := func(s *sample) backup.Settings {
		var got backup.Settings
		d := json.NewDecoder(strings.NewReader(parameter(t, backupWorkflow(t, mustRender(t, BackupFlow, s.values(t))), "settings")))
		d.DisallowUnknownFields()
		if err := d.Decode(&got); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		return got
	}
	byDefault := settings(sampleNamed(t, "test-network"))
	if diff := cmp.Diff(backup.AllParts(), byDefault.Parts); diff != "" {
		t.Errorf("parts by default: -package backup, +chart:\n%s", diff)
	}
	if byDefault.Keep.Any() || byDefault.Downtime() != (backup.Settings{}).Downtime() || byDefault.SecretName != "hlf-backup" {
		t.Errorf("by default the settings are %+v", byDefault)
	}
	got := settings(backupSample(t, "create"))
	want := backup.Settings{
		Target:     backup.Target{Type: backup.S3, Prefix: "fabric/prod/", S3: backup.S3Target{Endpoint: "s3.example.com:9000", Bucket: "backups", Region: "eu-central-1"}},
		SecretName: "hlf-backup", Parts: backup.AllParts(), Keep: backup.Keep{Last: 3, Daily: 7}, SnapshotClass: "csi", MaxDowntime: "15m",
		Scratch: backup.Scratch{Size: "50Gi", StorageClass: "fast"},
	}
	want.Parts.Transient = false
	pod := got.Pod
	got.Pod = backup.PodSettings{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings: -want, +got:\n%s", diff)
	}
	wf := decode(t, mustRender(t, BackupFlow, backupSample(t, "create").values(t)))
	container := wf.GetTemplateByName("begin").Container
	if pod.Image != container.Image || pod.ServiceAccountName != wf.Spec.ServiceAccountName || pod.Resources.Limits.Memory().String() != "256Mi" ||
		*pod.SecurityContext.RunAsUser != *wf.Spec.SecurityContext.RunAsUser || *pod.SecurityContext.FSGroup != 7051 || !*pod.ContainerContext.ReadOnlyRootFilesystem ||
		!slices.Contains(pod.ExtraEnv, corev1.EnvVar{Name: "GOMEMLIMIT", Value: "180MiB"}) || pod.NodeSelector["disk"] != "ssd" {
		t.Errorf("the keeper's pods look like %+v", pod)
	}
	for _, s := range backupSamples(t) {
		target := settings(s).Target
		filled := 0
		for _, set := range []bool{target.S3 != backup.S3Target{}, target.Azure != backup.AzureTarget{}, target.GCS != backup.GCSTarget{},
			target.SFTP != backup.SFTPTarget{}, target.WebDAV != backup.WebDAVTarget{}, target.PVC != backup.PVCTarget{}} {
			if set {
				filled++
			}
		}
		if filled != 1 {
			t.Errorf("%s: %d kinds of storage are in the settings: %+v", s.name, filled, target)
		}
	}
}

// Whatever files say, they arrive as they were: through YAML, and through Argo's replacement of
// text in JSON.
func TestBackupFilesTravel(t *testing.T) {
	t.Parallel()
	s := sampleNamed(t, "test-network")
	texts := map[string]any{
		"crypto-config.yaml": "Hostname: \"{{.Hostname}}\"\n# {{workflow.name}} {{=1+1}} \\u007b \\\\ \"quoted\"\r\n\ttabbed\n",
		"network.yaml":       "# früher, 日本, \u0085\u2028\u200b\ufeff, 🦊 \U000e0067 \U0010fffd, \x7f\x01\n",
	}
	values := s.values(t)
	set(values, "backup.files", texts)
	wf := decode(t, mustRender(t, BackupFlow, values))
	seal, err := json.Marshal(wf.GetTemplateByName("seal"))
	if err != nil {
		t.Fatal(err)
	}
	replaced, err := template.Replace(string(seal), map[string]any{"workflow.parameters.files": parameter(t, wf, "files")}, true)
	if err != nil {
		t.Fatal(err)
	}
	var tmpl wfv1.Template
	if err := json.Unmarshal([]byte(replaced), &tmpl); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(tmpl.Metadata.Annotations["pivt.io/files"]), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(texts, got); diff != "" {
		t.Errorf("-given, +arrived:\n%s", diff)
	}
}

// Without pivt nobody has the files' text, so two are made that describe the same network.
func TestBackupFilesOfValues(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			var texts map[string]string
			if err := json.Unmarshal([]byte(parameter(t, decode(t, mustRender(t, BackupFlow, with(t, s, "backup: {key: mine}"))), "files")), &texts); err != nil {
				t.Fatal(err)
			}
			var sources []network.Source
			for _, name := range []string{"crypto-config.yaml", "network.yaml"} {
				sources = append(sources, network.Source{Name: name, Data: []byte(texts[name])})
			}
			got, problems, err := network.Load(sources, nil)
			if err != nil {
				t.Fatalf("%v\n%v", err, problems)
			}
			if diff := cmp.Diff(describe(t, s.network(t), ChaincodeFlow), describe(t, got, ChaincodeFlow)); diff != "" {
				t.Errorf("-files, +files in the backup:\n%s", diff)
			}
			values, err := network.Values(sources, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(mustRender(t, Network, s.values(t))), string(mustRender(t, Network, values))); diff != "" {
				t.Errorf("they make another network: -files, +files in the backup:\n%s", diff)
			}
			for _, key := range []string{"action", "key", "files", "restore"} {
				if _, there := values["backup"].(map[string]any)[key]; there {
					t.Errorf("backup.%s is about one run, not about the network", key)
				}
			}
		})
	}
}

// No credential has a way into a workflow: not by a value, not by a variable of a Secret.
func TestBackupHoldsNoSecret(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	credentials := []string{"password", "accessKeyId", "secretAccessKey", "sessionToken", "storageKey", "sasToken", "accessKey", "sshKey", "sshPassword", "webdavUser", "webdavPassword", "user", "credentials"}
	for _, section := range []string{"", "target.", "target.s3.", "target.azure.", "target.gcs.", "target.sftp.", "target.webdav.", "target.pvc."} {
		for _, key := range credentials {
			if section+key == "target.sftp.user" {
				continue // no secret
			}
			values := sampleNamed(t, "test-network").values(t)
			set(values, "backup."+section+key, secret)
			if _, err := Render(BackupFlow, values, RenderOptions{}); err == nil || strings.Contains(err.Error(), secret) {
				t.Errorf("backup.%s%s: error %v; want one, without the value", section, key, err)
			}
		}
	}
	for _, more := range []string{
		"backup: {target: {type: awsS3, awsS3: {bucketName: b, secretAccessKey: hunter2}}}",
		"backup: {target: {azureBlobStorage: {accountName: a, accessKey: hunter2}}}",
		"backup: {target: {type: webdav, webdav: {url: \"https://me:hunter2@dav.example.com/b\"}}}",
		"backup: {target: {type: s3, s3: {bucket: b, endpoint: \"me:hunter2@s3.example.com\"}}}",
		"couchdb: {password: hunter2}",
		"extraObjects: [{apiVersion: v1, kind: Secret, metadata: {name: x}, stringData: {a: hunter2}}]",
	} {
		if _, err := Render(BackupFlow, with(t, sampleNamed(t, "test-network"), more), RenderOptions{}); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: error %v; want one, without the value", more, err)
		}
	}
	for _, s := range backupSamples(t) {
		for name, spec := range flowPods(t, backupWorkflow(t, mustRender(t, BackupFlow, s.values(t)))) {
			for _, c := range spec.Containers {
				for _, e := range c.Env {
					if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil || slices.ContainsFunc(c.EnvFrom, func(f corev1.EnvFromSource) bool { return f.SecretRef != nil }) {
						t.Errorf("%s: %s has a Secret in its environment", s.name, name)
					}
				}
			}
		}
	}
	// Other actions carry no files, so what the files say is not theirs to refuse.
	out := mustRender(t, BackupFlow, with(t, backupSample(t, "verify"), "couchdb: {password: hunter2}"))
	if bytes.Contains(out, []byte(secret)) {
		t.Error("a password of the values is in the workflow")
	}
}

// The chart's choices are those of package backup.
func TestBackupSchemaIsThatOfBackup(t *testing.T) {
	t.Parallel()
	s := sampleNamed(t, "test-network")
	for _, key := range []string{"a", "20261121-031500", strings.Repeat("a", 40), strings.Repeat("a", 41), "-a", "a-", "A", "a_b", "a.b", "ä", "a b", "{{x}}"} {
		values := s.values(t)
		set(values, "backup.key", key)
		_, err := Render(BackupFlow, values, RenderOptions{})
		if valid := backup.CheckKey(key) == nil; valid != (err == nil) {
			t.Errorf("key %q: package backup takes it: %v; the chart says %v", key, valid, err)
		}
	}
	var risks []any
	for _, r := range append(backup.Risks(), "anything") {
		if r != "anything" {
			risks = append(risks, string(r))
		}
		values := backupSample(t, "restore").values(t)
		set(values, "backup.restore.accept", []any{string(r)})
		if _, err := Render(BackupFlow, values, RenderOptions{}); (err == nil) != (r != "anything") {
			t.Errorf("accepting %s: %v", r, err)
		}
	}
	values := backupSample(t, "restore").values(t)
	set(values, "backup.restore.accept", risks)
	mustRender(t, BackupFlow, values)
	readme := readme(t, BackupFlow)
	for _, key := range []string{backup.CredentialPassword, backup.CredentialAccessKeyID, backup.CredentialSecretAccessKey, backup.CredentialSessionToken, backup.CredentialStorageKey,
		backup.CredentialSASToken, backup.CredentialGCSKey, backup.CredentialSSHKey, backup.CredentialSSHPassword, backup.CredentialKnownHosts, backup.CredentialWebDAVUser,
		backup.CredentialWebDAVPassword, backup.CredentialCA} {
		if !strings.Contains(readme, key) {
			t.Errorf("the README does not name the Secret's key %s", key)
		}
	}
}
