package recipe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestKey(t *testing.T) {
	t.Parallel()
	base := func() Part {
		return Part{
			Name: "x", Module: "example.com/x", Version: "v1", Binaries: map[string]string{"a": "a", "b": "b"},
			Stamps: map[string]string{"p.V": "1", "p.W": "2"}, Share: []string{"conf"}, Mend: []Mend{{Path: "f", Content: "text"}},
		}
	}
	key := func(p Part) string { return Key(p, []byte("mod"), []byte("sum"), nil, "go1.26") }
	want := key(base())
	for range 20 {
		if got := key(base()); got != want {
			t.Fatalf("the key of one part is %s and %s: every run would build again", want, got)
		}
	}
	changes := map[string]string{
		"Module":   key(with(base(), func(p *Part) { p.Module += "/v2" })),
		"Version":  key(with(base(), func(p *Part) { p.Version = "v2" })),
		"Binaries": key(with(base(), func(p *Part) { p.Binaries["c"] = "c" })),
		"Stamps":   key(with(base(), func(p *Part) { p.Stamps["p.V"] = "2" })),
		"Share":    key(with(base(), func(p *Part) { p.Share = nil })),
		"Mend":     key(with(base(), func(p *Part) { p.Mend[0].Content = "other" })),
		"go.mod":   Key(base(), []byte("mod2"), []byte("sum"), nil, "go1.26"),
		"go.sum":   Key(base(), []byte("mod"), []byte("sum2"), nil, "go1.26"),
		"sources":  Key(base(), []byte("mod"), []byte("sum"), map[string]string{"main.go": "package main"}, "go1.26"),
		"go":       Key(base(), []byte("mod"), []byte("sum"), nil, "go1.27"),
		"moved":    Key(base(), []byte("modsum"), nil, nil, "go1.26"),
	}
	seen := map[string]string{want: "nothing"}
	for what, got := range changes {
		if other, dup := seen[got]; dup {
			t.Errorf("changing %s gives the same key as changing %s: a stale build would be used", what, other)
		}
		seen[got] = what
	}
}

func with(p Part, change func(*Part)) Part {
	change(&p)
	return p
}

func TestDefaultParts(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, p := range Default() {
		if seen[p.Name] {
			t.Errorf("part %s is listed twice", p.Name)
		}
		seen[p.Name] = true
		mod, err := os.ReadFile(filepath.Join("..", "parts", p.Name, "go.mod"))
		if err != nil {
			t.Errorf("part %s: %v", p.Name, err)
			continue
		}
		if !strings.Contains(string(mod), p.Module) {
			t.Errorf("part %s: its go.mod does not mention %s", p.Name, p.Module)
		}
		// Fabric's modules carry pseudo-versions, and kube-router's replacement names the version too.
		if strings.HasPrefix(p.Version, "v") && !strings.HasPrefix(p.Name, "fabric-") && !strings.Contains(string(mod), " "+p.Version) {
			t.Errorf("part %s: its go.mod does not pin %s", p.Name, p.Version)
		}
		for name, pkg := range p.Binaries {
			if !strings.Contains(string(mod), "/"+pkg+"\n") && !strings.Contains(string(mod), "/"+pkg+"/v") {
				t.Errorf("part %s: no tool in its go.mod builds %s (%s)", p.Name, name, pkg)
			}
		}
	}
}

func TestEnsure(t *testing.T) {
	t.Parallel()
	b, p := builder(t)
	got, err := b.Ensure(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(got.Bin("hello")).CombinedOutput()
	if err != nil || string(out) != "grafted v7\n" {
		t.Errorf("the program printed %q, %v; want the mended file and the stamp to be in it", out, err)
	}
	if text, err := os.ReadFile(got.ShareDir("conf/a.yaml")); err != nil || string(text) != "a: 1\n" {
		t.Errorf("the kept file holds %q, %v", text, err)
	}

	// Touch nothing the second time: a mark inside survives, and nothing is reported.
	mark := filepath.Join(got.Dir, "mark")
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.Report = func(p Part, _ time.Duration) { t.Errorf("part %s was built again", p.Name) }
	if _, err := b.Ensure(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Errorf("the finished part was replaced: %v", err)
	}
}

func TestEnsureFailure(t *testing.T) {
	t.Parallel()
	b, p := builder(t)
	p.Mend[1].Content = "package main\n\nfunc text() string { return 1 }\n"
	_, err := b.Ensure(t.Context(), p)
	if err == nil || !strings.Contains(err.Error(), filepath.Join(b.Logs, p.Name+".log")) {
		t.Errorf("got %v, want an error that names the log", err)
	}
	left, err := os.ReadDir(b.Cache)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 0 {
		t.Errorf("a failed build left %v in the cache", left)
	}
}

func TestAllClearsWhatAKilledBuildLeft(t *testing.T) {
	t.Parallel()
	b, _ := builder(t)
	half := filepath.Join(b.Cache, ".building-hello-123")
	if err := os.MkdirAll(half, 0o755); err != nil {
		t.Fatal(err)
	}
	built, err := b.All(t.Context(), nil)
	if err != nil || len(built) != 0 {
		t.Fatalf("no parts: got %v, %v", built, err)
	}
	if _, err := os.Stat(half); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the half-built part is still there: %v", err)
	}
}

// builder is a cache and a part of one program, whose module lacks two files. All is local: no network is used.
func builder(t *testing.T) (*Builder, Part) {
	t.Helper()
	version, err := GoVersion(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string]string{
		"src/go.mod":                  "module example.com/hello\n\ngo 1.26\n",
		"src/cmd/hello/main.go":       "package main\n\nvar version string\n\nfunc main() { println2(text() + \" \" + version) }\n",
		"src/cmd/hello/out_darwin.go": "package main\n\nimport \"fmt\"\n\nfunc println2(s string) { fmt.Println(s) }\n",
		"src/conf/a.yaml":             "a: 1\n",
		"parts/hello/go.sum":          "",
		"parts/hello/go.mod": fmt.Sprintf("module example.com/part\n\ngo 1.26\n\ntool example.com/hello/cmd/hello\n\n"+
			"require example.com/hello v0.0.0\n\nreplace example.com/hello => %s\n", filepath.Join(dir, "src")),
	}
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := &Builder{
		Modules: filepath.Join(dir, "parts"), Cache: filepath.Join(dir, "cache"), Logs: filepath.Join(dir, "logs"), GoVersion: version,
	}
	return b, Part{
		Name: "hello", Module: "example.com/hello", Version: "v7",
		Binaries: map[string]string{"hello": "hello"},
		Stamps:   map[string]string{"main.version": "v7"},
		Share:    []string{"conf"},
		Mend: slices.Clone([]Mend{
			{Path: "cmd/hello/out_linux.go", CopyOf: "cmd/hello/out_darwin.go"},
			{Path: "cmd/hello/text.go", Content: "package main\n\nfunc text() string { return \"grafted\" }\n"},
		}),
	}
}
