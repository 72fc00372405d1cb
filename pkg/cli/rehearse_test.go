package cli

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/deploy/deploytest"
	"pivt.io/pivt/pkg/exit"
)

// newRehearser has a network whose nodes answer.
func newRehearser(t *testing.T) *saver {
	t.Helper()
	u := &saver{live: newLive(t), vault: &vault{manifests: map[string]*backup.Manifest{}}}
	u.write("network.yaml", liveNetwork+backupValues)
	u.n = u.load()
	u.secret("hlf-backup", "password", "accessKeyId", "secretAccessKey")
	u.vault.add("monday", today(3), true, sample())
	return u
}

// TestRehearse brings a backup up beside its network, asks the chaincode, and cleans up, also
// after a failure.
func TestRehearse(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		args    []string
		arrange func(*saver)
		code    exit.Code
		stdout  string
		stderr  string
		left    bool // the namespace
	}{
		"Good": {
			"Both proofs are told.", nil, func(*saver) {}, exit.OK,
			"backup/monday verified\nbackup/monday rehearsed\n", "ok     chaincode basic on common: answers, ", false,
		},
		"LeftFromBefore": {
			"What a killed rehearsal left is removed first.", nil,
			func(u *saver) {
				u.cluster.Put("namespaces", "", nil, map[string]any{"name": "fabric-rehearsal", "labels": map[string]any{"pivt.io/rehearsal": "fabric"}})
			},
			exit.OK, "backup/monday verified\nbackup/monday rehearsed\n", "removal of namespace fabric-rehearsal", false,
		},
		"Kept": {
			"Who wants to look at it says so.", []string{"--keep", "--rehearsal-namespace", "stage"}, func(*saver) {}, exit.OK,
			"backup/monday verified\nbackup/monday rehearsed\n", "namespace stage stays; remove it with: kubectl delete namespace stage\n", true,
		},
		"RestoreFails": {
			"The blocks are good, and what failed is told with its place.", nil,
			func(u *saver) {
				u.cluster.FailTask("restore", deploytest.TaskFailure{ExitCode: 1, Message: "no space left"})
			},
			exit.Failed, "backup/monday verified\n", "Error: rehearsal in namespace fabric-rehearsal: workflow ", false,
		},
		"NoPullSecret": {
			"A namespace that was not finished has the repository's credentials all the same, and goes; --keep is for one to look at.", []string{"--keep"},
			func(u *saver) {
				u.write("network.yaml", u.read("network.yaml")+"imagePullSecrets: [{name: registry}]\n")
			},
			exit.Failed, "backup/monday verified\n", "Error: reading secret/registry: ", false,
		},
		"NoPullSecretAndStays": {
			"Credentials that stay are said, with the command that removes them; also where no progress is told.", []string{"-q"},
			func(u *saver) {
				u.write("network.yaml", u.read("network.yaml")+"imagePullSecrets: [{name: registry}]\n")
				u.cluster.Refuse("delete", "namespaces", "")
			},
			exit.Failed, "backup/monday verified\n",
			"; namespace fabric-rehearsal stays, with the credentials of the repository in it: deleting namespace fabric-rehearsal: namespaces is forbidden: User \"ada\" cannot delete resource \"namespaces\"\n" +
				"Hint:  kubectl delete namespace fabric-rehearsal\n", true,
		},
		"RestoreFailsAndStays": {
			"A failure does not hide that something is left, nor the other way round.", []string{"-q"},
			func(u *saver) {
				u.cluster.FailTask("restore", deploytest.TaskFailure{ExitCode: 1, Message: "no space left"})
				u.cluster.Refuse("delete", "namespaces", "")
			},
			exit.Failed, "backup/monday verified\n",
			"restore: no space left; namespace fabric-rehearsal stays, with the credentials of the repository in it: ", true,
		},
		"GoodAndStays": {
			"It was rehearsed, and yet there is something to do.", nil,
			func(u *saver) { u.cluster.Refuse("delete", "namespaces", "") },
			exit.Failed, "backup/monday verified\n",
			"Error: namespace fabric-rehearsal stays, with the credentials of the repository in it: ", true,
		},
		"MadeMeanwhile": {
			"A namespace that somebody else made is somebody else's.", nil,
			func(u *saver) {
				u.cluster.Before("create", "namespaces", func() { u.cluster.Put("namespaces", "", nil, map[string]any{"name": "fabric-rehearsal"}) })
			},
			exit.Failed, "backup/monday verified\n", "Error: creating namespace fabric-rehearsal: ", true,
		},
		"NotGood": {
			"A backup that is not whole is not rehearsed.", nil,
			func(u *saver) {
				u.cluster.FailTask("verify", deploytest.TaskFailure{ExitCode: 1, Message: "block 12 is broken"})
			},
			exit.Failed, "", "block 12 is broken", false,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newRehearser(t)
			tc.arrange(u)
			code, stdout, stderr := u.pivt(append([]string{"backup", "verify", "monday", "--rehearse"}, tc.args...)...)
			if d := cmp.Diff(tc.stdout, stdout); d != "" || code != tc.code || !strings.Contains(stderr, tc.stderr) {
				t.Fatalf("%s\nexit %d, want %d; stderr must have %q; stdout: -want, +got:\n%s\n%s", tc.reason, code, tc.code, tc.stderr, d, stderr)
			}
			left := false
			for _, ns := range []string{"stage", "fabric-rehearsal"} {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				exists, err := u.exists(ctx, ns)
				cancel()
				u.must(err)
				left = left || exists
			}
			if left != tc.left {
				t.Errorf("%s\nthe namespace is still there: %v, want %v", tc.reason, left, tc.left)
			}
			if sets := u.cluster.Names("statefulsets", testNamespace); len(sets) != 6 {
				t.Errorf("%s\nthe network itself was touched: %v", tc.reason, sets)
			}
		})
	}
}

// TestRehearseInterrupted presses Ctrl-C while the namespace is made ready.
func TestRehearseInterrupted(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason, verb, resource string
	}{
		"Secrets":   {"The namespace has been made, and is half ready.", "create", "secrets"},
		"Namespace": {"The namespace has been made, and nobody was told.", "create", "namespaces"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newRehearser(t)
			ctx, interrupt := context.WithCancelCause(t.Context())
			defer interrupt(nil)
			s, _, stderr := u.state("backup", "verify", "monday", "--rehearse", "--kubeconfig", u.cluster.Kubeconfig(testNamespace))
			s.Ask, s.Dial = u.vault.ask, u.nodes.Dial
			noticed := make(chan struct{})
			s.Stderr = hearing{stderr, "namespace fabric-rehearsal: interrupted", sync.OnceFunc(func() { close(noticed) })}
			u.cluster.Before(tc.verb, tc.resource, func() {
				if tc.resource == "namespaces" {
					u.cluster.Put("namespaces", "", nil, map[string]any{"name": "fabric-rehearsal", "labels": map[string]any{"pivt.io/rehearsal": testNamespace}})
				}
				interrupt(errInterrupted)
				select {
				case <-noticed: // before there is an answer
				case <-t.Context().Done():
				}
			})
			code := Run(ctx, s)
			left, err := u.exists(t.Context(), "fabric-rehearsal")
			u.must(err)
			if code != exit.Interrupted || left || !strings.Contains(stderr.String(), "ok     removal of namespace fabric-rehearsal") {
				t.Errorf("%s\nexit %d, the namespace is still there: %v\n%s", tc.reason, code, left, stderr)
			}
		})
	}
}

func (u *saver) exists(ctx context.Context, namespace string) (bool, error) {
	list, err := u.core().Core().CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, err
	}
	for _, ns := range list.Items {
		if ns.Name == namespace {
			return true, nil
		}
	}
	return false, nil
}
