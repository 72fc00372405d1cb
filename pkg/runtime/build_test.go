package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"pivt.io/pivt/pkg/runtime/runtimetest"
	"pivt.io/pivt/pkg/transfer"
)

const (
	builderImage = "example.com/builder:1"
	pivtImage    = "pivt/pivt:dev"
)

// built is a build in the background.
type built struct {
	t      *testing.T
	output string
	stop   context.CancelFunc
	result chan error

	mu      sync.Mutex
	log     bytes.Buffer
	reports []string
}

func (b *built) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

func (b *built) logged() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.String()
}

func (b *built) story() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.reports, "\n")
}

func (b *built) wait() error {
	b.t.Helper()
	select {
	case err := <-b.result:
		return err
	case <-time.After(30 * time.Second):
		b.t.Fatalf("the build does not end; it said:\n%s", b.story())
		return nil
	}
}

func (b *built) tree() map[string]string {
	b.t.Helper()
	tree, err := runtimetest.Tree(b.output)
	if err != nil {
		b.t.Fatal(err)
	}
	return tree
}

// source is code to build, with a script for runtimetest.Shell.
func source(t testing.TB, script string) Source {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Source{
		Label: "My_CC.v1+rc", Hash: testHash, Dir: dir, Image: builderImage, Script: script,
		Output: filepath.Join(t.TempDir(), "out"),
	}
}

const goodScript = "echo building; cp /chaincode/input/main.go /chaincode/output/chaincode; echo built"

func goodOutput() map[string]string { return map[string]string{"chaincode": "package main\n"} }

func builders(build runtimetest.Program) map[string]runtimetest.Program {
	return map[string]runtimetest.Program{builderImage: build, pivtImage: runtimetest.Pivt}
}

func localPeer(name string) Peer {
	return Peer{Namespace: runtimetest.Namespace, Node: name, IP: "127.0.0.1"}
}

func startBuild(t *testing.T, c *runtimetest.Cluster, p Peer, s Source, o Options) *built {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	b := &built{t: t, output: s.Output, stop: stop, result: make(chan error, 1)}
	o.Output, o.Image = b, pivtImage
	o.Report = func(line string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.reports = append(b.reports, line)
	}
	client := c.Client()
	go func() { b.result <- Build(ctx, client, p, s, o) }()
	return b
}

func TestBuild(t *testing.T) {
	t.Parallel()
	seen := make(chan runtimetest.Container, 1)
	c := runtimetest.New(t, runtimetest.Options{Images: builders(func(ctx context.Context, c runtimetest.Container) int {
		seen <- c
		return runtimetest.Shell(ctx, c)
	})})
	s := source(t, goodScript+"; cp /etc/pivt/ca.crt /chaincode/output/ca; echo $GOPROXY > /chaincode/output/proxy")
	s.CA = []byte("an authority\n")
	s.Env = []corev1.EnvVar{{Name: "GOPROXY", Value: "https://proxy"}}
	b := startBuild(t, c, localPeer(node), s, Options{})
	if err := b.wait(); err != nil {
		t.Fatalf("%v\n%s", err, b.story())
	}
	want := goodOutput()
	want["ca"], want["proxy"] = "an authority\n", "https://proxy\n"
	if diff := cmp.Diff(want, b.tree()); diff != "" {
		t.Errorf("output: -want, +got:\n%s", diff)
	}
	if b.logged() != "building\nbuilt\n" {
		t.Errorf("log = %q", b.logged())
	}
	in := <-seen
	if diff := cmp.Diff(map[string]string{"HOME": "/tmp", "GOPROXY": "https://proxy"}, in.Env); diff != "" {
		t.Errorf("environment of the build: -want, +got:\n%s", diff)
	}
	if diff := cmp.Diff(map[string][]byte{"/etc/pivt/ca.crt": s.CA}, in.Files); diff != "" {
		t.Errorf("what the build sees of the Secret, which has the ticket in it: -want, +got:\n%s", diff)
	}
	awaitEmpty(t, c)
	if left, err := os.ReadDir(filepath.Dir(b.output)); err != nil || len(left) != 1 {
		t.Errorf("beside the output: %v, %v", left, err)
	}
}

func TestBuildFails(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100)
	cases := map[string]struct {
		reason  string
		cluster runtimetest.Options
		source  func(*Source)
		options Options
		kind    any
		want    string
		wantLog string
	}{
		"Compiler": {
			reason:  "What the compiler said must reach the person who installs.",
			source:  func(s *Source) { s.Script = "echo ok; echo './main.go:3: syntax error' >&2; exit 2" },
			kind:    new(*BuildError),
			want:    "the build exited with status 2:\nok\n./main.go:3: syntax error",
			wantLog: "ok\n./main.go:3: syntax error\n",
		},
		"LongLog": {
			reason: "The last lines are the ones that matter, from a whole line on.",
			source: func(s *Source) {
				s.Script = "i=0; while [ $i -lt 100 ]; do echo line$i " + long + "; i=$((i+1)); done; exit 1"
			},
			kind: new(*BuildError),
			want: "the build exited with status 1:\nline82 " + long,
		},
		"Hostile": {
			reason: "A build that plants a way out is refused, and not tried again.",
			source: func(s *Source) { s.Script = "ln -s /etc/passwd /chaincode/output/chaincode" },
			kind:   new(*transfer.RefusedError),
			want:   `"chaincode" is a link that leaves the tree, to "/etc/passwd"`,
		},
		"Large": {
			reason: "A build can write more than a peer should keep.",
			source: func(s *Source) {
				s.Script, s.Limits.Bytes = "head -c 2000000 /dev/zero > /chaincode/output/big", 1<<20
			},
			kind: new(*transfer.RefusedError),
			want: "the tree is larger than 1048576 bytes",
		},
		"NoImage": {
			reason:  "A builder image that is not there shows with the registry's words.",
			source:  func(s *Source) { s.Image = "example.com/none:1" },
			options: Options{Patience: impatient()},
			want:    `its image cannot be pulled: failed to pull and unpack image "example.com/none:1"`,
		},
		"NoHelper": {
			reason:  "So does our own.",
			cluster: runtimetest.Options{Images: map[string]runtimetest.Program{builderImage: runtimetest.Shell}},
			source:  func(*Source) {},
			options: Options{Patience: impatient()},
			want:    `its image cannot be pulled: failed to pull and unpack image "pivt/pivt:dev"`,
		},
		"Unschedulable": {
			reason:  "A build asks for more than chaincode does.",
			cluster: runtimetest.Options{Images: builders(runtimetest.Shell), Memory: 1 << 20},
			source:  func(*Source) {},
			options: Options{Patience: impatient()},
			want:    "no node takes it: 0/1 nodes are available",
		},
		"Quota": {
			reason:  "The API server's no is final.",
			cluster: runtimetest.Options{Images: builders(runtimetest.Shell), Pods: -1},
			source:  func(*Source) {},
			want:    "exceeded quota",
		},
		"NoFetch": {
			reason: "A pod that cannot call back says so.",
			cluster: runtimetest.Options{Images: map[string]runtimetest.Program{builderImage: runtimetest.Shell, pivtImage: func(_ context.Context, c runtimetest.Container) int {
				fmt.Fprintln(c.Output, "Error: fetching from https://10.0.0.1:7100: i/o timeout")
				return 1
			}}},
			source: func(*Source) {},
			kind:   new(*EndedError),
			want:   "did not get its code: Error: fetching from https://10.0.0.1:7100: i/o timeout",
		},
		"Deadline": {
			reason: "A build that hangs must not hold the peer's lock on the package for ever.",
			source: func(s *Source) { s.Script, s.Deadline = "echo waiting; exec sleep 60", time.Second },
			// The kubelet's clock is the only one: ours would tell of a pod that has not begun.
			options: Options{Patience: patient()},
			want:    "DeadlineExceeded: Pod was active on the node longer than the specified deadline",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.cluster.Images == nil {
				tc.cluster.Images = builders(runtimetest.Shell)
			}
			c := runtimetest.New(t, tc.cluster)
			s := source(t, goodScript)
			tc.source(&s)
			b := startBuild(t, c, localPeer(node), s, tc.options)
			err := b.wait()
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "building chaincode My_CC.v1+rc: ") {
				t.Errorf("%s\nBuild = %v\nwant an error with %q", tc.reason, err, tc.want)
			}
			if tc.kind != nil && !errors.As(err, tc.kind) {
				t.Errorf("%s\nBuild = %T, want %T", tc.reason, err, tc.kind)
			}
			var failed *BuildError
			if errors.As(err, &failed) && len(failed.Text) > 2<<10+100 {
				t.Errorf("the error has %d bytes", len(failed.Text))
			}
			if tc.wantLog != "" && b.logged() != tc.wantLog {
				t.Errorf("log = %q, want %q", b.logged(), tc.wantLog)
			}
			if left, err := os.ReadDir(filepath.Dir(b.output)); err != nil || len(left) != 0 {
				t.Errorf("left of it: %v, %v", left, err)
			}
			awaitEmpty(t, c)
		})
	}
}

// waitFor is a builder that waits until it is told to go on.
func waitFor(c <-chan struct{}) runtimetest.Program {
	return func(ctx context.Context, in runtimetest.Container) int {
		fmt.Fprintln(in.Output, "waiting")
		select {
		case <-ctx.Done():
			return 143
		case <-c:
			return runtimetest.Shell(ctx, in)
		}
	}
}

func TestBuildStops(t *testing.T) {
	t.Parallel()
	c := runtimetest.New(t, runtimetest.Options{Images: builders(waitFor(nil))})
	b := startBuild(t, c, localPeer(node), source(t, goodScript), Options{})
	c.Await("the build's log", func() bool { return b.logged() == "waiting\n" })
	begun := time.Now()
	b.stop()
	if err := b.wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("Build = %v: there is no output, whoever wanted it so", err)
	}
	if took := time.Since(begun); took > promptly {
		t.Errorf("stopping took %s", took)
	}
	awaitEmpty(t, c)
}

// TestBuildOutage: the API server is away while the build ends. Its output comes straight to
// us; what was made is deleted when the server is back.
func TestBuildOutage(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	c := runtimetest.New(t, runtimetest.Options{Images: builders(waitFor(goOn))})
	b := startBuild(t, c, localPeer(node), source(t, goodScript), Options{})
	c.Await("the build's log", func() bool { return b.logged() == "waiting\n" })
	c.Away()
	close(goOn)
	c.Await("the output", func() bool { return strings.Contains(b.story(), "received ") })
	c.Back(true)
	if err := b.wait(); err != nil {
		t.Fatalf("%v\n%s", err, b.story())
	}
	awaitEmpty(t, c)
}

// TestBuildLongOutage: what cannot be deleted in time is swept later.
func TestBuildLongOutage(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	c := runtimetest.New(t, runtimetest.Options{Images: builders(waitFor(goOn))})
	b := startBuild(t, c, localPeer(node), source(t, goodScript), Options{Process: Process{PID: 1 << 30, Start: "1"}, buildCleanUp: time.Second})
	c.Await("the build's log", func() bool { return b.logged() == "waiting\n" })
	c.Away()
	close(goOn)
	if err := b.wait(); err != nil {
		t.Fatalf("%v\n%s", err, b.story())
	}
	if diff := cmp.Diff(goodOutput(), b.tree()); diff != "" {
		t.Errorf("output: -want, +got:\n%s", diff)
	}
	c.Back(true)
	if len(c.Pods()) != 1 {
		t.Fatal("the test wants a leftover")
	}
	next := source(t, goodScript)
	next.Hash = strings.Repeat("ab", 32)
	if err := startBuild(t, c, localPeer(node), next, Options{}).wait(); err != nil {
		t.Fatal(err)
	}
	awaitEmpty(t, c)
}

// TestBuildBriefOutage: the API server is away for a part of the build, whose log has no
// gap.
func TestBuildBriefOutage(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	c := runtimetest.New(t, runtimetest.Options{Images: builders(waitFor(goOn))})
	b := startBuild(t, c, localPeer(node), source(t, goodScript), Options{})
	c.Await("the build's log", func() bool { return b.logged() == "waiting\n" })
	c.Away()
	c.Await("the news of it", func() bool { return strings.Contains(b.story(), "the build goes on, trying again") })
	c.Back(true)
	close(goOn)
	if err := b.wait(); err != nil {
		t.Fatalf("%v\n%s", err, b.story())
	}
	if b.logged() != "waiting\nbuilding\nbuilt\n" {
		t.Errorf("log = %q", b.logged())
	}
	awaitEmpty(t, c)
}

func TestBuildRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		change func(*Source, *Peer)
		want   string
	}{
		"Hash":   {"Names and sharing depend on it.", func(s *Source, _ *Peer) { s.Hash = "abc" }, `"abc" is no hash`},
		"Script": {"A build without commands would succeed with nothing.", func(s *Source, _ *Peer) { s.Script = "" }, "no script"},
		"IP":     {"The pod could not call back.", func(_ *Source, p *Peer) { p.IP = "" }, "no address of the peer"},
		"Node":   {"Sweeping needs it.", func(_ *Source, p *Peer) { p.Node = "" }, "no name of the peer"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := runtimetest.New(t, runtimetest.Options{})
			s, p := source(t, goodScript), localPeer(node)
			tc.change(&s, &p)
			if err := startBuild(t, c, p, s, Options{}).wait(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\nBuild = %v, want %q", tc.reason, err, tc.want)
			}
			if calls := c.Calls(); len(calls) != 0 {
				t.Errorf("calls %v before the input was checked", calls)
			}
		})
	}
}

// TestBuildMemory moves 100 MB each way and asks the process what it needed at most.
func TestBuildMemory(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10 // KiB
	c := runtimetest.New(t, runtimetest.Options{Images: builders(runtimetest.Shell)})
	s := source(t, "cp -r /chaincode/input/. /chaincode/output/")
	fillTree(t, s.Dir, 100<<20)
	var out bytes.Buffer
	cmd := startProcess(t, c, localPeer(node), s, &out)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	peak, err := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d KiB at most", peak)
	if peak > limit {
		t.Errorf("the process needed %d KiB", peak)
	}
}

// fillTree makes sources of a size: large files and many small ones.
func fillTree(t testing.TB, dir string, size int) {
	t.Helper()
	text := bytes.Repeat([]byte("all work and no play\n"), 1+(8<<20)/21)
	for i := 0; size > 0; i++ {
		n := min(size, 20<<10)
		if i%100 == 0 {
			n = min(size, 8<<20)
		}
		size -= n
		sub := filepath.Join(dir, fmt.Sprintf("pkg%d", i/50))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("file%d", i)), text[:n], 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
