package launcher_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/launcher"
	"pivt.io/pivt/pkg/runtime/runtimetest"
)

func serve(ctx context.Context, c runtimetest.Container) int {
	fmt.Fprintln(c.Output, "ready")
	<-ctx.Done()
	fmt.Fprintln(c.Output, "bye")
	return 0
}

func cluster(t *testing.T, p runtimetest.Program) *runtimetest.Cluster {
	t.Helper()
	return runtimetest.New(t, runtimetest.Options{Images: map[string]runtimetest.Program{image: p}})
}

func awaitEmpty(c *runtimetest.Cluster) {
	c.Await("no pod and no secret", func() bool { return len(c.Pods()) == 0 && len(c.Secrets()) == 0 })
}

// TestLife is the whole life of a chaincode.
func TestLife(t *testing.T) {
	t.Parallel()
	c := cluster(t, serve)
	p := newPeer(t, c)
	durable, err := p.install(imagePackage())
	if err != nil {
		t.Fatal(err)
	}
	r := p.launch(durable, info(), true)
	pod := c.AwaitRunning()
	if got := pod.OwnerReferences; len(got) != 1 || string(got[0].UID) != p.env["PIVT_POD_UID"] {
		t.Errorf("owner references = %v, want the peer's pod", got)
	}
	if want := map[string]string{
		"app.kubernetes.io/component":  "chaincode",
		"app.kubernetes.io/part-of":    "hlf-kube",
		"app.kubernetes.io/managed-by": "pivt",
		"pivt.io/node":                 nodeName,
		"pivt.io/chaincode":            "My_CC.v1-rc",
		"pivt.io/package":              "2c95a09dc49f512fbe8b8409cf98797f",
	}; !cmp.Equal(want, pod.Labels) {
		t.Errorf("labels: -want, +got:\n%s", cmp.Diff(want, pod.Labels))
	}
	c.Await("the chaincode's log in the peer's", func() bool { return p.hasLogged("[My_CC.v1+rc] ready") })
	if err := r.stop(); err != nil {
		t.Errorf("run, asked to stop, ended with %v", err)
	}
	awaitEmpty(c)
	for _, line := range p.logged() {
		if strings.Contains(line, "KEY") {
			t.Errorf("a private key is in the peer's log: %s", line)
		}
	}
}

// TestLabels goes the whole way with labels that Fabric accepts and Kubernetes would not.
func TestLabels(t *testing.T) {
	t.Parallel()
	for _, label := range []string{"1", "basic_1.0", "My_CC.v1+rc", "a+._-", strings.Repeat("L", 180)} {
		t.Run(label[:min(len(label), 20)], func(t *testing.T) {
			t.Parallel()
			c := cluster(t, serve)
			p := newPeer(t, c)
			in := imagePackage()
			in.metadata = `{"type":"K8s","label":"` + label + `"}`
			durable, err := p.install(in)
			if err != nil {
				t.Fatalf("%v: %v", err, p.logged())
			}
			launch := info()
			launch.ID = in.id()
			r := p.launch(durable, launch, true)
			if pod := c.AwaitRunning(); pod.Annotations["pivt.io/chaincode-id"] != in.id() {
				t.Errorf("annotations %v", pod.Annotations)
			}
			c.Await("the chaincode's log", func() bool { return p.hasLogged("[" + label + "] ready") })
			if err := r.stop(); err != nil {
				t.Error(err)
			}
			awaitEmpty(c)
		})
	}
}

func TestRunEnds(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		cluster runtimetest.Options
		env     map[string]string
		tlsOff  bool
		status  int
		log     string
	}{
		"Crash": {
			reason: "The peer fails the launch with the exit status and shows the last line.",
			cluster: runtimetest.Options{Images: map[string]runtimetest.Program{image: func(_ context.Context, c runtimetest.Container) int {
				fmt.Fprintln(c.Output, "panic: no address")
				return 2
			}}},
			status: 1,
			log:    "exited with status 2: panic: no address",
		},
		"TLSOff": {
			reason: "A peer without TLS hands over empty strings.",
			cluster: runtimetest.Options{Images: map[string]runtimetest.Program{image: func(_ context.Context, c runtimetest.Container) int {
				if c.Env["CORE_PEER_TLS_ENABLED"] != "false" || len(c.Files) != 0 {
					return 9
				}
				return 0
			}}},
			tlsOff: true,
			log:    "ended with status 0",
		},
		"Quota": {
			reason:  "What the API server refuses is final.",
			cluster: runtimetest.Options{Pods: 1, Images: map[string]runtimetest.Program{image: serve}},
			env:     map[string]string{"PIVT_IMAGE": "none"},
			status:  1,
			log:     "exceeded quota",
		},
		"NotPropagated": {
			reason: "A custom core.yaml may forget to pass our variables on.",
			env:    map[string]string{"PIVT_NODE": "", "KUBERNETES_SERVICE_HOST": ""},
			status: 1,
			log:    "Error: not set: PIVT_NODE, KUBERNETES_SERVICE_HOST\nHint:  the peer passes on only what chaincode.externalBuilders[].propagateEnvironment lists",
		},
		"NoToken": {
			reason: "A peer without service account cannot run chaincode.",
			env:    map[string]string{"PIVT_SERVICE_ACCOUNT": "/nonexistent"},
			status: 1,
			log:    "reading the pod's service account: stat /nonexistent/token",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := runtimetest.New(t, tc.cluster)
			p := newPeer(t, c)
			durable, err := p.install(imagePackage())
			if err != nil {
				t.Fatal(err)
			}
			if tc.cluster.Pods > 0 { // somebody uses the quota up
				other := newPeerOf(t, p)
				in := info()
				in.ID = "other:" + strings.Repeat("ab", 32)
				first := other.launch(durable, in, true)
				c.AwaitRunning()
				defer func() { _ = first.stop() }()
			}
			for k, v := range tc.env {
				p.env[k] = v
			}
			in := info()
			if tc.tlsOff {
				in.ClientCert, in.ClientKey, in.RootCert = "", "", ""
			}
			err = p.launch(durable, in, true).wait()
			status := 0
			var failed *exec.ExitError
			if errors.As(err, &failed) {
				status = failed.ExitCode()
			}
			if status != tc.status || !p.hasLogged(tc.log) {
				t.Errorf("%s\nrun ended with %d, want %d; the peer's log:\n%s\nwant %q", tc.reason, status, tc.status, strings.Join(p.logged(), "\n"), tc.log)
			}
		})
	}
}

// newPeerOf is the same peer with a log of its own.
func newPeerOf(t *testing.T, p *peer) *peer {
	t.Helper()
	env := map[string]string{}
	for k, v := range p.env {
		env[k] = v
	}
	return &peer{t: t, env: env, dir: p.dir}
}

func TestRunLongLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	c := cluster(t, func(ctx context.Context, c runtimetest.Container) int {
		fmt.Fprintf(c.Output, "%s\nafter\n", long)
		<-ctx.Done()
		return 0
	})
	p := newPeer(t, c)
	durable, err := p.install(imagePackage())
	if err != nil {
		t.Fatal(err)
	}
	r := p.launch(durable, info(), true)
	c.Await("the line after the long one", func() bool { return p.hasLogged("[My_CC.v1+rc] after") })
	var got strings.Builder
	for _, line := range p.logged() {
		if piece, ok := strings.CutPrefix(line, "[My_CC.v1+rc] "); ok && piece != "after" {
			got.WriteString(piece)
		}
	}
	if got.String() != long {
		t.Errorf("of a line of %d bytes the peer got %d", len(long), got.Len())
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

// TestRunPeerKilled is the peer that dies without a word: nobody signals the launcher.
func TestRunPeerKilled(t *testing.T) {
	t.Parallel()
	c := cluster(t, serve)
	p := newPeer(t, c)
	durable, err := p.install(imagePackage())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	data, err := json.Marshal(info())
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"chaincode.json": string(data)})
	run := p.command("run", filepath.Join(durable, "bld"), dir)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dying := exec.Command(self, run.Args...)
	dying.Env = append(run.Env, fragile+"=1")
	if err := dying.Start(); err != nil {
		t.Fatal(err)
	}
	c.AwaitRunning()
	if err := dying.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = dying.Wait()
	awaitEmpty(c)
}

func TestRunHalfWritten(t *testing.T) {
	t.Parallel()
	index := "META-INF/statedb/couchdb/indexes/owner.json"
	cases := map[string]struct {
		reason string
		damage func(t *testing.T, bld string)
		want   string
	}{
		"Empty":    {"Fabric makes the directory first.", func(t *testing.T, d string) { remove(t, d, "pivt.json", "image.json", index) }, "pivt.json is missing"},
		"NoSeal":   {"The peer died while copying.", func(t *testing.T, d string) { remove(t, d, "pivt.json") }, "pivt.json is missing"},
		"CutSeal":  {"The disk was full.", func(t *testing.T, d string) { cut(t, d, "pivt.json") }, "pivt.json: unexpected end of JSON input"},
		"NoImage":  {"Directories are copied in no particular order.", func(t *testing.T, d string) { remove(t, d, "image.json") }, "image.json is missing"},
		"CutImage": {"A file may exist without its content.", func(t *testing.T, d string) { cut(t, d, "image.json") }, "image.json is not what was built"},
		"CutIndex": {"Nor may an index be half there.", func(t *testing.T, d string) { cut(t, d, index) }, index + " is not what was built"},
		"Foreign":  {"A build of a later release may mean something else.", func(t *testing.T, d string) { write(t, d, map[string]string{"pivt.json": `{"version":3}`}) }, "was made by another release of pivt"},
		"OtherCode": {"Nobody changes what was approved.", func(t *testing.T, d string) {
			write(t, d, map[string]string{"image.json": `{"name":"evil","digest":"` + digest + `"}`})
		}, "image.json is not what was built"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := cluster(t, serve)
			p := newPeer(t, c)
			in := imagePackage()
			in.files[index] = `{"index":{"fields":["owner"]}}`
			durable, err := p.install(in)
			if err != nil {
				t.Fatal(err)
			}
			tc.damage(t, filepath.Join(durable, "bld"))
			err = p.launch(durable, info(), true).wait()
			if err == nil || !p.hasLogged(tc.want) || !p.hasLogged("Hint:  remove directory "+durable+" from the peer's volume") {
				t.Errorf("%s\nrun ended with %v; the peer's log:\n%s\nwant %q", tc.reason, err, strings.Join(p.logged(), "\n"), tc.want)
			}
			if calls := c.Calls(); len(calls) != 0 {
				t.Errorf("calls %v for a build that cannot be trusted", calls)
			}
		})
	}
}

func remove(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func cut(t *testing.T, dir, name string) {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, name), info.Size()/2); err != nil {
		t.Fatal(err)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	if code := launcher.Main(t.Context(), "run", []string{"one"}, os.Getenv, &said); code != int(exit.Invalid) || !strings.Contains(said.String(), "run takes [BUILD LAUNCH], got 1 argument") {
		t.Errorf("Main = %d, %q", code, said.String())
	}
	said.Reset()
	if code := launcher.Main(t.Context(), "bake", nil, os.Getenv, &said); code != int(exit.Invalid) || !strings.Contains(said.String(), `"bake" is no step`) {
		t.Errorf("Main = %d, %q", code, said.String())
	}
}

func TestRunBrokenLaunchInfo(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	durable, err := p.install(imagePackage())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir, map[string]string{"chaincode.json": `{"client_key":"SECRET"x`})
	if err := p.call("run", filepath.Join(durable, "bld"), dir); err == nil || !p.hasLogged("chaincode.json does not parse") || p.hasLogged("SECRET") {
		t.Errorf("run = %v, log %q", err, p.logged())
	}
}

func TestInstallTwice(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 2 {
		if err := launcher.Install(dir); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"bin/build", "bin/detect", "bin/pivt", "bin/release", "bin/run"}
	if got := files(t, dir); !slices.Equal(got, want) {
		t.Errorf("installed %v, want %v", got, want)
	}
	for _, step := range launcher.Steps() {
		info, err := os.Stat(filepath.Join(dir, "bin", step))
		if err != nil || info.Mode().Perm()&0o111 != 0o111 {
			t.Errorf("%s: %v, %v: Fabric skips a step that it cannot execute", step, info, err)
		}
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := launcher.Wait(t.Context(), address); err != nil {
		t.Errorf("Wait for a peer that answers: %v", err)
	}
	_ = free.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := launcher.Wait(ctx, address); exit.CodeOf(err) != exit.TimedOut || !strings.Contains(err.Error(), address) {
		t.Errorf("Wait for nobody = %v, want a time-out that names the address", err)
	}
	done := make(chan error, 1)
	go func() { done <- launcher.Wait(t.Context(), address) }()
	late, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("the port was taken meanwhile: %v", err)
	}
	defer late.Close()
	if err := <-done; err != nil {
		t.Errorf("Wait for a peer that comes later: %v", err)
	}
}

// BenchmarkDetect is what every package of the peer costs, ours or not. The test program
// stands in for the real one, which TestMain makes it behave as.
func BenchmarkDetect(b *testing.B) {
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "metadata.json"), []byte(`{"type":"car","label":"a"}`), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := exec.Command(filepath.Join(home, "bin", "detect"), dir, dir).Run(); err == nil {
			b.Fatal("detect claims a package that is not ours")
		}
	}
}
