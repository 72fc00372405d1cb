package cli_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/cli"
	"pivt.io/pivt/pkg/exit"
)

// runs puts a pod of a chaincode into the cluster, as a peer's launcher makes it.
func (u *user) runs(name, node, label, log string) {
	u.Helper()
	u.cluster.Log(name, log) // before anybody may ask for it
	u.cluster.Put("pods", "fabric",
		map[string]any{"phase": "Running", "containerStatuses": []any{map[string]any{"name": "chaincode", "state": map[string]any{"terminated": map[string]any{"exitCode": 0}}}}},
		map[string]any{"name": name, "namespace": "fabric", "uid": name, "annotations": map[string]any{"pivt.io/chaincode-id": label + ":0123"},
			"labels": map[string]any{"app.kubernetes.io/component": "chaincode", "pivt.io/chaincode": label, "pivt.io/node": node}})
}

func (u *user) serves(name, org, chaincode, log string) {
	u.Helper()
	u.cluster.Log(name, log) // before anybody may ask for it
	u.cluster.Put("pods", "fabric",
		map[string]any{"phase": "Running", "containerStatuses": []any{map[string]any{"name": "chaincode", "state": map[string]any{"terminated": map[string]any{"exitCode": 0}}}}},
		map[string]any{"name": name, "namespace": "fabric", "uid": name,
			"labels": map[string]any{"app.kubernetes.io/component": "chaincode-server", "pivt.io/chaincode": chaincode, "pivt.io/org": org}})
}

// TestLogs reads what pods of several chaincodes have written.
func TestLogs(t *testing.T) {
	t.Parallel()
	const peer1, peer2 = "hlf-peer--org1--peer0", "hlf-peer--org2--peer0"
	cases := map[string]struct {
		reason  string
		arrange func(*user)
		args    []string
		code    exit.Code
		stdout  string
		stderr  string
	}{
		"TwoPeers": {
			"Each line says whose it is.",
			func(u *user) {
				u.runs("b", peer2, "basic_1.0", "three\n")
				u.runs("a", peer1, "basic_1.0", "one\ntwo\n")
			},
			nil, exit.OK, "[" + peer1 + "] one\n[" + peer1 + "] two\n[" + peer2 + "] three\n", "",
		},
		"OneOrg": {
			"An organisation looks at its own.",
			func(u *user) { u.runs("a", peer1, "basic_1.0", "one\n"); u.runs("b", peer2, "basic_1.0", "two\n") },
			[]string{"--org", "Org2"}, exit.OK, "[" + peer2 + "] two\n", "",
		},
		"OldVersion": {
			"While two versions run, the other one is named.",
			func(u *user) { u.runs("a", peer1, "basic_0.9", "old\n"); u.runs("b", peer1, "basic_1.0", "new\n") },
			nil, exit.OK, "[" + peer1 + " basic_0.9] old\n[" + peer1 + "] new\n", "",
		},
		"Others": {
			"Another chaincode whose name begins alike is another.",
			func(u *user) {
				u.runs("a", peer1, "basics_1.0", "no\n")
				u.runs("b", peer1, "basic_two_1.0", "yes: the files know no basic_two\n")
			},
			nil, exit.OK, "[" + peer1 + " basic_two_1.0] yes: the files know no basic_two\n", "",
		},
		"Server": {
			"Of a chaincode that runs as a server, the servers have something to tell.",
			func(u *user) {
				u.serves("hlf-chaincode--org1--basic-x", "org1", "basic", "listening\n")
				u.serves("hlf-chaincode--org1--other-x", "org1", "other", "no\n")
			},
			[]string{"--org", "Org1"}, exit.OK, "[hlf-chaincode--org1--basic-x] listening\n", "",
		},
		"None":       {"No pod is not an empty log.", func(*user) {}, nil, exit.NotReady, "", `no pod of chaincode "basic" runs`},
		"UnknownOrg": {"The names that are known are told.", func(*user) {}, []string{"--org", "Org3"}, exit.Invalid, "", "known: Org1, Org2"},
		"FileFlag":   {"Who takes -f for --file is told.", func(*user) {}, []string{"-f", "network.yaml"}, exit.Invalid, "", "-f is --follow here, files are named with --file"},
		"Denied":     {"A right that lacks is named.", func(u *user) { u.cluster.Refuse("list", "pods", "") }, nil, exit.Failed, "", `cannot list resource "pods"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUser(t)
			tc.arrange(u)
			got := u.pivt(append([]string{"chaincode", "logs", "basic"}, tc.args...)...)
			if d := cmp.Diff(tc.stdout, got.stdout); d != "" || got.code != tc.code || !strings.Contains(got.stderr, tc.stderr) {
				t.Errorf("%s\nexit %d, want %d, stderr %q, stdout: -want, +got:\n%s", tc.reason, got.code, tc.code, got.stderr, d)
			}
		})
	}
}

// TestLogsFollow goes on over a relaunch, until Ctrl-C.
func TestLogsFollow(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	u.runs("first", "hlf-peer--org1--peer0", "basic_1.0", "one\n")
	ctx, interrupt := context.WithTimeout(t.Context(), 20*time.Second)
	defer interrupt()
	stdout := &lines{heard: func(all string) {
		switch {
		case strings.HasSuffix(all, "two\n"):
			interrupt()
		case strings.HasSuffix(all, "one\n"):
			go u.runs("second", "hlf-peer--org1--peer0", "basic_1.0", "two\n")
		}
	}}
	var stderr bytes.Buffer
	code := cli.Run(ctx, &cli.State{
		Args: []string{"chaincode", "logs", "basic", "-f", "--kubeconfig", u.cluster.Kubeconfig("fabric")},
		Env:  func(string) string { return "" }, Stdin: strings.NewReader(""), Stdout: stdout, Stderr: &stderr,
		Width: func() int { return 80 }, Dir: u.dir, Now: time.Now,
	})
	if want := "[hlf-peer--org1--peer0] one\n[hlf-peer--org1--peer0] two\n"; stdout.all.String() != want || code != exit.OK {
		t.Errorf("exit %d, stdout %q, want %q\n%s", code, stdout.all.String(), want, &stderr)
	}
}
