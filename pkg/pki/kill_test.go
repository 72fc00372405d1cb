//go:build unix

package pki

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"pivt.io/pivt/pkg/network"
)

var errPulled = errors.New("the plug was pulled")

// moment tells the steps between which the disk differs: before a file has content, and
// before a whole file gets its name. Other steps are followed by one of these.
func moment(stage string) bool { return stage == "write" || stage == "rename" }

// pullAt fails at the nth moment, leaving behind what a kill there would.
func pullAt(n int) func(stage, path string) error {
	return func(stage, path string) error {
		if !moment(stage) {
			return nil
		}
		if n--; n >= 0 {
			return nil
		}
		if stage == "write" {
			// Half a key that even looks like one.
			_ = os.WriteFile(path, []byte("-----BEGIN PRIVATE KEY-----\nMIGH"), 0o600)
		}
		return fmt.Errorf("%s %s: %w", stage, path, errPulled)
	}
}

func countMoments(t *testing.T, dir string, n *network.Network) int {
	t.Helper()
	steps := 0
	o := opts()
	o.step = func(stage, _ string) error {
		if moment(stage) {
			steps++
		}
		return nil
	}
	if _, err := Ensure(dir, n, o); err != nil {
		t.Fatal(err)
	}
	return steps
}

// tiny is one peer organisation; those of orderers differ in words only.
func tiny(change ...func(*network.Org)) *network.Network {
	n := small(change...)
	n.OrdererOrgs = nil
	return n
}

// TestEnsureInterrupted stops Ensure in the middle of every single file and before each gets
// its name, in turn, and lets the next run complete the tree.
func TestEnsureInterrupted(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		network func() *network.Network
		// prepare makes the tree that the interrupted run finds.
		prepare func(t *testing.T, dir string)
	}{
		"Fresh":               {network: func() *network.Network { return tiny() }},
		"FreshWithoutNodeOUs": {network: func() *network.Network { return tiny(withoutNodeOUs) }},
		"Extending": {
			network: func() *network.Network {
				n := tiny()
				addNode(peerOf(n))
				n.PeerOrgs = append(n.PeerOrgs, org(network.Peer, "Org2", "org2.example.com", 1))
				return n
			},
			prepare: func(t *testing.T, dir string) { ensure(t, dir, tiny()) },
		},
		"Server": {
			network: func() *network.Network { return withServer(tiny(), "basic", network.MutualTLS) },
			prepare: func(t *testing.T, dir string) { ensure(t, dir, tiny()) },
		},
		"Reissuing": {
			network: func() *network.Network { return tiny() },
			prepare: func(t *testing.T, dir string) {
				ensure(t, dir, tiny())
				withoutServiceName(t, dir, tiny())
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			prepared := func() string {
				dir := t.TempDir()
				if tc.prepare != nil {
					tc.prepare(t, dir)
				}
				return dir
			}
			steps := countMoments(t, prepared(), tc.network())
			if steps < 2 {
				t.Fatalf("only %d changes to the disk; the test stops nowhere", steps)
			}
			for i := range steps {
				dir, n := prepared(), tc.network()
				o := opts()
				o.step = pullAt(i)
				if _, err := Ensure(dir, n, o); !errors.Is(err, errPulled) {
					t.Fatalf("stopped at change %d: got %v", i, err)
				}
				half := snapshot(t, dir)
				if _, err := Ensure(dir, n, opts()); err != nil {
					t.Fatalf("after a stop at change %d: %v", i, err)
				}
				whole := snapshot(t, dir)
				keysKept(t, half, whole)
				for path := range whole {
					if strings.HasSuffix(path, tmpSuffix) {
						t.Errorf("after a stop at change %d: %s was left", i, path)
					}
				}
				load(t, dir, n)
				if changes := ensure(t, dir, n); len(changes) > 0 {
					t.Errorf("after a stop at change %d a third run still changed %v", i, changes)
				}
				remove(t, dir)
			}
		})
	}
}

const (
	killDirEnv = "PIVT_TEST_KILL_DIR"
	killAtEnv  = "PIVT_TEST_KILL_AT"
)

// TestEnsureKilled is no test by itself: TestEnsureSurvivesKill runs it in a process that
// kills itself on the way, so that nothing can be tidied up, the lock included.
func TestEnsureKilled(t *testing.T) {
	dir := os.Getenv(killDirEnv)
	if dir == "" {
		t.Skip("runs only as the child of TestEnsureSurvivesKill")
	}
	left, err := strconv.Atoi(os.Getenv(killAtEnv))
	if err != nil {
		t.Fatal(err)
	}
	o := opts()
	o.step = func(stage, _ string) error {
		if !moment(stage) {
			return nil
		}
		if left--; left < 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}
	_, err = Ensure(dir, small(), o)
	t.Fatalf("the process should be dead; Ensure returned %v", err)
}

func TestEnsureSurvivesKill(t *testing.T) {
	t.Parallel()
	steps := countMoments(t, t.TempDir(), small())
	for i := 1; i < steps; i += steps / 8 {
		dir := t.TempDir()
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestEnsureKilled$", "-test.count=1")
		child.Env = append(os.Environ(), killDirEnv+"="+dir, killAtEnv+"="+strconv.Itoa(i))
		out, err := child.CombinedOutput()
		var exited *exec.ExitError
		if !errors.As(err, &exited) || exited.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("the child was to be killed at change %d: %v\n%s", i, err, out)
		}
		half := snapshot(t, dir)
		ensure(t, dir, small())
		keysKept(t, half, snapshot(t, dir))
		load(t, dir, small())
	}
}
