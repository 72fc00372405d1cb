package runtime

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"

	"pivt.io/pivt/pkg/runtime/runtimetest"
)

const programImage = "example.com/baseos:1"

// program is built chaincode: its code is one file.
func programOf(t testing.TB, command string) Chaincode {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "chaincode"), []byte("#!/bin/sh\necho \"$CORE_CHAINCODE_ID_NAME runs\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	c := chaincode("basic_1.0")
	c.Image, c.Program = programImage, &Program{Dir: dir, Path: "/usr/local/bin/cc", Command: command}
	return c
}

func startProgram(t *testing.T, c *runtimetest.Cluster, cc Chaincode, o Options) *started {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	s := &started{t: t, stop: stop, result: make(chan error, 1)}
	o.Output, o.Image = s, pivtImage
	o.Report = func(line string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reports = append(s.reports, line)
	}
	client := c.Client()
	go func() { s.result <- Run(ctx, client, localPeer(node), cc, o) }()
	return s
}

func programs(p runtimetest.Program) map[string]runtimetest.Program {
	return map[string]runtimetest.Program{programImage: p, pivtImage: runtimetest.Pivt}
}

// TestRunProgram runs the real shell with the command that real pods get.
func TestRunProgram(t *testing.T) {
	t.Parallel()
	seen := make(chan runtimetest.Container, 1)
	c := runtimetest.New(t, runtimetest.Options{Images: programs(func(ctx context.Context, c runtimetest.Container) int {
		seen <- c
		return runtimetest.Shell(ctx, c)
	})})
	s := startProgram(t, c, programOf(t, "exec /usr/local/bin/cc/chaincode"), Options{})
	if err := s.wait(); err != nil {
		t.Fatalf("%v\n%s", err, s.story())
	}
	if want := "basic_1.0:" + testHash + " runs\n"; s.log() != want {
		t.Errorf("log = %q, want %q", s.log(), want)
	}
	in := <-seen
	for file := range in.Files {
		if strings.Contains(file, "ticket") {
			t.Errorf("the chaincode sees %s", file)
		}
	}
	if len(in.Files) != len(keyFiles()) {
		t.Errorf("the chaincode sees %d files of the Secret, want its keys", len(in.Files))
	}
	awaitEmpty(t, c)
}

func TestRunProgramFails(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		images map[string]runtimetest.Program
		break_ func(*Chaincode)
		want   string
	}{
		"Fetch": {
			reason: "A chaincode that waits for code that never comes must end with the reason.",
			images: map[string]runtimetest.Program{
				programImage: runtimetest.WithProgram(serve),
				pivtImage: func(_ context.Context, c runtimetest.Container) int {
					fmt.Fprintln(c.Output, "Error: fetching from https://10.0.0.1:7100: i/o timeout")
					return 1
				},
			},
			want: "did not get its code: Error: fetching from https://10.0.0.1:7100: i/o timeout",
		},
		"Code": {
			reason: "What cannot be read here cannot be sent, and the pod is told so.",
			images: programs(runtimetest.WithProgram(serve)),
			break_: func(c *Chaincode) { c.Program.Dir += "/missing" },
			want:   "missing: no such file or directory",
		},
		"Helper": {
			reason: "The pivt image may be missing while the runtime image is there and its container waits.",
			images: map[string]runtimetest.Program{programImage: runtimetest.WithProgram(serve)},
			want:   `its image cannot be pulled: failed to pull and unpack image "pivt/pivt:dev"`,
		},
		"Crash": {
			reason: "After the code has come, the chaincode's own end is what counts.",
			images: programs(runtimetest.Shell),
			break_: func(c *Chaincode) { c.Program.Command = "echo no address >&2; exit 3" },
			want:   "exited with status 3: no address",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := runtimetest.New(t, runtimetest.Options{Images: tc.images})
			cc := programOf(t, "true")
			if tc.break_ != nil {
				tc.break_(&cc)
			}
			s := startProgram(t, c, cc, Options{Patience: impatient()})
			if err := s.wait(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\nRun = %v, want %q\n%s", tc.reason, err, tc.want, s.story())
			}
			awaitEmpty(t, c)
		})
	}
}

// TestRunProgramPort: the port is free again once the pod has its code.
func TestRunProgramPort(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	_ = free.Close()
	c := runtimetest.New(t, runtimetest.Options{Images: programs(runtimetest.WithProgram(serve))})
	s := startProgram(t, c, programOf(t, "true"), Options{Ports: [2]int{port, port}})
	c.Await("the chaincode", func() bool { return s.log() == "ready\n" })
	c.Await("the port", func() bool {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = l.Close()
		}
		return err == nil
	})
	s.stop()
	if err := s.wait(); err != nil {
		t.Error(err)
	}
	awaitEmpty(t, c)
}

// TestCycles crashes and launches again, 50 times, and builds between: not an object, a file
// or a goroutine is left.
func TestCycles(t *testing.T) {
	c := runtimetest.New(t, runtimetest.Options{Images: map[string]runtimetest.Program{
		programImage: runtimetest.Shell, pivtImage: runtimetest.Pivt, builderImage: runtimetest.Shell,
	}})
	client := c.Client()
	o := Options{Image: pivtImage}
	cc := programOf(t, "exit 7")
	cycle := func() {
		if err := Run(t.Context(), client, localPeer(node), cc, o); err == nil || !strings.Contains(err.Error(), "exited with status 7") {
			t.Fatalf("Run = %v, want the crash", err)
		}
	}
	build := func(script string) {
		s := source(t, script)
		err := Build(t.Context(), client, localPeer(node), s, o)
		var failed *BuildError
		if script == goodScript && err != nil || script != goodScript && !errors.As(err, &failed) {
			t.Fatalf("Build = %v", err)
		}
		if err := os.RemoveAll(filepath.Dir(s.Output)); err != nil {
			t.Fatal(err)
		}
	}
	cycle() // opens connections and files that stay
	build(goodScript)
	awaitEmpty(t, c)
	files, routines := openFiles(t), goruntime.NumGoroutine()
	for i := range 50 {
		cycle()
		if i%10 == 0 {
			build(goodScript)
			build("exit 1")
		}
	}
	awaitEmpty(t, c)
	c.Await("goroutines and files as before", func() bool {
		return goruntime.NumGoroutine() <= routines && openFiles(t) <= files
	})
	if left := c.Volumes(); len(left) != 0 {
		t.Errorf("volumes of pods that are gone: %v", left)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(entries)
}

// TestObjectsOfProgram shows the pod of built chaincode and that of a build.
func TestObjectsOfProgram(t *testing.T) {
	t.Parallel()
	p := Peer{Namespace: "fabric", Node: node, Pod: node + "-0", UID: "11111111-2222-3333-4444-555555555555", Org: "org1"}
	c := chaincode("basic_1.0")
	c.Image, c.Program = "hyperledger/fabric-baseos:3.1", &Program{Dir: "/d", Path: "/usr/local/bin/cc", Command: "exec chaincode"}
	o := Options{Image: "pivt/pivt:dev", Process: Process{PID: 42, Start: "4711"}}.withDefaults()
	s := Source{Label: "basic_1.0", Hash: testHash, Image: "hyperledger/fabric-ccenv:3.1", Script: "go build", CA: []byte("x"), Deadline: DefaultDeadline}
	o2 := o
	o2.Resources = BuildResources()
	golden(t, "pod-program.yaml", pod(&p, &c, podName(&p, &c, "abcde"), &o))
	golden(t, "pod-build.yaml", buildPod(&p, &s, buildNames{pod: sharedName(&p, &s), secret: ownName(&p, &s, "abcde"), result: "10.0.0.1:7100"}, &o2))
}

func TestBuildNames(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ reason, org, label, shared, own string }{
		"Plain": {"The usual one stays readable.", "org1", "basic_1.0", "hlf-build--org1--basic-1-0-2c95a09dc49f", "hlf-build--org1--basic-1-0-2c95a09dc49f-abcde"},
		"Long":  {"Fabric knows no limit.", "org1", strings.Repeat("x", 180), "", ""},
		"NoOrg": {"Sharing is off without it.", "", "a", "hlf-build----a-2c95a09dc49f", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, s := Peer{Org: tc.org}, Source{Label: tc.label, Hash: testHash}
			shared, own := sharedName(&p, &s), ownName(&p, &s, "abcde")
			if shared != tc.shared && tc.shared != "" || tc.own != "" && own != tc.own {
				t.Errorf("%s\nnames %s, %s, want %s, %s", tc.reason, shared, own, tc.shared, tc.own)
			}
			valid(t, tc.label, shared, labelValue(tc.label))
			valid(t, tc.label, own, labelValue(tc.label))
		})
	}
}
