package project

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var hello = product{name: "docker.io/pivt/hello:1.0", archive: "hello.tar", pkg: "hello", program: "/usr/local/bin/hello", toolchain: "local"}

func TestBuildIsReproducible(t *testing.T) {
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
	archives := t.TempDir()
	first, err := build(t.Context(), []product{hello}, here, archives)
	if err != nil {
		t.Fatal(err)
	}
	second, err := build(t.Context(), []product{hello}, there, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the same source in two places gives two images: -first, +second:\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(archives, "hello.tar")); err != nil {
		t.Errorf("no archive that could be loaded elsewhere: %v", err)
	}
}

func TestBuildFailure(t *testing.T) {
	t.Parallel()
	dir := checkout(t)
	if err := os.WriteFile(filepath.Join(dir, "hello", "main.go"), []byte("package main\n\nfunc main() { missing() }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := build(t.Context(), []product{hello}, dir, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "undefined: missing") || !strings.Contains(err.Error(), hello.name) {
		t.Errorf("got %v, want an error that names the image and what the compiler said", err)
	}
}

func TestProductsPassRestricted(t *testing.T) {
	t.Parallel()
	for _, p := range products {
		s := p.spec("program")
		if s.User == "" || strings.Trim(s.User, "0123456789") != "" || s.User == "0" {
			t.Errorf("%s runs as %q; want a number other than 0, or runAsNonRoot refuses it", p.name, s.User)
		}
		if len(s.Entrypoint) != 1 || !filepath.IsAbs(s.Entrypoint[0]) {
			t.Errorf("%s: entrypoint %q, want one absolute path", p.name, s.Entrypoint)
		}
	}
}

func checkout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "hello"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"go.mod":  "module example.com/hello\n\ngo 1.26\n",
		"main.go": "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"hello\") }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, "hello", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
