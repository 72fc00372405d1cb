package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/pkg/client/clientset/versioned"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/deploy/deploytest"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/keeper"
	"pivt.io/pivt/pkg/kube"
	"pivt.io/pivt/pkg/network"
)

// today is when the tests' backups are made; the cluster in memory has the same clock.
func today(hour int) time.Time { return time.Date(2026, 11, 21, hour, 0, 0, 0, time.UTC) }

// vault is a repository in memory: what a pod would find in it.
type vault struct {
	mu        sync.Mutex
	list      []backup.Summary
	manifests map[string]*backup.Manifest
	asked     []string
	fail      error
}

func (v *vault) ask(_ context.Context, _ *kube.Client, s backup.Settings, args []string) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked = append(v.asked, strings.Join(args, " "))
	switch {
	case v.fail != nil:
		return nil, v.fail
	case s.Target.Type == "":
		return nil, fmt.Errorf("nobody said where the repository is")
	}
	switch args[0] {
	case "list":
		return json.Marshal(v.list)
	case "show":
		if m := v.manifests[args[1]]; m != nil {
			answer := map[string]any{"manifest": m}
			for _, one := range v.list {
				if one.Key == args[1] && one.Verified != nil {
					answer["verified"] = one.Verified
				}
			}
			return json.Marshal(answer)
		}
		return nil, fmt.Errorf("there is no backup %s", args[1])
	case "delete":
		var left []backup.Summary
		for _, one := range v.list {
			if !strings.Contains(" "+strings.Join(args[1:], " ")+" ", " "+one.Key+" ") {
				left = append(left, one)
			}
		}
		v.list = left
		return []byte("[]"), nil
	}
	return nil, fmt.Errorf("unknown question %q", args)
}

// add puts a backup into the vault: of the whole network, verified or not.
func (v *vault) add(key string, finished time.Time, verified bool, m *backup.Manifest) {
	one := backup.Summary{Key: key, Started: finished.Add(-time.Minute), Finished: finished, Nodes: 5, Bytes: 1400 << 20, Uploaded: 34 << 20, Complete: true}
	if verified {
		at := finished.Add(time.Minute)
		one.Verified = &at
	}
	v.list = append([]backup.Summary{one}, v.list...)
	if m == nil {
		m = &backup.Manifest{}
	}
	m.Key, m.Started, m.Finished = key, one.Started, one.Finished
	v.manifests[key] = m
}

const backupValues = "backup: {target: {type: s3, s3: {endpoint: s3.example.com, bucket: backups}}}\n"

// saver is a user who has the two files, the keys, a network that runs, and a vault.
type saver struct {
	*live
	vault *vault
	extra []string // flags that every command gets
}

func newSaver(t *testing.T) *saver {
	t.Helper()
	u := &saver{live: newEmpty(t), vault: &vault{manifests: map[string]*backup.Manifest{}}}
	u.mustRun("init")
	u.write("network.yaml", u.read("network.yaml")+backupValues)
	u.n = u.load()
	u.secret("hlf-backup", "password", "accessKeyId", "secretAccessKey")
	u.deployed(u.n.Nodes()...)
	return u
}

func (u *saver) core() *kube.Client { return u.cluster.Client(testNamespace) }

func (u *saver) secret(name string, keys ...string) {
	u.Helper()
	data := map[string][]byte{}
	for _, k := range keys {
		data[k] = []byte("x")
	}
	_, err := u.core().Core().CoreV1().Secrets(testNamespace).Create(u.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}, metav1.CreateOptions{})
	u.must(err)
}

func (u *saver) deployed(nodes ...*network.Node) {
	u.Helper()
	for _, n := range nodes {
		_, err := u.core().Core().AppsV1().StatefulSets(testNamespace).Create(u.Context(), &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Name: n.Name(), Labels: map[string]string{"app.kubernetes.io/part-of": network.Release}},
			Spec:       appsv1.StatefulSetSpec{Replicas: new(int32(1))},
		}, metav1.CreateOptions{})
		u.must(err)
	}
}

// hold has a backup or a restore take a node.
func (u *saver) hold(node string, by keeper.By, key string) {
	u.Helper()
	sets := u.core().Core().AppsV1().StatefulSets(testNamespace)
	set, err := sets.Get(u.Context(), node, metav1.GetOptions{})
	u.must(err)
	text, err := json.Marshal(keeper.Hold{By: by, Key: key, Stage: keeper.Stopped, Since: today(11)})
	u.must(err)
	set.Annotations = map[string]string{keeper.HeldAnnotation: string(text)}
	set.Spec.Replicas = new(int32(0))
	_, err = sets.Update(u.Context(), set, metav1.UpdateOptions{})
	u.must(err)
}

func (u *saver) mustRun(args ...string) string {
	u.Helper()
	code, stdout, stderr := u.pivt(args...)
	if code != exit.OK {
		u.Fatalf("pivt %s: exit %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// pivt runs the program at noon.
func (u *saver) pivt(args ...string) (code exit.Code, stdout, stderr string) {
	u.Helper()
	return u.typing("", args...)
}

// typing is pivt with somebody at the terminal.
func (u *saver) typing(answer string, args ...string) (code exit.Code, stdout, stderr string) {
	u.Helper()
	s, out, errs := u.state(append(append(args, u.extra...), "--kubeconfig", u.cluster.Kubeconfig(testNamespace))...)
	s.Now = func() time.Time { return today(12) }
	s.Ask = u.vault.ask
	if u.nodes != nil {
		s.Dial = u.nodes.Dial
	}
	if answer != "" {
		s.StdinTTY, s.StderrTTY, s.Stdin = true, true, strings.NewReader(answer)
		s.Env = func(k string) string { return map[string]string{"TERM": "dumb"}[k] }
	}
	return Run(u.Context(), s), out.String(), errs.String()
}

// failing is the error of an output, without the story before it.
func failing(stderr string) string {
	_, text, _ := strings.Cut(stderr, "Error: ")
	return text
}

// TestBackupErrors are the texts a user reads when nothing can be begun.
func TestBackupErrors(t *testing.T) {
	t.Parallel()
	const create = "Hint:  kubectl -n fabric create secret generic hlf-backup --from-literal=password=\"$(openssl rand -hex 24)\""
	const keep = "; keep a copy of the password elsewhere: without it no backup can be read\n"
	cases := map[string]struct {
		reason  string
		arrange func(*saver)
		args    []string
		code    exit.Code
		want    string // of stderr, from "Error: " on
	}{
		"NoTarget": {
			"Where backups go is the one thing no default could know.",
			func(u *saver) { u.write("network.yaml", strings.ReplaceAll(u.read("network.yaml"), backupValues, "")) },
			[]string{"backup", "create"}, exit.Invalid,
			"backup.target is not in the files: where do backups go?\n" +
				"Hint:  add to network.yaml, for example: backup: {target: {type: s3, s3: {endpoint: \"s3.example.com\", bucket: \"fabric-backups\"}}}\n",
		},
		"NoSecret": {
			"The command that makes it can be pasted, and leaves no credential in the shell's history.",
			func(u *saver) { u.cluster.Delete("secrets", testNamespace, "hlf-backup") },
			[]string{"backup", "create"}, exit.Invalid,
			"secret/hlf-backup is not in namespace fabric: it holds the password of the backup repository and the credentials of the storage\n" +
				create + ` --from-literal=accessKeyId="$AWS_ACCESS_KEY_ID" --from-literal=secretAccessKey="$AWS_SECRET_ACCESS_KEY"` + keep,
		},
		"NoSecretForAClaim": {
			"A claim needs no credential, but the repository's password.",
			func(u *saver) { u.cluster.Delete("secrets", testNamespace, "hlf-backup") },
			[]string{"backup", "list", "--set", "backup.target.type=pvc", "--set", "backup.target.pvc.claimName=mine"}, exit.Invalid,
			"secret/hlf-backup is not in namespace fabric: it holds the password of the backup repository\n" +
				strings.Replace(create, "$(openssl rand -hex 24)", "$BACKUP_PASSWORD", 1) + "; the password is the one that the repository was made with\n",
		},
		"NoNamespace": {
			"A restore into another cluster begins with nothing, and its password is no new one.",
			func(*saver) {},
			[]string{"restore", "monday", "-n", "other"}, exit.Invalid,
			"secret/hlf-backup is not in namespace other: it holds the password of the backup repository and the credentials of the storage\n" +
				`Hint:  kubectl create namespace other && kubectl -n other create secret generic hlf-backup --from-literal=password="$BACKUP_PASSWORD"` +
				` --from-literal=accessKeyId="$AWS_ACCESS_KEY_ID" --from-literal=secretAccessKey="$AWS_SECRET_ACCESS_KEY"; the password is the one that the repository was made with` + "\n",
		},
		"SecretLacksKeys": {
			"What is missing of it is named before a pod finds out.",
			func(u *saver) {
				u.cluster.Delete("secrets", testNamespace, "hlf-backup")
				u.secret("hlf-backup", "password", "storageKey")
			},
			[]string{"backup", "create"}, exit.Invalid,
			"secret/hlf-backup in namespace fabric lacks key accessKeyId and key secretAccessKey\n" +
				"Hint:  a complete one is made by: " + strings.TrimPrefix(create, "Hint:  ") + ` --from-literal=accessKeyId="$AWS_ACCESS_KEY_ID" --from-literal=secretAccessKey="$AWS_SECRET_ACCESS_KEY"` + keep,
		},
		"NoClaim": {
			"A pod that waits for a claim would wait for ever.",
			func(*saver) {},
			[]string{"backup", "create", "--set", "backup.target.type=pvc", "--set", "backup.target.pvc.claimName=mine"}, exit.Invalid,
			"persistentvolumeclaim/mine (backup.target.pvc.claimName) is not in namespace fabric\n" +
				"Hint:  make the claim first; the volume should be on other disks than the nodes' volumes\n",
		},
		"ChartRefuses": {
			"What the chart refuses is told in its words.",
			func(*saver) {},
			[]string{"backup", "list", "--set", "backup.target.s3.bucket="}, exit.Invalid,
			"rendering chart backup-flow: backup.target.s3.bucket: is empty; say where the repository is, or choose another kind of storage with backup.target.type\n",
		},
		"HeldByRestore": {
			"A half restored node must not be saved.",
			func(u *saver) { u.hold("hlf-peer--org1--peer0", keeper.ByRestore, "monday") },
			[]string{"backup", "create"}, exit.NotReady,
			"restore monday has nodes in hand since 2026-11-21T11:00:00Z: hlf-peer--org1--peer0; nothing was changed\n" +
				"Hint:  repeat the same \"pivt restore monday\" command to go on, or \"pivt restore monday --cancel\" puts back what was there\n",
		},
		"InstallWhileHeld": {
			"Install would start the node under the copy's feet.",
			func(u *saver) { u.hold("hlf-peer--org1--peer0", keeper.ByBackup, "monday") },
			[]string{"install"}, exit.NotReady,
			"backup monday has nodes in hand since 2026-11-21T11:00:00Z: hlf-peer--org1--peer0; nothing was changed\n" +
				"Hint:  wait until backup monday is over (\"pivt status\" shows it); if its workflow is gone, its nodes are started within a minute\n",
		},
		"BadKey": {
			"A key is part of names in Kubernetes.",
			func(*saver) {},
			[]string{"backup", "create", "--key", "Before_Upgrade"}, exit.Invalid,
			"backup key \"Before_Upgrade\": lower case letters, digits and inner dashes are allowed, up to 40 of them\n" +
				"Usage: pivt backup create [flags]\n       pivt backup create --help shows more\n",
		},
		"NoPassphrase": {
			"Keys never leave the machine as they are.",
			func(*saver) {},
			[]string{"backup", "create", "--crypto-config", "crypto-config"}, exit.Invalid,
			"--crypto-config needs --passphrase-file FILE, with the passphrase that encrypts it\n" +
				"Usage: pivt backup create [flags]\n       pivt backup create --help shows more\n",
		},
		"NoSchedule": {
			"A schedule is said in the files, so that it can be looked up there.",
			func(*saver) {},
			[]string{"backup", "schedule"}, exit.Invalid,
			"backup.schedule is not in the files\nHint:  add to network.yaml, for example, every night at three: backup: {schedule: \"0 3 * * *\"}\n",
		},
		"NothingKept": {
			"A prune without numbers could mean all or nothing.",
			func(*saver) {},
			[]string{"backup", "prune"}, exit.Invalid,
			"backup.keep is not in the files: which backups stay?\nHint:  add to network.yaml, for example: backup: {keep: {daily: 7, weekly: 4, monthly: 12}}\n",
		},
		"RehearsalOnAClaim": {
			"A claim belongs to its namespace.",
			func(u *saver) {
				u.cluster.Put("persistentvolumeclaims", testNamespace, nil, map[string]any{"name": "mine"})
			},
			[]string{"backup", "verify", "monday", "--rehearse", "--set", "backup.target.type=pvc", "--set", "backup.target.pvc.claimName=mine"}, exit.Invalid,
			"a rehearsal runs in another namespace, and persistentvolumeclaim/mine cannot be mounted there\n" +
				"Hint:  \"pivt backup verify\" without --rehearse checks every block without another namespace\n",
		},
		"RehearsalElsewhere": {
			"A namespace is removed after a rehearsal, so it must have been made for one.",
			func(u *saver) {
				u.mustRun("crypto", "generate")
				u.cluster.Put("namespaces", "", nil, map[string]any{"name": "fabric-rehearsal"})
			},
			[]string{"backup", "verify", "monday", "--rehearse"}, exit.Invalid,
			"namespace fabric-rehearsal exists and is not left from a rehearsal of fabric; nothing was changed\n" +
				"Hint:  name another one with --rehearsal-namespace; it is removed when the rehearsal is over\n",
		},
		"UnknownKey": {
			"The keys that there are, are a command away.",
			func(u *saver) { u.vault.add("monday", today(3), true, nil) },
			[]string{"backup", "delete", "tuesday", "--yes"}, exit.Failed,
			"there is no backup tuesday\nHint:  \"pivt backup list\" shows the keys\n",
		},
		"DeleteUnconfirmed": {
			"Where nobody can be asked, nothing is removed, and what would be is named.",
			func(u *saver) { u.vault.add("monday", today(3), true, nil) },
			[]string{"backup", "delete", "monday"}, exit.Invalid,
			"this removes for good: monday (9h old, verified); 0 are left; give --yes to confirm\n",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newSaver(t)
			tc.arrange(u)
			code, stdout, stderr := u.pivt(tc.args...)
			if d := cmp.Diff(tc.want, failing(stderr)); d != "" || code != tc.code {
				t.Errorf("%s\npivt %s: exit %d, want %d; -want, +got:\n%s", tc.reason, strings.Join(tc.args, " "), code, tc.code, d)
			}
			if stdout != "" {
				t.Errorf("stdout is for results: %q", stdout)
			}
			if runs := u.cluster.Names("workflows", testNamespace); len(runs) > 0 {
				t.Errorf("%s\nworkflows were submitted: %v", tc.reason, runs)
			}
		})
	}
}

// TestBackupList reads the table, and what a program reads.
func TestBackupList(t *testing.T) {
	t.Parallel()
	u := newSaver(t)
	u.vault.add("sunday", today(3).AddDate(0, 0, -3), true, nil)
	u.vault.add("monday", today(10), false, nil)
	u.vault.list = append([]backup.Summary{{Key: "broken", Started: today(11), Nodes: 2}}, u.vault.list...)
	want := `KEY      AGE   NODES   SIZE      UPLOADED   VERIFIED
monday   2h    5       1.4 GiB   34 MiB     no
sunday   3d    5       1.4 GiB   34 MiB     yes
`
	if d := cmp.Diff(want, u.mustRun("backup", "list")); d != "" {
		t.Errorf("backup list: -want, +got:\n%s", d)
	}
	if all := u.mustRun("backup", "list", "--all"); !strings.Contains(all, "broken   60m   2       0 B       0 B        incomplete\n") {
		t.Errorf("backup list --all must show the interrupted attempt as one:\n%s", all)
	}
	if names := u.mustRun("backup", "list", "-o", "name"); names != "backup/monday\nbackup/sunday\n" {
		t.Errorf("backup list -o name: %q", names)
	}
	var doc struct {
		Kind string
		Data []backup.Summary
	}
	u.must(json.Unmarshal([]byte(u.mustRun("backup", "list", "-o", "json")), &doc))
	if doc.Kind != "BackupList" || len(doc.Data) != 2 || doc.Data[0].Key != "monday" || doc.Data[1].Verified == nil {
		t.Errorf("backup list -o json: %+v", doc)
	}
}

func sample() *backup.Manifest {
	node := func(name, kind string, height uint64) backup.Node {
		return backup.Node{Name: name, Kind: kind, WithState: kind == "peer", Volumes: []backup.Volume{{Name: "data", Files: 12, Bytes: 300 << 20, Uploaded: 7 << 20}},
			Channels: []backup.Channel{{Name: "mychannel", Height: height, Hash: "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"}}}
	}
	return &backup.Manifest{Namespace: testNamespace, Fabric: "3.1.1", Parts: backup.AllParts(), Files: map[string]string{"network.yaml": "network: {}\n"},
		Nodes: []backup.Node{node("hlf-peer--org1--peer0", "peer", 40), node("hlf-peer--org2--peer0", "peer", 41),
			node("hlf-orderer--orderer--orderer0", "orderer", 42), node("hlf-orderer--orderer--orderer1", "orderer", 43), node("hlf-orderer--orderer--orderer2", "orderer", 44)}}
}

// TestBackupShow reads a manifest.
func TestBackupShow(t *testing.T) {
	t.Parallel()
	u := newSaver(t)
	u.vault.add("monday", today(3), true, sample())
	got := u.mustRun("backup", "show", "monday")
	for _, want := range []string{
		"backup/monday of namespace fabric, Fabric 3.1.1\nfrom 2026-11-21T02:59:00Z to 2026-11-21T03:00:00Z, 1.5 GiB, 35 MiB uploaded\n",
		"holds peers, state databases, chaincode packages, transient data, orderers, input files\nverified at 2026-11-21T03:01:00Z\n",
		"hlf-peer--org2--peer0            data     12      300 MiB   7.0 MiB\n",
		"hlf-orderer--orderer--orderer2   mychannel   44       001122334455\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("backup show lacks %q:\n%s", want, got)
		}
	}
	for _, format := range []string{"json", "yaml"} {
		if whole := u.mustRun("backup", "show", "monday", "-o", format); !strings.Contains(whole, "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff") || !strings.Contains(whole, "network.yaml") {
			t.Errorf("backup show -o %s is not the whole manifest:\n%s", format, whole)
		}
	}
}

// TestBackupHolds are the parts that a backup has, whatever was asked for.
func TestBackupHolds(t *testing.T) {
	t.Parallel()
	ca := backup.Node{Name: "hlf-ca--org1", Kind: "ca", Volumes: []backup.Volume{{Name: "data"}}}
	cases := map[string]struct {
		reason string
		change func(*backup.Manifest)
		want   string
	}{
		"NoCA":       {"CAs are asked for by default, and the charts make none.", func(*backup.Manifest) {}, "peers, state databases, chaincode packages, transient data, orderers, input files"},
		"CA":         {"A CA that runs in the namespace is saved.", func(m *backup.Manifest) { m.Nodes = append(m.Nodes, ca) }, "peers, state databases, chaincode packages, transient data, orderers, CAs, input files"},
		"NoOrderers": {"A network of peers has its orderers elsewhere.", func(m *backup.Manifest) { m.Nodes = m.Nodes[:2] }, "peers, state databases, chaincode packages, transient data, input files"},
		"NoPeers":    {"What belongs to peers goes with them.", func(m *backup.Manifest) { m.Nodes = m.Nodes[2:] }, "orderers, input files"},
		"NoState":    {"State databases that were asked for may not have been told apart.", func(m *backup.Manifest) { m.Nodes[0].WithState, m.Nodes[1].WithState = false, false }, "peers, chaincode packages, transient data, orderers, input files"},
		"LeftOut":    {"Parts of a peer are as the files say.", func(m *backup.Manifest) { m.Parts.Chaincodes, m.Parts.Transient = false, false }, "peers, state databases, orderers, input files"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := sample()
			tc.change(m)
			if d := cmp.Diff(tc.want, strings.Join(holds(m), ", ")); d != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, d)
			}
		})
	}
}

// TestBackupCreate makes one on the cluster in memory, whose workflows end at once.
func TestBackupCreate(t *testing.T) {
	t.Parallel()
	u := newSaver(t)
	u.vault.add("20261121-120000", today(12), true, sample()) // what the workflow would leave
	code, stdout, stderr := u.pivt("backup", "create")
	if want := "backup/20261121-120000 created\nbackup/20261121-120000 verified\n"; stdout != want || code != exit.OK {
		t.Errorf("backup create: exit %d, stdout %q, want %q\n%s", code, stdout, want, stderr)
	}
	if !strings.Contains(stderr, "1.5 GiB of 5 nodes, 35 MiB uploaded, in ") {
		t.Errorf("the story does not end with the sizes:\n%s", stderr)
	}
	if code, stdout, _ := u.pivt("backup", "create", "-o", "json"); code != exit.OK || !strings.Contains(stdout, `"kind": "BackupSummary"`) || !strings.Contains(stdout, `"uploaded": 36700160`) {
		t.Errorf("backup create -o json: exit %d\n%s", code, stdout)
	}
	files := u.parameter("files", 0)
	for _, name := range []string{"crypto-config.yaml", "network.yaml"} {
		var texts map[string]string
		u.must(json.Unmarshal([]byte(files), &texts))
		if texts[name] != u.read(name) {
			t.Errorf("the workflow does not save %s as it was written:\n%s", name, texts[name])
		}
	}
}

// TestRenderExamples renders what the help of render shows, for files with a schedule: "argo submit"
// ignores every kind but Workflow, without a word.
func TestRenderExamples(t *testing.T) {
	t.Parallel()
	u := newSaver(t)
	u.write("network.yaml", strings.Replace(u.read("network.yaml"), "backup: {", `backup: {schedule: "0 3 * * *", `, 1))
	root := newRoot(&State{Env: func(string) string { return "" }}, new(globals))
	render, _, err := root.Find([]string{"render"})
	u.must(err)
	shown := 0
	for line := range strings.Lines(render.Example) {
		command, to, _ := strings.Cut(strings.TrimSpace(line), " | ")
		if !strings.HasPrefix(command, "pivt render backup-flow") {
			continue
		}
		shown++
		want := map[string]string{"argo submit -": "\nkind: Workflow\n", "kubectl apply -f -": "\nkind: CronWorkflow\n"}[to]
		if out := u.mustRun(u.words(command)...); want == "" || !strings.Contains(out, want) {
			t.Errorf("%s | %s:\n%s", command, to, out)
		}
	}
	if shown != 2 {
		t.Errorf("the help shows %d commands, not both", shown)
	}
}

// parameter reads one of a submitted workflow.
func (u *saver) parameter(name string, run int) string {
	u.Helper()
	workflows := u.workflows()
	if run >= len(workflows) {
		u.Fatalf("%d workflows were submitted", len(workflows))
	}
	p := workflows[run].Spec.Arguments.GetParameterByName(name)
	if p == nil {
		u.Fatalf("workflow %s has no parameter %s", workflows[run].Name, name)
	}
	return p.Value.String()
}

// TestBackupCreateFails reads what a user does after a failure.
func TestBackupCreateFails(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		task    string
		failure deploytest.TaskFailure
		held    keeper.By
		code    exit.Code
		stdout  string
		stderr  []string
	}{
		"Peers": {
			"Every node runs, and what was saved is not saved again.",
			"peers-org1", deploytest.TaskFailure{ExitCode: 1, Message: "the repository is full"}, "", exit.Failed, "",
			[]string{"peers-org1: the repository is full; every node has been started again\n", "; go on where it was: pivt backup create --key 20261121-120000 --kubeconfig "},
		},
		"Held": {
			"A node that is still stopped is the first thing to know.",
			"peers-org1", deploytest.TaskFailure{ExitCode: 1, Message: "the repository is full"}, keeper.ByBackup, exit.Failed, "",
			[]string{"; wait until backup 20261121-120000 is over"},
		},
		"Verify": {
			"The backup is there, and not good.",
			"verify", deploytest.TaskFailure{ExitCode: 1, Message: "hlf-peer--org1--peer0, channel mychannel: block 12 is broken"}, "", exit.Failed,
			"backup/20261121-120000 created\n",
			[]string{"block 12 is broken", "not verified yet: pivt backup verify 20261121-120000"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newSaver(t)
			u.vault.add("20261121-120000", today(12), false, sample())
			u.cluster.FailTask(tc.task, tc.failure)
			args := []string{"backup", "create"}
			if tc.held != "" {
				u.cluster.HoldTasks()
				go u.onceSubmitted(func() {
					u.hold("hlf-peer--org1--peer0", tc.held, "20261121-120000")
					u.cluster.EndTasks()
				})
			}
			code, stdout, stderr := u.pivt(args...)
			if code != tc.code || stdout != tc.stdout {
				t.Errorf("%s\nexit %d, want %d; stdout %q, want %q\n%s", tc.reason, code, tc.code, stdout, tc.stdout, stderr)
			}
			for _, want := range tc.stderr {
				if !strings.Contains(stderr, want) {
					t.Errorf("%s\nstderr lacks %q:\n%s", tc.reason, want, stderr)
				}
			}
		})
	}
}

// onceSubmitted waits for the first workflow, or the test's end.
func (u *saver) onceSubmitted(f func()) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for len(u.cluster.Names("workflows", testNamespace)) == 0 {
		select {
		case <-u.Context().Done():
			return
		case <-tick.C:
		}
	}
	f()
}

// hearing writes, and calls back when the words are said.
type hearing struct {
	io.Writer
	words string
	then  func()
}

func (h hearing) Write(p []byte) (int, error) {
	if strings.Contains(string(p), h.words) {
		h.then()
	}
	return h.Writer.Write(p)
}

// words reads a printed command as a shell does.
func (u *saver) words(line string) []string {
	u.Helper()
	out, err := exec.CommandContext(u.Context(), "sh", "-c", `pivt() { printf '%s\0' "$@"; }; `+line).Output()
	u.must(err)
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

// leaving runs a command until a workflow of it runs, and leaves it then: by Ctrl-C, or when its
// time is up.
func (u *saver) leaving(why error, args ...string) (code exit.Code, name, text string) {
	u.Helper()
	u.cluster.HoldTasks()
	ctx, interrupt := context.WithCancelCause(u.Context())
	defer interrupt(nil)
	s, stdout, stderr := u.state(append(args, "--kubeconfig", u.cluster.Kubeconfig(testNamespace))...)
	s.Stderr = hearing{stderr, ": running", func() { interrupt(why) }}
	s.Now = func() time.Time { return today(12) }
	s.Ask = u.vault.ask
	code = Run(ctx, s)
	if runs := u.cluster.Names("workflows", testNamespace); len(runs) != 1 || stdout.String() != "" {
		u.Fatalf("workflows %v, stdout %q\n%s", runs, stdout, stderr)
	}
	return code, u.cluster.Names("workflows", testNamespace)[0], failing(stderr.String())
}

// TestBackupInterrupted leaves a backup, whose workflow goes on, and does what the last words
// say: the same workflow is followed, and no second one is made.
func TestBackupInterrupted(t *testing.T) {
	t.Parallel()
	const key = "20261121-120000"
	cases := map[string]struct {
		reason string
		args   []string
		why    error
		code   exit.Code
		said   string // before the command; %s is the workflow
		after  string // what follows it, up to a semicolon
	}{
		"Bare": {
			"The key that nobody chose is the one that the hint names.",
			nil, errInterrupted, exit.Interrupted, "interrupted; workflow %s goes on\nHint:  follow it again: ", "or stop it: argo -n fabric stop %s; nodes that it has stopped are started again within a minute\n",
		},
		"Named": {
			"A key that somebody chose stays.",
			[]string{"--key", key}, errInterrupted, exit.Interrupted, "interrupted; workflow %s goes on\nHint:  follow it again: ", "or stop it: ",
		},
		"Flags": {
			"What was asked for is asked for again, whatever a shell makes of it.",
			[]string{"-f", "crypto-config.yaml", "-f", "network.yaml", "-f", "it's mine.yaml", "-n", testNamespace, "--context", "test",
				"--set", "backup.maxDowntime=20m", "--set", "backup.resources.limits.memory=2Gi", "--passphrase-file", "pass phrase.txt", "--crypto-config", "crypto-config"},
			errInterrupted, exit.Interrupted, "interrupted; workflow %s goes on\nHint:  follow it again: ", "or stop it: ",
		},
		"TimeIsUp": {
			"Who waits no longer may want to know later.",
			[]string{"--timeout", "1h"}, ended{"time is up (--timeout 1h)", context.DeadlineExceeded}, exit.TimedOut, "waiting for workflow %s (begin): time is up (--timeout 1h)\nHint:  the workflow goes on; follow it again: ",
			"or see it with: kubectl -n fabric get workflow %s\n",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newSaver(t)
			u.mustRun("crypto", "generate")
			u.write("pass phrase.txt", "correct horse battery\n")
			u.write("it's mine.yaml", "backup: {keep: {daily: 7}}\n")
			code, name, text := u.leaving(tc.why, slices.Concat([]string{"backup", "create"}, tc.args)...)
			said, after := strings.ReplaceAll(tc.said, "%s", name), strings.ReplaceAll(tc.after, "%s", name)
			rest, begins := strings.CutPrefix(text, said)
			command, end, _ := strings.Cut(rest, "; ")
			if code != tc.code || !begins || !strings.HasPrefix(end, after) || !strings.Contains(command, " --kubeconfig ") || strings.Contains(text, "correct horse") {
				t.Fatalf("%s\nexit %d, want %d; the last words: %s", tc.reason, code, tc.code, text)
			}
			// The backup has a node in hand, and was begun an hour ago.
			u.hold("hlf-peer--org1--peer0", keeper.ByBackup, key)
			u.vault.add(key, today(12), true, sample())
			s, stdout, stderr := u.state(u.words(command)...)
			s.Now = func() time.Time { return today(13) }
			s.Ask = u.vault.ask
			s.Stderr = hearing{stderr, "workflow backup-flow-", u.cluster.EndTasks}
			code = Run(t.Context(), s)
			if want := "backup/" + key + " created\nbackup/" + key + " verified\n"; code != exit.OK || stdout.String() != want {
				t.Errorf("%s\n%s\nexit %d, stdout %q\n%s", tc.reason, command, code, stdout, stderr)
			}
			if runs := u.cluster.Names("workflows", testNamespace); len(runs) != 1 || !strings.Contains(stderr.String(), "which is under way") {
				t.Errorf("%s\n%s\nis not the same run: %v\n%s", tc.reason, command, runs, stderr)
			}
		})
	}
}

// TestBackupInterruptedEarly is Ctrl-C before the API server has answered: a workflow may be there.
func TestBackupInterruptedEarly(t *testing.T) {
	t.Parallel()
	u := newSaver(t)
	ctx, interrupt := context.WithCancelCause(t.Context())
	defer interrupt(nil)
	u.cluster.Before("list", "workflows", func() { interrupt(errInterrupted) })
	s, _, stderr := u.state("backup", "create", "--kubeconfig", u.cluster.Kubeconfig(testNamespace))
	s.Now = func() time.Time { return today(12) }
	code := Run(ctx, s)
	want := "interrupted before it was known whether the workflow was submitted\nHint:  this finds one that is under way: pivt backup create --key 20261121-120000 --kubeconfig "
	if text := failing(stderr.String()); code != exit.Interrupted || !strings.HasPrefix(text, want) || !strings.HasSuffix(text, "; or look: kubectl -n fabric get workflows -l pivt.io/flow=backup\n") {
		t.Errorf("exit %d, the last words: %s", code, text)
	}
}

// TestGoOn are the commands that go on with what else was interrupted.
func TestGoOn(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		args   []string
		want   string // after "pivt "
	}{
		"Prune": {
			"A prune is of no backup.",
			[]string{"backup", "prune", "--set", "backup.keep.last=1"}, "backup prune --set backup.keep.last=1",
		},
		"Verify": {
			"What comes after the verification is part of what was asked for; how it is told is not.",
			[]string{"backup", "verify", "morning", "-q=false", "-o", "text", "--timeout", "1h", "--stop-workflows=false", "--rehearse", "--rehearsal-namespace", "stage"},
			"backup verify morning --rehearsal-namespace stage --rehearse --stop-workflows=false",
		},
		"Restore": {
			"A moment that is so long ago would be another one later; keys that were decrypted are there; who is at the terminal is asked again.",
			[]string{"restore", "--at", "2h", "--node", "peer0.org1.example.com", "--accept", "newer-data,overwrite", "--yes", "--crypto-config", "my keys", "--passphrase-file", "passphrase.txt"},
			"restore morning --node hlf-peer--org1--peer0 --accept newer-data --accept overwrite --crypto-dir 'my keys'",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newRestorer(t)
			u.mustRun("crypto", "generate")
			u.write("passphrase.txt", "correct horse battery\n")
			sealed, err := deploy.SealTree(filepath.Join(u.dir, "crypto-config"), "correct horse battery")
			u.must(err)
			u.vault.manifests["morning"].CryptoConfig = sealed
			u.vault.add("noon", today(12), true, nil)
			_, _, text := u.leaving(errInterrupted, tc.args...)
			_, command, _ := strings.Cut(text, "follow it again: pivt ")
			command, _, _ = strings.Cut(command, "; or stop it: ")
			command = regexp.MustCompile(` --kubeconfig \S+`).ReplaceAllString(command, "") // the test's
			if d := cmp.Diff(tc.want, command); d != "" {
				t.Errorf("%s\n-want, +got:\n%s\n%s", tc.reason, d, text)
			}
		})
	}
}

// TestBackupCryptoConfig saves the keys: encrypted on this machine, handed over by a ConfigMap
// that is gone afterwards; and gets them back into a new directory.
func TestBackupCryptoConfig(t *testing.T) {
	t.Parallel()
	u := newSaver(t)
	u.mustRun("crypto", "generate")
	u.write("passphrase.txt", "correct horse battery\n")
	u.vault.add("keys", today(12), true, sample())
	u.cluster.HoldTasks()
	sealed := make(chan []byte, 1)
	go u.onceSubmitted(func() {
		m, err := u.core().Core().CoreV1().ConfigMaps(testNamespace).Get(u.Context(), "hlf-crypto-config--keys", metav1.GetOptions{})
		if err == nil {
			sealed <- m.BinaryData["crypto-config.age"]
		}
		close(sealed)
		u.cluster.EndTasks()
	})
	u.mustRun("backup", "create", "--key", "keys", "--passphrase-file", "passphrase.txt")
	data := <-sealed
	if !strings.HasPrefix(string(data), "age-encryption.org/v1\n-> scrypt ") {
		t.Fatalf("what the workflow was handed is not encrypted with a passphrase: %.60q", data)
	}
	if left := u.cluster.Names("configmaps", testNamespace); strings.Contains(strings.Join(left, " "), "crypto") {
		t.Errorf("the ConfigMap was left behind: %v", left)
	}
	m := sample()
	m.CryptoConfig = data
	u.vault.manifests["keys"] = m
	m.Key = "keys"
	u.mustRun("restore", "keys", "--yes", "--crypto-config", "back", "--passphrase-file", "passphrase.txt")
	u.must(filepath.WalkDir(filepath.Join(u.dir, "crypto-config"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(u.dir+"/crypto-config", path)
		if u.read("crypto-config/"+rel) != u.read("back/"+rel) {
			t.Errorf("%s did not come back", rel)
		}
		info, err := os.Stat(filepath.Join(u.dir, "back", rel))
		if err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", rel, info.Mode().Perm())
		}
		return err
	}))
	u.write("wrong.txt", "incorrect horse\n")
	code, _, stderr := u.pivt("restore", "keys", "--yes", "--crypto-config", "again", "--passphrase-file", "wrong.txt")
	if _, err := os.Stat(filepath.Join(u.dir, "again")); code != exit.Invalid || err == nil || !strings.Contains(stderr, "the passphrase is not the one") {
		t.Errorf("a wrong passphrase: exit %d, directory made: %v\n%s", code, err == nil, stderr)
	}
	code, _, stderr = u.pivt("restore", "keys", "--yes", "--crypto-config", "back", "--passphrase-file", "passphrase.txt")
	if code != exit.Invalid || !strings.Contains(stderr, "is not empty; nothing was written") {
		t.Errorf("keys over others: exit %d\n%s", code, stderr)
	}
}

// workflows are those that were submitted, in order of their names.
func (u *saver) workflows() []wfv1.Workflow {
	u.Helper()
	config, err := u.core().ToRESTConfig()
	u.must(err)
	argo, err := versioned.NewForConfig(config)
	u.must(err)
	list, err := argo.ArgoprojV1alpha1().Workflows(testNamespace).List(u.Context(), metav1.ListOptions{})
	u.must(err)
	return list.Items
}
