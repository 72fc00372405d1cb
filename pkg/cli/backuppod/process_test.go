package backuppod_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/cli/backuppod"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/keeper"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
	"pivt.io/pivt/pkg/repository"
)

const files = `{"OrdererOrgs": [{"Name": "Orderer", "Domain": "example.com", "Specs": [{"Hostname": "o0"}]}],
"PeerOrgs": [{"Name": "Org1", "Domain": "org1.example.com", "Template": {"Count": 1}}],
"network": {"channels": [{"name": "common", "orgs": ["Org1"]}]}}`

// pod is what the flow mounts, below a directory of the test.
type pod struct {
	t        *testing.T
	root     string
	settings backup.Settings
	cluster  kubernetes.Interface
	env      map[string]string
	logs     bytes.Buffer
	heard    func(line string) // is told what is logged
}

// Write implements io.Writer for the log.
func (p *pod) Write(line []byte) (int, error) {
	if p.heard != nil {
		p.heard(string(line))
	}
	return p.logs.Write(line)
}

func newPod(t *testing.T) *pod {
	t.Helper()
	p := &pod{t: t, root: t.TempDir(), cluster: fake.NewClientset(), env: map[string]string{"PIVT_NAMESPACE": "fabric", "PIVT_WORKFLOW": "backup-flow-x"},
		settings: backup.Settings{Target: backup.Target{Type: backup.PVC, PVC: backup.PVCTarget{ClaimName: "c"}}, SecretName: "hlf-backup", Parts: backup.AllParts()}}
	n, _, err := network.Load([]network.Source{{Name: "network.yaml", Data: []byte(files)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	keys := t.TempDir()
	if _, err := pki.Ensure(keys, n, pki.Options{}); err != nil {
		t.Fatal(err)
	}
	m, err := pki.Load(keys, n)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range n.Orgs() {
		p.put("msp/"+o.PublicKey(), string(m.Orgs[o.Name].Public.Marshal()))
	}
	p.put("network/network.yaml", files)
	p.put("credentials/password", "correct horse")
	p.put("files/files.json", `{"network.yaml": "network: {}"}`)
	for _, dir := range []string{"repository", "cache", "scratch"} {
		if err := os.MkdirAll(filepath.Join(p.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p *pod) put(name, text string) {
	p.t.Helper()
	path := filepath.Join(p.root, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// run runs the program and returns its code, what it wrote to standard output, and its last words.
func (p *pod) run(args ...string) (exit.Code, string, string) {
	p.t.Helper()
	return p.under(p.t.Context(), args...)
}

func (p *pod) under(ctx context.Context, args ...string) (exit.Code, string, string) {
	p.t.Helper()
	settings, err := json.Marshal(p.settings)
	if err != nil {
		p.t.Fatal(err)
	}
	p.put("settings/settings.json", string(settings))
	var out bytes.Buffer
	last := filepath.Join(p.root, "termination")
	_ = os.Remove(last)
	code := backuppod.Main(ctx, backuppod.Process{Args: args, Env: func(name string) string { return p.env[name] }, Stdout: &out, Stderr: p, Root: p.root, Termination: last,
		Cluster: func() (kubernetes.Interface, dynamic.Interface, error) {
			return p.cluster, dynamicfake.NewSimpleDynamicClient(runtime.NewScheme()), nil
		}})
	words, _ := os.ReadFile(last)
	return code, out.String(), string(words)
}

func (p *pod) must(args ...string) string {
	p.t.Helper()
	code, out, words := p.run(args...)
	if code != exit.OK {
		p.t.Fatalf("%v: exit %d: %s", args, code, words)
	}
	return out
}

// answer decodes what a command answers.
func (p *pod) answer(into any, args ...string) {
	p.t.Helper()
	data, err := keeper.ReadAnswer(p.must(args...))
	if err != nil {
		p.t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		p.t.Fatal(err)
	}
}

// status is what the cluster remembers of backups.
func (p *pod) status() backup.Status {
	p.t.Helper()
	s, err := keeper.ReadStatus(p.t.Context(), p.cluster, "fabric")
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// save runs a copy pod for a node and keeps its result, as the keeper does.
func (p *pod) save(key, node, kind string) {
	p.t.Helper()
	named, err := json.Marshal(backup.Node{Name: node, Kind: kind, Stopped: time.Now().UTC()})
	if err != nil {
		p.t.Fatal(err)
	}
	p.put("node/node.json", string(named))
	p.put("volumes/data/production/"+kind+".txt", "data of "+node)
	var n backup.Node
	p.answer(&n, "save", "--node", node, "--key", key)
	if len(n.Volumes) != 1 || n.Volumes[0].Snapshot == "" || n.Copied.IsZero() {
		p.t.Fatalf("the copy pod answers %+v", n)
	}
	r, err := repository.Open(p.t.Context(), p.settings.Target, repository.Options{Credentials: filepath.Join(p.root, "credentials"), Dir: filepath.Join(p.root, "repository"), Cache: p.t.TempDir()})
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Close(p.t.Context())
	if err := r.PutNode(p.t.Context(), key, n); err != nil {
		p.t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(p.root, "volumes")); err != nil {
		p.t.Fatal(err)
	}
}

// TestBackupOfPods runs a backup's pods one after the other on a directory.
func TestBackupOfPods(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	p.must("step", "begin", "--key=k1")
	if code, _, words := p.run("step", "seal", "--key=k1"); code != exit.Failed || !strings.Contains(words, "are not saved") {
		t.Errorf("sealing nothing: exit %d: %s", code, words)
	}
	p.save("k1", "hlf-peer--org1--peer0", "peer")
	if code, _, words := p.run("step", "seal", "--key=k1"); code != exit.Failed || !strings.Contains(words, "hlf-orderer--orderer--o0 is not saved") {
		t.Errorf("sealing half of it: exit %d: %s", code, words)
	}
	p.save("k1", "hlf-orderer--orderer--o0", "orderer")
	p.put("crypto-config/crypto-config.age", "age-encryption.org/v1 …")
	p.must("step", "seal", "--key=k1")
	if code, _, words := p.run("step", "begin", "--key=k1"); code != exit.Invalid || !strings.Contains(words, "exists") {
		t.Errorf("a key that is taken: exit %d: %s", code, words)
	}
	var shown backup.Shown
	p.answer(&shown, "show", "k1")
	m := shown.Manifest
	if shown.Verified != nil || m.Namespace != "fabric" || len(m.Nodes) != 2 || m.Nodes[0].Kind != "peer" || len(m.Identity.Orgs) != 2 || len(m.MSPs) != 2 ||
		m.Files["network.yaml"] != "network: {}" || len(m.CryptoConfig) == 0 || m.Consensus["common"] != network.Raft {
		t.Errorf("the manifest: %+v, verified %v", m, shown.Verified)
	}
	p.must("step", "verify", "--key=k1")
	p.answer(&shown, "show", "k1")
	if shown.Verified == nil {
		t.Error("a verified backup is not called so")
	}
	if status := p.status(); status.Last == nil || status.LastVerified == nil || status.LastVerified.Key != "k1" || status.LastFailure != nil {
		t.Errorf("what the cluster remembers: %+v", status)
	}

	if _, _, words := p.run("restore", "--node", "hlf-peer--org2--peer0", "--key", "k1"); !strings.Contains(words, "has no copy of hlf-peer--org2--peer0") {
		t.Errorf("restoring what was not saved: %s", words)
	}
	p.put("volumes/data/production/new.txt", "written since")
	p.must("restore", "--node", "hlf-peer--org1--peer0", "--key", "k1")
	if text, err := os.ReadFile(filepath.Join(p.root, "volumes/data/production/peer.txt")); err != nil || string(text) != "data of hlf-peer--org1--peer0" {
		t.Errorf("the restored file: %q, %v", text, err)
	}
	p.must("undo", "--node", "hlf-peer--org1--peer0")
	if text, err := os.ReadFile(filepath.Join(p.root, "volumes/data/production/new.txt")); err != nil || string(text) != "written since" {
		t.Errorf("the file after undo: %q, %v", text, err)
	}

	for i := 2; i <= 4; i++ {
		key := fmt.Sprintf("k%d", i)
		p.save(key, "hlf-peer--org1--peer0", "peer")
		if i < 4 {
			p.save(key, "hlf-orderer--orderer--o0", "orderer")
			p.must("step", "seal", "--key", key)
		}
	}
	p.settings.Keep = backup.Keep{Last: 1}
	p.must("step", "prune", "--key=k3", "--action=create")
	var list []backup.Summary
	p.answer(&list, "list")
	var keys []string
	for _, s := range list {
		keys = append(keys, fmt.Sprintf("%s %t", s.Key, s.Complete))
	}
	// The newest, the only verified one, and the attempt that may be under way.
	if got := strings.Join(keys, ", "); got != "k4 false, k3 true, k1 true" {
		t.Errorf("after a prune there are %s", got)
	}
	var deleted []string
	p.answer(&deleted, "delete", "k1")
	p.must("step", "prune", "--key=k3", "--action=create")
	if status := p.status(); status.LastVerified != nil || status.Last == nil || status.Last.Key != "k3" {
		t.Errorf("the cluster remembers a backup that is gone: %+v", status)
	}
	if code, _, words := p.run("show", "k1"); code == exit.OK || !strings.Contains(words, "k1") {
		t.Errorf("showing what was deleted: exit %d: %s", code, words)
	}
	if text := p.logs.String(); strings.Contains(text, "correct horse") {
		t.Error("the password is in the log")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(*pod)
		args   []string
		code   exit.Code
		want   string
	}{
		"NoRepository":   {nil, []string{"list"}, exit.Failed, "no repository"},
		"WrongPassword":  {func(p *pod) { p.must("step", "begin", "--key=a"); p.put("credentials/password", "wrong") }, []string{"list"}, exit.Failed, "wrong password"},
		"NoSettings":     {func(p *pod) { p.settings.Target.Type = "tape" }, []string{"list"}, exit.Invalid, "tape"},
		"NoKey":          {nil, []string{"step", "begin"}, exit.Invalid, "--created"},
		"BadKey":         {nil, []string{"step", "begin", "--key=A/B"}, exit.Invalid, "lower case"},
		"UnknownStep":    {nil, []string{"step", "dance", "--key=a"}, exit.Invalid, `step "dance" does not exist`},
		"UnknownRisk":    {nil, []string{"restore", "--node=n", "--key=k", "--accept=fire"}, exit.Invalid, "fire"},
		"UnknownOrg":     {func(p *pod) { p.must("step", "begin", "--key=a") }, []string{"step", "peers", "--org=Org9", "--key=a"}, exit.Invalid, "Org9"},
		"OfAnotherNode":  {func(p *pod) { p.put("node/node.json", `{"name": "x"}`) }, []string{"save", "--node=y", "--key=k"}, exit.Invalid, `"x"`},
		"MissingMSP":     {func(p *pod) { p.must("step", "begin", "--key=a"); os.RemoveAll(filepath.Join(p.root, "msp")) }, []string{"step", "seal", "--key=a"}, exit.Failed, "hlf-msp"},
		"NothingToCheck": {func(p *pod) { p.must("step", "begin", "--key=a") }, []string{"step", "check", "--key=b"}, exit.Failed, "b"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t)
			if tc.change != nil {
				tc.change(p)
			}
			if code, _, words := p.run(tc.args...); code != tc.code || !strings.Contains(words, tc.want) {
				t.Errorf("%v: exit %d, want %d; said %q, want %q", tc.args, code, tc.code, words, tc.want)
			}
		})
	}
}

func TestNotify(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		when, status string
		answers      []int
		posts        int
		code         exit.Code
	}{
		"Failure":        {"failure", "Failed", []int{200}, 1, exit.OK},
		"SuccessIsQuiet": {"failure", "Succeeded", nil, 0, exit.OK},
		"Always":         {"always", "Succeeded", []int{204}, 1, exit.OK},
		"Again":          {"failure", "Error", []int{503, 200}, 2, exit.OK},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			posts := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var n backuppod.Notice
				if err := json.NewDecoder(r.Body).Decode(&n); err != nil || n.Key != "k" || n.Action != "create" || n.Status != tc.status || n.Namespace != "fabric" {
					t.Errorf("posted %+v, %v", n, err)
				}
				if r.Header.Get("Authorization") != "Bearer x" {
					t.Errorf("authorization %q", r.Header.Get("Authorization"))
				}
				w.WriteHeader(tc.answers[posts])
				posts++
			}))
			defer server.Close()
			p := newPod(t)
			p.env["PIVT_NOTIFY_ON"] = tc.when
			p.put("notify/url", server.URL+"/hook?token=hidden\n")
			p.put("notify/authorization", "Bearer x\n")
			if code, _, words := p.run("step", "end", "--key=k", "--status="+tc.status); code != tc.code {
				t.Errorf("exit %d: %s", code, words)
			}
			if posts != tc.posts {
				t.Errorf("%d posts, want %d", posts, tc.posts)
			}
			if strings.Contains(p.logs.String(), "hidden") {
				t.Error("the address is in the log")
			}
		})
	}
}
