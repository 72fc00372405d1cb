package chart

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/validate"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/network"
)

// backupSamples are one for each thing that the backup flow does.
func backupSamples(t testing.TB) []*sample { return samplesIn(t, filepath.Join("testdata", "backup")) }

func backupSample(t testing.TB, name string) *sample {
	t.Helper()
	all := backupSamples(t)
	i := slices.IndexFunc(all, func(s *sample) bool { return s.name == name })
	if i < 0 {
		t.Fatalf("no sample backup/%s", name)
	}
	return all[i]
}

// cron reads a schedule as strictly as "argo cron create --strict" does.
func cron(t testing.TB, manifest []byte) *wfv1.CronWorkflow {
	t.Helper()
	cron := &wfv1.CronWorkflow{}
	if err := yaml.UnmarshalStrict(manifest, cron); err != nil {
		t.Fatalf("decoding strictly: %v", err)
	}
	return cron
}

// backupWorkflow is the workflow of a rendered backup flow, or the one its schedule makes.
func backupWorkflow(t testing.TB, manifest []byte) *wfv1.Workflow {
	t.Helper()
	if !bytes.Contains(manifest, []byte("\nkind: CronWorkflow\n")) {
		return decode(t, manifest)
	}
	c := cron(t, manifest)
	return &wfv1.Workflow{ObjectMeta: metav1.ObjectMeta{GenerateName: c.Name + "-", Labels: c.Spec.WorkflowMetadata.Labels, Annotations: c.Spec.WorkflowMetadata.Annotations}, Spec: c.Spec.WorkflowSpec}
}

func TestBackupGoldens(t *testing.T) {
	t.Parallel()
	for _, s := range backupSamples(t) {
		got := mustRender(t, BackupFlow, s.values(t))
		if *update {
			s.setGolden(BackupFlow, got)
			if err := os.WriteFile(s.path, txtar.Format(s.archive), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if diff := cmp.Diff(string(s.golden(BackupFlow)), string(got)); diff != "" {
			t.Errorf("%s: -golden, +got (go test ./pkg/chart -update rewrites):\n%s", s.name, diff)
		}
	}
}

func TestBackupSameBytesAsHelm(t *testing.T) {
	t.Parallel()
	helm := helmBinary(t)
	for _, s := range backupSamples(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			compareWithHelm(t, helm, BackupFlow, s)
		})
	}
}

func TestBackupFlowPassesArgo(t *testing.T) {
	t.Parallel()
	for _, s := range append(backupSamples(t), samples(t)...) {
		manifest := mustRender(t, BackupFlow, s.values(t))
		wf := backupWorkflow(t, manifest)
		if err := validate.ValidateWorkflow(nil, nil, wf.DeepCopy(), nil, validate.ValidateOpts{Submit: true}); err != nil {
			t.Errorf("%s: Argo's validator: %v", s.name, err)
		}
		checkTemplates(t, wf)
		used := map[string]bool{wf.Spec.Entrypoint: true, wf.Spec.OnExit: true}
		for _, task := range tasks(t, wf) {
			used[task.Template] = true
		}
		for _, tmpl := range wf.Spec.Templates {
			if !used[tmpl.Name] {
				t.Errorf("%s: nobody calls template %s", s.name, tmpl.Name)
			}
			if title := tmpl.Metadata.Annotations["workflows.argoproj.io/title"]; tmpl.Container != nil && !strings.Contains(title, " ") {
				t.Errorf("%s: template %s is called %q; people read it", s.name, tmpl.Name, title)
			}
		}
	}
	// The network's policies let through what bears these labels.
	s := sampleNamed(t, "test-network")
	if diff := cmp.Diff(decode(t, mustRender(t, ChannelFlow, s.values(t))).Spec.PodMetadata.Labels, decode(t, mustRender(t, BackupFlow, s.values(t))).Spec.PodMetadata.Labels); diff != "" {
		t.Errorf("labels of pods: -channel-flow, +backup-flow:\n%s", diff)
	}
	c := cron(t, mustRender(t, BackupFlow, backupSample(t, "schedule").values(t)))
	if err := validate.ValidateCronWorkflow(t.Context(), nil, nil, c, nil); err != nil {
		t.Errorf("Argo's validator of schedules: %v", err)
	}
}

// What waits for what. Orderers after all peers is what a restore relies on.
func TestBackupTasks(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		sample string
		more   string
		want   string
	}{
		"Create": {
			reason: "No orderer is copied before a peer, nothing is pruned before the new backup is known to be good.",
			sample: "create",
			want:   "begin; peers-org1 < begin; peers-org2 < begin; orderers < peers-org1 peers-org2; seal < orderers; verify < seal; prune < verify",
		},
		"Unverified": {
			reason: "Without a verification the seal is what a prune waits for.",
			sample: "create", more: "backup: {verify: {enabled: false}}",
			want: "begin; peers-org1 < begin; peers-org2 < begin; orderers < peers-org1 peers-org2; seal < orderers; prune < seal",
		},
		"OnlyPeers": {
			reason: "What is switched off has no pod.",
			sample: "create", more: "backup: {parts: {orderers: false, cas: false}, keep: {last: 0, daily: 0}}",
			want: "begin; peers-org1 < begin; peers-org2 < begin; seal < peers-org1 peers-org2; verify < seal",
		},
		"OnlyCAs": {
			reason: "The step of the orderers saves the CAs after them.",
			sample: "create", more: "backup: {parts: {peers: false, orderers: false}}",
			want: "begin; orderers < begin; seal < orderers; verify < seal; prune < verify",
		},
		"Verify":  {reason: "A verification touches no node.", sample: "verify", want: "verify"},
		"Prune":   {reason: "Neither does a prune.", sample: "prune", want: "prune"},
		"Restore": {reason: "A restore that would do harm is refused before a node is stopped.", sample: "restore", want: "check; restore < check"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := backupSample(t, tc.sample)
			more := tc.more
			if more == "" {
				more = "{global: {}}"
			}
			var got []string
			for _, task := range tasks(t, decode(t, mustRender(t, BackupFlow, with(t, s, more)))) {
				line := task.Name
				if before := after(task); len(before) > 0 {
					line += " < " + strings.Join(before, " ")
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tc.want, strings.Join(got, "; ")); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// A peers task acts for one organisation and holds its client, and no other.
func TestBackupPeersHoldTheirClient(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t) {
		n := s.network(t)
		wf := backupWorkflow(t, mustRender(t, BackupFlow, s.values(t)))
		orgs := slices.Clone(n.PeerOrgs)
		for _, task := range tasks(t, wf) {
			if task.Template != "peers" {
				continue
			}
			given := map[string]string{}
			for _, p := range task.Arguments.Parameters {
				given[p.Name] = p.Value.String()
			}
			o := n.Org(given["org"])
			if o == nil {
				t.Fatalf("%s: task %s acts for %q", s.name, task.Name, given["org"])
			}
			orgs = slices.DeleteFunc(orgs, func(other *network.Org) bool { return other == o })
			want := map[string]string{"org": o.Name, "client": o.ClientSecret(), "label": o.Label()}
			if diff := cmp.Diff(want, given); diff != "" || task.Name != network.TaskName("peers", o.Name) {
				t.Errorf("%s: task %s: -network, +chart:\n%s", s.name, task.Name, diff)
			}
		}
		if len(orgs) > 0 {
			t.Errorf("%s: nobody copies the peers of %s", s.name, orgs[0].Name)
		}
	}
}

// What the steps find where, as package backup spells it, and who holds a client of a channel.
func TestBackupMounts(t *testing.T) {
	t.Parallel()
	const client, msp, scratch, claim = "/run/pivt/client", "/run/pivt/msp", backup.ScratchDir, backup.RepositoryDir
	repository := []string{backup.CredentialsDir, backup.CacheDir}
	want := map[string]map[string][]string{
		"create": {
			"begin": append([]string{"/run/pivt/crypto-config"}, repository...), "peers": append([]string{client}, repository...),
			"orderers": append([]string{client}, repository...), "seal": append([]string{"/run/pivt/crypto-config", "/run/pivt/files"}, repository...),
			"verify": append([]string{scratch}, repository...), "prune": repository, "end": {"/run/pivt/notify"},
		},
		"schedule": {
			"begin": append([]string{claim}, repository...), "peers": append([]string{client, claim}, repository...), "orderers": append([]string{client, claim}, repository...),
			"seal": append([]string{"/run/pivt/files", claim}, repository...), "verify": append([]string{scratch, claim}, repository...), "prune": append([]string{claim}, repository...), "end": {},
		},
		"restore": {"check": append([]string{client}, repository...), "restore": append([]string{client}, repository...), "end": {}},
		"verify":  {"verify": append([]string{scratch}, repository...), "end": {}},
		"prune":   {"prune": repository, "end": {}},
	}
	for name, templates := range want {
		got := map[string][]string{}
		for tmpl, spec := range flowPods(t, backupWorkflow(t, mustRender(t, BackupFlow, backupSample(t, name).values(t)))) {
			have := map[string]bool{}
			for _, v := range spec.Volumes {
				have[v.Name] = true
			}
			got[tmpl] = []string{}
			for _, m := range stepOf(spec).VolumeMounts {
				if !have[m.Name] {
					t.Errorf("%s: %s mounts %s, which is no volume", name, tmpl, m.Name)
				}
				got[tmpl] = append(got[tmpl], m.MountPath)
			}
			templates[tmpl] = append(templates[tmpl], "/run/pivt/network", "/run/pivt/settings", msp, "/run/pivt/out")
			slices.Sort(got[tmpl])
			slices.Sort(templates[tmpl])
		}
		if diff := cmp.Diff(templates, got); diff != "" {
			t.Errorf("%s: -want, +got:\n%s", name, diff)
		}
	}
}

// stepOf is the step's container.
func stepOf(spec *corev1.PodSpec) *corev1.Container {
	return &spec.Containers[slices.IndexFunc(spec.Containers, func(c corev1.Container) bool { return c.Name == "main" })]
}

// How a step is called is what package backuppod parses.
func TestBackupArguments(t *testing.T) {
	t.Parallel()
	const created = " --created={{workflow.creationTimestamp.RFC3339}}"
	want := map[string]map[string]string{
		"create": {
			"begin":    "step begin --key=before-upgrade" + created + " --action=create",
			"peers":    "step peers --org={{inputs.parameters.org}} --key=before-upgrade" + created + " --action=create",
			"orderers": "step orderers --key=before-upgrade" + created + " --action=create",
			"seal":     "step seal --key=before-upgrade" + created + " --action=create",
			"verify":   "step verify --key=before-upgrade" + created + " --action=create",
			"prune":    "step prune --key=before-upgrade" + created + " --action=create",
			"end":      "step end --status={{workflow.status}} --key=before-upgrade" + created + " --action=create",
		},
		"prune": {
			"prune": "step prune --key=" + created + " --action=prune",
			"end":   "step end --status={{workflow.status}} --key=" + created + " --action=prune",
		},
		"restore": {
			"check":   "step check --only-org=Org1 --node=hlf-orderer--orderer--orderer0 --accept=newer-data --accept=unverified --key=20261121-031500" + created + " --action=restore",
			"restore": "step restore --only-org=Org1 --node=hlf-orderer--orderer--orderer0 --accept=newer-data --accept=unverified --key=20261121-031500" + created + " --action=restore",
			"end":     "step end --status={{workflow.status}} --key=20261121-031500" + created + " --action=restore",
		},
		"cancel": {
			"check":   "step check --cancel --key=20261121-031500" + created + " --action=restore",
			"restore": "step restore --cancel --key=20261121-031500" + created + " --action=restore",
			"end":     "step end --status={{workflow.status}} --key=20261121-031500" + created + " --action=restore",
		},
	}
	for name, templates := range want {
		got := map[string]string{}
		for _, tmpl := range decode(t, mustRender(t, BackupFlow, backupSample(t, name).values(t))).Spec.Templates {
			if tmpl.Container != nil {
				got[tmpl.Name] = strings.Join(tmpl.Container.Args, " ")
			}
		}
		if diff := cmp.Diff(templates, got); diff != "" {
			t.Errorf("%s: -want, +got:\n%s", name, diff)
		}
	}
}

// A backup of ten organisations has a pod for each, and fits into a workflow many times over.
func TestBackupStaysSmall(t *testing.T) {
	t.Parallel()
	for _, size := range sizes {
		out := mustRender(t, BackupFlow, scaledValues(t, size))
		wf := decode(t, out)
		if got, want := len(tasks(t, wf)), size[0]+4; got != want {
			t.Errorf("%v: %d tasks, want %d", size, got, want)
		}
		if got := depth(t, wf); got != 5 {
			t.Errorf("%v: %d pods deep, want 5", size, got)
		}
		if len(out) > maxBytes {
			t.Errorf("%v: %d bytes; the limit is %d", size, len(out), maxBytes)
		}
	}
}

// What a schedule adds to a workflow.
func TestBackupSchedule(t *testing.T) {
	t.Parallel()
	s := backupSample(t, "schedule")
	c := cron(t, mustRender(t, BackupFlow, s.values(t)))
	if c.Name != "hlf-backup" || c.Spec.ConcurrencyPolicy != wfv1.ForbidConcurrent || len(c.Spec.Schedules) != 1 || c.Spec.Schedules[0] != "0 2 * * *" {
		t.Errorf("the schedule is %s %+v", c.Name, c.Spec)
	}
	once := decode(t, mustRender(t, BackupFlow, with(t, s, `backup: {schedule: ""}`)))
	if diff := cmp.Diff(once.Labels, c.Spec.WorkflowMetadata.Labels); diff != "" {
		t.Errorf("labels: -one, +scheduled:\n%s", diff)
	}
	if c.Spec.WorkflowSpec.TTLStrategy != nil {
		t.Error("the history limits say how long scheduled workflows stay; a TTL would remove them before")
	}
	once.Spec.TTLStrategy = nil
	for _, spec := range []*wfv1.WorkflowSpec{&once.Spec, &c.Spec.WorkflowSpec} {
		spec.Arguments.Parameters = slices.DeleteFunc(spec.Arguments.Parameters, func(p wfv1.Parameter) bool { return p.Name == "files" }) // names the schedule
	}
	one, _ := json.Marshal(once.Spec)
	scheduled, _ := json.Marshal(c.Spec.WorkflowSpec)
	if diff := cmp.Diff(string(one), string(scheduled)); diff != "" {
		t.Errorf("-one, +scheduled:\n%s", diff)
	}
	for _, c := range []string{"0 2 * * *", "*/15 0-5 1,15 * MON-FRI", "@daily", "@every 6h"} {
		mustRender(t, BackupFlow, with(t, s, fmt.Sprintf("backup: {schedule: %q}", c)))
	}
}
