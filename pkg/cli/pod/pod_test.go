package pod_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pivt.io/pivt/pkg/cli/pod"
	"pivt.io/pivt/pkg/exit"
)

// process runs the in-pod program with nothing mounted.
func process(t *testing.T, name string, args ...string) (code exit.Code, stderr, termination string) {
	t.Helper()
	var b bytes.Buffer
	file := filepath.Join(t.TempDir(), "termination-log")
	code = pod.Main(t.Context(), pod.Process{
		Name: name, Args: args, Env: func(string) string { return "" },
		Stderr: &b, Root: t.TempDir(), Termination: file,
	})
	text, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return code, b.String(), string(text)
}

func TestMainTellsByExitCode(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason      string
		name        string
		args        []string
		code        exit.Code
		stderr      string
		termination string
	}{
		"UnknownStep": {"A chart of another version must fail at once, with the steps there are.",
			"pivt", []string{"step", "dance"}, exit.Invalid, "steps are probe, create", `step "dance" does not exist`},
		"NoFiles": {"A pod without its mounts will not get them by trying again.",
			"pivt", []string{"step", "join", "--channel=a", "--org=b", "--wait=0s"}, exit.Failed, "network.yaml", "network.yaml"},
		"UnknownCommand": {"A typo in a chart is wrong usage.", "pivt", []string{"stpe"}, exit.Invalid, `unknown command "stpe"`, ""},
		"DetectOther": {"A package of another type is for another builder; the peer only wants to know.",
			"/opt/pivt/bin/detect", []string{"src", "nowhere"}, exit.Failed, "", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stderr, termination := process(t, tc.name, tc.args...)
			if code != tc.code || !strings.Contains(stderr, tc.stderr) || !strings.Contains(termination, tc.termination) {
				t.Errorf("%s\nexit %d, stderr %q, termination %q; want %d, %q, %q",
					tc.reason, code, stderr, termination, tc.code, tc.stderr, tc.termination)
			}
		})
	}
}

// TestLauncherInstall does what a peer's init container does, and then calls what it left.
func TestLauncherInstall(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if code, stderr, _ := process(t, "pivt", "launcher", "install", dir); code != exit.OK {
		t.Fatalf("install: exit %d: %s", code, stderr)
	}
	for _, name := range []string{"detect", "build", "release", "run"} {
		info, err := os.Stat(filepath.Join(dir, "bin", name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode()&0o111 == 0 {
			t.Errorf("%s is not executable, so the peer would pass it over in silence", name)
		}
	}
}
