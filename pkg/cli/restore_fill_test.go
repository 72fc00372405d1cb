package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/deploy/deploytest"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// TestRestoreDeploys restores into a namespace without nodes: they are deployed first, from the
// keys that are there, and no channel is made.
func TestRestoreDeploys(t *testing.T) {
	t.Parallel()
	u := newRestorer(t)
	u.mustRun("crypto", "generate")
	u.empty()
	u.vault.manifests["morning"].Identity = u.identity(filepath.Join(u.dir, "crypto-config"), u.n)
	code, stdout, stderr := u.pivt("restore", "morning", "--yes")
	if code != exit.OK || strings.Count(stdout, " restored: ") != 5 {
		t.Fatalf("restore into an empty namespace: exit %d\n%s%s", code, stdout, stderr)
	}
	if sets := u.cluster.Names("statefulsets", testNamespace); len(sets) != 5 {
		t.Errorf("the nodes were not deployed: %v", sets)
	}
	if runs := u.cluster.Names("workflows", testNamespace); len(runs) != 1 {
		t.Errorf("only the restore was to be submitted: %v", runs)
	}
	if !strings.Contains(stderr, "ok     nodes: 5 ready") {
		t.Errorf("the story does not tell of the nodes:\n%s", stderr)
	}
}

// TestRestoreKeys decrypts the saved keys. They stay if nodes have been deployed with them, and also
// when the restore is refused then, which must not say that nothing was changed and no more.
func TestRestoreKeys(t *testing.T) {
	t.Parallel()
	const refused = "backup morning: hlf-peer--org1--peer0 runs with newer data; nothing was changed"
	cases := map[string]struct {
		reason  string
		arrange func(*saver)
		code    exit.Code
		stays   bool
		want    string
	}{
		"Deployed": {"An empty namespace becomes the network that was saved, from one file and a passphrase.", (*saver).empty, exit.OK, true, ""},
		"Refused": {"With all nodes there nothing was made with the keys, so they go again, and the same command can be repeated.",
			func(u *saver) { u.cluster.FailTask("check", deploytest.TaskFailure{ExitCode: 3, Message: refused}) },
			exit.NotReady, false, "check: " + refused + "\n"},
		"DeployedAndRefused": {"Only the cluster knows how far the nodes are that run; what had been deployed by then is said.",
			func(u *saver) {
				u.empty()
				u.mustRun("restore", "morning", "--yes", "--crypto-config", "first", "--passphrase-file", "passphrase.txt")
				u.cluster.Delete("statefulsets", testNamespace, "hlf-peer--org2--peer0")
				u.cluster.FailTask("check", deploytest.TaskFailure{ExitCode: 3, Message: refused})
			},
			exit.NotReady, true, "check: " + refused + "; 1 node had been deployed before that, and stays\n"},
		"NotDeployed": {"Nothing was made with the keys either where there is nobody to run a workflow.",
			func(u *saver) { u.empty(); u.cluster.WithoutArgo() },
			exit.NotReady, false, "has no Argo Workflows"},
		"EmptyBefore": {"A directory that was there stays, without the keys.",
			func(u *saver) {
				u.must(os.Mkdir(filepath.Join(u.dir, "back"), 0o700))
				u.cluster.FailTask("check", deploytest.TaskFailure{ExitCode: 3, Message: refused})
			},
			exit.NotReady, false, "check: " + refused + "\n"},
		"Failed": {"A restore that was begun is gone on with, by keys that are there.",
			func(u *saver) {
				u.cluster.FailTask("restore", deploytest.TaskFailure{ExitCode: 1, Message: "no space left"})
			},
			exit.Failed, true, "no space left"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newRestorer(t)
			u.sealed("morning", u.n)
			tc.arrange(u)
			code, _, stderr := u.pivt("restore", "morning", "--yes", "--crypto-config", "back", "--passphrase-file", "passphrase.txt")
			if code != tc.code || !strings.Contains(failing(stderr), tc.want) {
				t.Errorf("%s\nexit %d, want %d and %q:\n%s", tc.reason, code, tc.code, tc.want, stderr)
			}
			switch entries, err := os.ReadDir(filepath.Join(u.dir, "back")); {
			case name == "EmptyBefore":
				if err != nil || len(entries) > 0 {
					t.Errorf("%s\nleft: %v, %v", tc.reason, entries, err)
				}
			case !tc.stays:
				u.noDirectory("back")
			default:
				if d := cmp.Diff(u.vault.manifests["morning"].Identity, u.identity(filepath.Join(u.dir, "back"), u.n)); d != "" {
					t.Errorf("%s\nthe keys: -want, +got:\n%s", tc.reason, d)
				}
			}
		})
	}
}

// objects are the names of what a restore could make.
func (u *saver) objects() map[string][]string {
	u.Helper()
	all := map[string][]string{}
	for _, resource := range []string{"statefulsets", "secrets", "configmaps", "workflows"} {
		all[resource] = u.cluster.Names(resource, testNamespace)
	}
	return all
}

// empty takes the nodes away, so that a restore has to deploy them.
func (u *saver) empty() {
	u.Helper()
	for _, n := range u.n.Nodes() {
		u.cluster.Delete("statefulsets", testNamespace, n.Name())
	}
}

// sealed puts keys into a backup, and their identity; the passphrase is in a file.
func (u *saver) sealed(key string, n *network.Network) {
	u.Helper()
	dir := u.TempDir()
	_, err := pki.Ensure(dir, n, pki.Options{})
	u.must(err)
	m := u.vault.manifests[key]
	m.CryptoConfig, err = deploy.SealTree(dir, "correct horse battery")
	u.must(err)
	m.Identity = u.identity(dir, n)
	u.write("passphrase.txt", "correct horse battery\n")
}

// identity is that of a network with the keys in a directory.
func (u *saver) identity(dir string, n *network.Network) backup.Identity {
	u.Helper()
	m, err := pki.Load(dir, n)
	u.must(err)
	public := map[string]*pki.Public{}
	for name, o := range m.Orgs {
		public[name] = &o.Public
	}
	id, err := backup.IdentityOf(n, public)
	u.must(err)
	return id
}

func (u *saver) noDirectory(name string) {
	u.Helper()
	if _, err := os.Stat(filepath.Join(u.dir, name)); !errors.Is(err, fs.ErrNotExist) {
		u.Errorf("directory %s was left behind: %v", name, err)
	}
}
