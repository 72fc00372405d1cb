package cli_test

import (
	"bytes"
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/cli"
	"pivt.io/pivt/pkg/deploy/deploytest"
	"pivt.io/pivt/pkg/exit"
)

// user has a directory with the two files of "pivt init" and a cluster in memory.
type user struct {
	*testing.T
	dir     string
	cluster *deploytest.Cluster
}

func newUser(t *testing.T) *user {
	t.Helper()
	u := &user{t, t.TempDir(), deploytest.New(t)}
	if got := run(t, u.dir, nil, "init"); got.code != exit.OK {
		t.Fatal(got.stderr)
	}
	return u
}

// pivt runs the program in the directory, against the cluster.
func (u *user) pivt(args ...string) result {
	u.Helper()
	return run(u.T, u.dir, nil, append(args, "--kubeconfig", u.cluster.Kubeconfig("fabric"))...)
}

// varying is what differs from run to run: times, and names that the cluster makes.
var varying = regexp.MustCompile(` \([0-9.]+ s\)|in [0-9.]+ s|-flow-[0-9]+`)

func steady(s string) string { return varying.ReplaceAllString(s, "") }

// TestInstallOutput reads what a user of a pipe sees.
func TestInstallOutput(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	first := u.pivt("install")
	if first.code != exit.OK || !strings.HasSuffix(first.stdout, "release/hlf-kube created\nchannel/mychannel configured\nchaincode/basic configured\n") {
		t.Errorf("first install: exit %d\n%s%s", first.code, first.stdout, first.stderr)
	}
	again := u.pivt("install")
	want := "release/hlf-kube unchanged\nchannel/mychannel unchanged\nchaincode/basic unchanged\n"
	if d := cmp.Diff(want, again.stdout); d != "" || again.code != exit.OK {
		t.Errorf("repeat: exit %d, stdout: -want, +got:\n%s", again.code, d)
	}
	for _, line := range []string{"ok     secrets: 16 unchanged", "ok     release hlf-kube: revision 1 unchanged", "ok     channel mychannel: up to date", "nothing changed"} {
		if !strings.Contains(steady(again.stderr), line) {
			t.Errorf("the repeat's story lacks %q:\n%s", line, again.stderr)
		}
	}
	if quiet := u.pivt("install", "-q"); quiet.stderr != "" || quiet.stdout != want {
		t.Errorf("install -q: stdout %q, stderr %q", quiet.stdout, quiet.stderr)
	}
	if named := u.pivt("install", "-q", "-o", "name"); named.stdout != "release/hlf-kube\nchannel/mychannel\nchaincode/basic\n" {
		t.Errorf("install -o name: %q", named.stdout)
	}
}

// TestClusterErrors are the texts a user reads when something is wrong outside the files.
func TestClusterErrors(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		arrange func(*user)
		args    []string
		code    exit.Code
		stderr  string // the end of it, from "Error:" on
	}{
		"NamespaceDenied": {
			"A right that lacks is named with the command that lists all.",
			func(u *user) { u.cluster.Refuse("create", "namespaces", "") },
			[]string{"install"}, exit.Failed,
			"Error: creating namespace fabric: namespaces is forbidden: User \"ada\" cannot create resource \"namespaces\"\n" +
				"Hint:  the kubeconfig's user lacks a right; \"pivt check\" lists all that are needed\n",
		},
		"NoArgo": {
			"The cure is the address of the instructions.",
			func(u *user) { u.cluster.WithoutArgo() },
			[]string{"install"}, exit.NotReady,
			"Error: this cluster has no Argo Workflows (resource workflows.argoproj.io)\n" +
				"Hint:  install its controller, see https://argo-workflows.readthedocs.io/en/latest/installation/, then repeat this command\n",
		},
		"NamespaceName": {
			"What Kubernetes would answer is five lines with a regular expression.",
			func(*user) {},
			[]string{"install", "-n", "Bad_NS"}, exit.Invalid,
			"Error: namespace \"Bad_NS\": Kubernetes takes lower case letters, digits and dashes, at most 63, beginning and ending with a letter or digit\n" +
				"Usage: pivt install [flags]\n       pivt install --help shows more\n",
		},
		"ChaincodeFails": {
			"A step's last words and its hint are the program's.",
			func(u *user) {
				u.cluster.FailTask("commit-basic", deploytest.TaskFailure{ExitCode: 1, Message: "chaincode \"basic\": Org2 has approved another policy\nHint: make the files of both the same"})
			},
			[]string{"install"}, exit.Failed,
			"Error: workflow chaincode: commit-basic: chaincode \"basic\": Org2 has approved another policy\n" +
				"Hint:  make the files of both the same\n",
		},
		"TimeIsUp": {
			"Nobody knows what a context's deadline is.",
			func(u *user) { u.cluster.HoldTasks() },
			[]string{"channel", "apply", "--timeout", "10s"}, exit.TimedOut,
			"Error: waiting for workflow channel (probe): time is up (--timeout 10s)\n" +
				"Hint:  the workflow goes on; repeat the command to follow it again, or see it with: kubectl -n fabric get workflow channel\n",
		},
		"NothingInstalled": {
			"Status of an empty namespace is not an error of the cluster.",
			func(*user) {},
			[]string{"status"}, exit.NotReady,
			"Error: the network is not as the files ask\nHint:  run \"pivt install\" to complete it\n",
		},
		"EmptyKubeconfig": {
			"Kubernetes' own text speaks of a variable nobody uses.",
			func(*user) {},
			[]string{"install", "--kubeconfig", "network.yaml"}, exit.Invalid,
			"Error: the kubeconfig names no cluster\n" +
				"Hint:  no cluster is configured; give --kubeconfig FILE, or make one: \"make cluster-up\" or \"kind create cluster\"\n",
		},
		"UnknownChannel": {
			"The names that are known are told.",
			func(*user) {},
			[]string{"channel", "apply", "other"}, exit.Invalid,
			"Error: channel \"other\" is not in the files; known: mychannel\n" +
				"Usage: pivt channel apply [NAME...] [flags]\n       pivt channel apply --help shows more\n",
		},
		"QueryElsewhere": {
			"A channel that is misspelled is told before anything is asked.",
			func(*user) {},
			[]string{"chaincode", "query", "basic", "GetAllAssets", "--channel", "other"}, exit.Invalid,
			"Error: channel \"other\" is not in the files; known: mychannel\n" +
				"Usage: pivt chaincode query NAME FUNCTION [ARG...] [flags]\n       pivt chaincode query --help shows more\n",
		},
		"Unconfirmed": {
			"Where nobody can be asked, nothing is removed.",
			func(*user) {},
			[]string{"uninstall"}, exit.Invalid,
			"Error: this removes the network in namespace fabric: 2 peer orgs with 2 peers, 3 orderers, 1 channel, 1 chaincode; Fabric 3.1.1; give --yes to confirm\n",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUser(t)
			if tc.args[0] != "install" {
				u.cluster.Put("namespaces", "", nil, map[string]any{"name": "fabric"})
				if got := run(t, u.dir, nil, "crypto", "generate"); got.code != exit.OK {
					t.Fatal(got.stderr)
				}
			}
			tc.arrange(u)
			args := tc.args
			var got result
			if strings.Contains(strings.Join(args, " "), "--kubeconfig") {
				args[len(args)-1] = filepath.Join(u.dir, args[len(args)-1])
				got = run(t, u.dir, nil, args...)
			} else {
				got = u.pivt(args...)
			}
			_, text, _ := strings.Cut("\n"+got.stderr, "\nError:")
			if d := cmp.Diff(tc.stderr, "Error:"+steady(text)); d != "" || got.code != tc.code {
				t.Errorf("%s\npivt %s: exit %d, want %d; stderr: -want, +got:\n%s", tc.reason, strings.Join(tc.args, " "), got.code, tc.code, d)
			}
			if name != "NothingInstalled" && strings.Contains(got.stdout, "unchanged") {
				t.Errorf("%s\nstdout tells of what nobody has looked at: %s", tc.reason, got.stdout)
			}
		})
	}
}

// TestCheckOutput reads a failed check, for people and for programs.
func TestCheckOutput(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	u.cluster.WithoutArgo()
	u.cluster.Refuse("create", "namespaces", "")
	got := u.pivt("check", "--pre")
	want := `files
  ok     the files are valid: 2 peer orgs with 2 peers, 3 orderers, 1 channel, 1 chaincode; Fabric 3.1.1
cluster
  ok     the API server answers: Kubernetes ` + deploytest.Version + `
Argo
  failed the cluster knows workflows: resource workflows.argoproj.io is missing
         hint: install Argo Workflows: https://argo-workflows.readthedocs.io/en/latest/installation/
permissions
  failed you may install in namespace fabric: missing: create namespaces
         hint: ask for the namespace, and for a Role in it with the other verbs that are missing
`
	if d := cmp.Diff(want, got.stdout); d != "" || got.code != exit.NotReady || got.stderr != "Error: 2 checks failed\n" {
		t.Errorf("check: exit %d, stderr %q, stdout: -want, +got:\n%s", got.code, got.stderr, d)
	}
	asJSON := u.pivt("check", "--pre", "-o", "json")
	for _, want := range []string{`"kind": "CheckList"`, `"category": "permissions"`, `"ok": false`} {
		if !strings.Contains(asJSON.stdout, want) {
			t.Errorf("check -o json lacks %s:\n%s", want, asJSON.stdout)
		}
	}
	if !strings.Contains(asJSON.stderr, `"code":3`) {
		t.Errorf("check -o json: error %s", asJSON.stderr)
	}
}

// lines is a writer that calls heard with all that was written so far.
type lines struct {
	mu    sync.Mutex
	all   bytes.Buffer
	heard func(all string)
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.all.Write(p)
	l.heard(l.all.String())
	return n, err
}

// TestInterrupted presses Ctrl-C in the middle of a workflow.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	u.cluster.HoldTasks()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	stderr := &lines{heard: func(all string) {
		if strings.Contains(all, "channel mychannel: Look") && strings.Contains(all, "chaincode basic: Look") {
			interrupt()
		}
	}}
	var stdout bytes.Buffer
	code := cli.Run(ctx, &cli.State{
		Args: []string{"install", "--kubeconfig", u.cluster.Kubeconfig("fabric")},
		Env:  func(string) string { return "" }, Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: stderr,
		Width: func() int { return 80 }, Dir: u.dir, Now: time.Now,
	})
	if code != exit.Interrupted {
		t.Errorf("exit %d, want 130", code)
	}
	if !strings.HasSuffix(stdout.String(), "release/hlf-kube created\n") {
		t.Errorf("stdout must end with what was made, and has no word of what is under way:\n%s", stdout.String())
	}
	if all := stderr.all.String(); !strings.Contains(all, "Error: interrupted") || !strings.Contains(all, "repeat \"pivt install\" to go on") {
		t.Errorf("the last words do not say how to go on:\n%s", all)
	}
}

func TestStatusNames(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	if got := run(t, u.dir, nil, "crypto", "generate"); got.code != exit.OK {
		t.Fatal(got.stderr)
	}
	got := u.pivt("status", "-o", "name")
	want := "node/hlf-orderer--orderer--orderer0\nnode/hlf-orderer--orderer--orderer1\nnode/hlf-orderer--orderer--orderer2\n" +
		"node/hlf-peer--org1--peer0\nnode/hlf-peer--org2--peer0\nchannel/mychannel\nchaincode/mychannel/basic\n"
	if d := cmp.Diff(want, got.stdout); d != "" {
		t.Errorf("status -o name: -want, +got:\n%s", d)
	}
}
