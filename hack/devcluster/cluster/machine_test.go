package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/hack/devcluster/image"
)

func TestIsShim(t *testing.T) {
	t.Parallel()
	const socket = "/var/lib/pivt-devcluster/run/containerd.sock"
	join := func(args ...string) string { return strings.Join(args, "\x00") + "\x00" }
	cases := map[string]struct {
		reason  string
		cmdline string
		want    bool
	}{
		"Ours": {
			reason:  "A shim outlives its containerd and names the socket it reports to.",
			cmdline: join("/usr/bin/containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", "abc", "-address", socket),
			want:    true,
		},
		"OtherContainerd": {
			reason:  "Docker's shims are not ours to kill.",
			cmdline: join("/usr/bin/containerd-shim-runc-v2", "-namespace", "moby", "-id", "abc", "-address", "/run/containerd/containerd.sock"),
		},
		"LongerPath": {
			reason:  "Another cluster's socket may begin like ours.",
			cmdline: join("/usr/bin/containerd-shim-runc-v2", "-address", socket+"2"),
		},
		"NoShim": {
			reason:  "Somebody who looks at our socket, such as ctr or an editor, is no shim.",
			cmdline: join("/usr/bin/ctr", "-address", socket),
		},
		"NoArgument": {
			reason:  "A command line may end where the address should be.",
			cmdline: join("containerd-shim-runc-v2", "-address"),
		},
		"KernelThread": {reason: "A kernel thread has no command line at all."},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := isShim(tc.cmdline, socket); got != tc.want {
				t.Errorf("%s\nisShim: got %t", tc.reason, got)
			}
		})
	}
}

func TestResultsOf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, netns := range map[string]string{
		"cni-loopback-1-lo": "/state/run/netns/cni-1", "pivt-1-eth0": "/state/run/netns/cni-1",
		"cni-loopback-2-lo": "/var/run/netns/cni-2", "podman-3-eth0": "/state2/run/netns/cni-3",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(`{"result":{"interfaces":[{"sandbox":"`+netns+`"}]}}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := resultsOf(dir, "/state")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(dir, "cni-loopback-1-lo"), filepath.Join(dir, "pivt-1-eth0")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("results of our pods and of nobody else's: -want, +got:\n%s", diff)
	}
}

func TestImported(t *testing.T) {
	t.Parallel()
	got := imported(`REF                                TYPE                                     DIGEST                                                            SIZE     PLATFORMS   LABELS
docker.io/pivt/basic:1.0           application/vnd.oci.image.manifest.v1+json sha256:1111111111111111111111111111111111111111111111111111111111111111 4.1 MiB  linux/amd64 io.cri-containerd.image=managed
docker.io/pivt/basic@sha256:1111   application/vnd.oci.image.manifest.v1+json sha256:1111111111111111111111111111111111111111111111111111111111111111 4.1 MiB  linux/amd64 io.cri-containerd.image=managed
`)
	const digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	want := map[string]string{"docker.io/pivt/basic:1.0": digest, "docker.io/pivt/basic@sha256:1111": digest}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("imported: -want, +got:\n%s", diff)
	}
}

func TestImageKey(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := image.Spec{Names: []string{"docker.io/pivt/x:1"}, Files: []image.File{image.Program("/x", program), {Path: "/y", Data: []byte("y")}}}
	key := func() string {
		k, err := imageKey(spec)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := key()
	if again := key(); again != first {
		t.Errorf("keys of one image: %s and %s; every run would assemble it again", first, again)
	}
	spec.Files[1].Data = []byte("z")
	if second := key(); second == first {
		t.Error("other content under the same path has the same key")
	}
	spec.Files[1].Data = []byte("y")
	if err := os.WriteFile(program, []byte("three"), 0o600); err != nil {
		t.Fatal(err)
	}
	if third := key(); third == first {
		t.Error("another program has the same key")
	}
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	if k, err := imageKey(spec); err == nil {
		t.Errorf("a program that is not there: got key %s, want an error", k)
	}
}

func TestOwnerOf(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ reason, ss, want string }{
		"Named":   {"The sentence names whom to stop.", `LISTEN 0 4096 0.0.0.0:6443 0.0.0.0:* users:(("kube-apiserver",pid=4711,fd=7))`, " by kube-apiserver (pid 4711)"},
		"Unknown": {"Programs in other namespaces are listed without a name.", "LISTEN 0 4096 0.0.0.0:6443 0.0.0.0:*", ""},
		"Nothing": {"It may have ended meanwhile.", "", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := ownerOf(tc.ss); got != tc.want {
				t.Errorf("%s\nownerOf: got %q, want %q", tc.reason, got, tc.want)
			}
		})
	}
}

func TestInitCgroup(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	group := filepath.Join(root, "pivt")
	files := map[string]string{"cpuset.cpus": "0-1\n", "cpuset.mems": "0\n", "cpu.shares": "1024\n", "pivt/cpu.shares": "1024\n"}
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := initCgroup(root, group); err != nil {
		t.Fatal(err)
	}
	wants := map[string]string{"cpuset.cpus": "0-1\n", "cpuset.mems": "0\n", "cpu.shares": strconv.Itoa(1024 * runtime.NumCPU())}
	for name, want := range wants {
		if got, err := os.ReadFile(filepath.Join(group, name)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v; want %q: in an empty cpuset nothing runs, and with default shares all pods weigh as one process", name, got, err, want)
		}
	}
}

func TestCompileIsReproducible(t *testing.T) {
	t.Parallel()
	// Two checkouts in folders of different names, one of them under version control.
	here, there := checkout(t), checkout(t)
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", "x"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = there
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v: %s", args[0], err, out)
		}
	}
	c := &Cluster{}
	first, err := c.compile(t.Context(), here, ".")
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.compile(t.Context(), there, ".")
	if err != nil {
		t.Fatal(err)
	}
	if string(first) != string(second) {
		t.Error("the same source in two places gives two programs, so the digest in network.yaml would depend on who built it")
	}

	if err := os.WriteFile(filepath.Join(here, "main.go"), []byte("package main\n\nfunc main() { missing() }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.compile(t.Context(), here, "."); err == nil || !strings.Contains(err.Error(), "undefined: missing") {
		t.Errorf("got %v, want what the compiler said", err)
	}
}

func checkout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  "module example.com/hello\n\ngo 1.26\n",
		"main.go": "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"hello\") }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
