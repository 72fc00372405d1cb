package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pivt.io/pivt/pkg/runtime/runtimetest"
)

// peerProcess makes the test program a peer's process that builds, and can be killed.
const peerProcess = "PIVT_TEST_BUILD"

type processInput struct {
	Env    map[string]string
	Peer   Peer
	Source Source
}

func TestMain(m *testing.M) {
	if input := os.Getenv(peerProcess); input != "" {
		if err := buildAsProcess(input); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func buildAsProcess(input string) error {
	var in processInput
	if err := json.Unmarshal([]byte(input), &in); err != nil {
		return err
	}
	client, err := InCluster(func(name string) string { return in.Env[name] })
	if err != nil {
		return err
	}
	err = Build(context.Background(), client, in.Peer, in.Source, Options{
		Output: os.Stderr, Image: pivtImage, Report: func(s string) { fmt.Fprintln(os.Stderr, s) },
	})
	if status, e := os.ReadFile("/proc/self/status"); e == nil {
		_, peak, _ := strings.Cut(string(status), "VmHWM:")
		fmt.Println(strings.Fields(peak)[0]) // in KiB
	}
	return err
}

// startProcess builds in a process of its own.
func startProcess(t *testing.T, c *runtimetest.Cluster, p Peer, s Source, stdout io.Writer) *exec.Cmd {
	t.Helper()
	input, err := json.Marshal(processInput{Env: c.Env(), Peer: p, Source: s})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), peerProcess+"="+string(input))
	cmd.Stdout = stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

// TestBuildKilled: SIGKILL in each step of a build. The next build of the peer, which is of
// something else, removes what is left, and its own is not in the way.
func TestBuildKilled(t *testing.T) {
	t.Parallel()
	stuck := func(what string) func(in runtimetest.Container) bool {
		return func(in runtimetest.Container) bool { return in.Name == what }
	}
	cases := map[string]struct {
		reason string
		stuck  func(runtimetest.Container) bool
	}{
		"Fetch":  {"The pod would ask for its input for minutes.", stuck(fetchName)},
		"Build":  {"The build would go on for nobody.", stuck(buildName)},
		"Return": {"The output would have nowhere to go.", stuck(returnName)},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reached, free := make(chan struct{}, 1), atomic.Bool{}
			held := func(p runtimetest.Program) runtimetest.Program {
				return func(ctx context.Context, in runtimetest.Container) int {
					if tc.stuck(in) && !free.Load() {
						reached <- struct{}{}
						<-ctx.Done()
						return 143
					}
					return p(ctx, in)
				}
			}
			c := runtimetest.New(t, runtimetest.Options{Images: map[string]runtimetest.Program{
				builderImage: held(runtimetest.Shell), pivtImage: held(runtimetest.Pivt),
			}})
			p := orgPeers(t, c, 1)[0]
			cmd := startProcess(t, c, p, source(t, goodScript), nil)
			select {
			case <-reached:
			case <-time.After(20 * time.Second):
				t.Fatal("the build does not get there")
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			free.Store(true)
			next := source(t, goodScript)
			next.Hash = strings.Repeat("ab", 32)
			b := startBuild(t, c, p, next, Options{})
			if err := b.wait(); err != nil {
				t.Fatalf("%s\n%v\n%s", tc.reason, err, b.story())
			}
			awaitEmpty(t, c)
		})
	}
}
