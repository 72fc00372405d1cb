package launcher

import (
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
	"time"
)

// tree makes files, directories (names that end in "/") and links (values that begin with
// "-> ") in a new directory.
func tree(t testing.TB, entries map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range entries {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		target, isLink := strings.CutPrefix(data, "-> ")
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case isLink:
			err = os.Symlink(target, path)
		default:
			err = os.WriteFile(path, []byte(data), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestSeal(t *testing.T) {
	t.Parallel()
	at := func(dir, name string) string { return filepath.Join(dir, name) }
	cases := map[string]struct {
		reason string
		damage func(dir string) error
		want   string // "" where run must not mind
	}{
		"Whole":     {"What was built runs.", func(string) error { return nil }, ""},
		"Group":     {"A kubelet gives the files of a volume to its group.", func(d string) error { return os.Chmod(at(d, "output/a"), 0o775) }, ""},
		"Times":     {"A volume may have been restored.", func(d string) error { return os.Chtimes(at(d, "output/a"), time.Now(), time.Unix(1, 0)) }, ""},
		"Missing":   {"Not copied any more.", func(d string) error { return os.Remove(at(d, "output/a.txt")) }, "output/a.txt is missing"},
		"Last":      {"The last one of all.", func(d string) error { return os.Remove(at(d, "output/z")) }, "output/z is missing"},
		"First":     {"The first one of all.", func(d string) error { return os.Remove(at(d, "image.json")) }, "image.json is missing"},
		"Empty":     {"An empty directory may be needed.", func(d string) error { return os.Remove(at(d, "output/empty")) }, "output/empty is missing"},
		"Cut":       {"A file may be there without its content.", func(d string) error { return os.Truncate(at(d, "output/b/x\ny"), 1) }, "output/b/x\ny is not what was built"},
		"NoExec":    {"A program that cannot be started.", func(d string) error { return os.Chmod(at(d, "output/a"), 0o600) }, "output/a is not what was built"},
		"More":      {"What nobody built is not run.", func(d string) error { return os.WriteFile(at(d, "output/a.so"), nil, 0o600) }, "output/a.so was not built"},
		"MoreAtEnd": {"Nor what sorts last.", func(d string) error { return os.WriteFile(at(d, "zz"), nil, 0o600) }, "zz was not built"},
		"Link": {"A link that leads elsewhere.", func(d string) error {
			if err := os.Remove(at(d, "output/.bin/x")); err != nil {
				return err
			}
			return os.Symlink("../a.txt", at(d, "output/.bin/x"))
		}, "output/.bin/x is not what was built"},
		"FileForLink": {"A link that became a file.", func(d string) error {
			if err := os.Remove(at(d, "output/.bin/x")); err != nil {
				return err
			}
			return os.WriteFile(at(d, "output/.bin/x"), []byte("../a"), 0o600)
		}, "output/.bin/x is not what was built"},
		"NoList":  {"The list is a file as well.", func(d string) error { return os.Remove(at(d, listFile)) }, "pivt.files is missing"},
		"CutList": {"And may be cut.", func(d string) error { return os.Truncate(at(d, listFile), 100) }, "pivt.files is not what was built"},
		"NoSeal":  {"The seal is copied last.", func(d string) error { return os.Remove(at(d, sealFile)) }, "pivt.json is missing"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := tree(t, map[string]string{
				"image.json": "{}", "output/a": "program", "output/a.txt": "a", "output/a-b/c": "c", "output/b/x\ny": "new line",
				"output/empty/": "", "output/.bin/x": "-> ../a", "output/z": "",
			})
			if err := os.Chmod(filepath.Join(dir, "output/a"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := seal(dir, kindNode, "basic_1.0"); err != nil {
				t.Fatal(err)
			}
			if err := tc.damage(dir); err != nil {
				t.Fatal(err)
			}
			s, err := verify(dir)
			switch {
			case tc.want == "" && (err != nil || s.Kind != kindNode || s.Label != "basic_1.0"):
				t.Errorf("%s\nverify = %+v, %v", tc.reason, s, err)
			case tc.want != "" && (err == nil || !strings.HasSuffix(err.Error(), "is incomplete: "+tc.want)):
				t.Errorf("%s\nverify = %v, want %q", tc.reason, err, tc.want)
			}
		})
	}
}

// TestSealV1 reads what the first release left on the volumes of peers.
func TestSealV1(t *testing.T) {
	t.Parallel()
	const sum = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" // of {}
	v1 := `{"version":1,"type":"k8s","label":"basic_1.0","files":{"image.json":"` + sum + `","META-INF/x.json":"` + sum + `"}}`
	cases := map[string]struct {
		reason string
		files  map[string]string
		want   string
	}{
		"Whole":   {"It goes on running.", map[string]string{"image.json": "{}", "META-INF/x.json": "{}"}, ""},
		"Cut":     {"It was checked then, it is now.", map[string]string{"image.json": "{", "META-INF/x.json": "{}"}, "image.json is not what was built"},
		"Missing": {"The same.", map[string]string{"image.json": "{}"}, "META-INF/x.json is missing"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.files[sealFile] = v1
			s, err := verify(tree(t, tc.files))
			if tc.want == "" && (err != nil || s.Kind != kindImage) || tc.want != "" && (err == nil || !strings.HasSuffix(err.Error(), tc.want)) {
				t.Errorf("%s\nverify = %+v, %v, want %q", tc.reason, s, err, tc.want)
			}
		})
	}
}

// TestHash: two peers unpack the same archive and must come to the same name, and what
// makes another build must have another one.
func TestHash(t *testing.T) {
	t.Parallel()
	type input struct {
		source   map[string]string
		metadata string
		recipe   recipe
		exec     string
	}
	base := func() input {
		return input{
			source:   map[string]string{"src/main.go": "package main", "src/b/": "", "META-INF/x.json": "{}"},
			metadata: `{"type":"golang","label":"a"}`,
			recipe:   recipe{Kind: kindGolang, Image: "ccenv", Script: "go build"},
		}
	}
	hash := func(t *testing.T, in input) string {
		t.Helper()
		dir := tree(t, in.source)
		if in.exec != "" {
			if err := os.Chmod(filepath.Join(dir, in.exec), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		got, err := in.recipe.hash(dir, tree(t, map[string]string{metadataFile: in.metadata}))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	want := hash(t, base())
	cases := map[string]struct {
		same   bool
		change func(*input)
	}{
		"Same":     {true, func(*input) {}},
		"Content":  {false, func(i *input) { i.source["src/main.go"] = "package other" }},
		"Name":     {false, func(i *input) { delete(i.source, "src/main.go"); i.source["src/cc.go"] = "package main" }},
		"Moved":    {false, func(i *input) { delete(i.source, "src/main.go"); i.source["src/b/main.go"] = "package main" }},
		"Exec":     {false, func(i *input) { i.exec = "src/main.go" }},
		"Metadata": {false, func(i *input) { i.metadata = `{"type":"golang","label":"a" }` }},
		"Image":    {false, func(i *input) { i.recipe.Image = "other" }},
		"Script":   {false, func(i *input) { i.recipe.Script = "" }},
		"Env":      {false, func(i *input) { i.recipe.Env = buildEnv(kindGolang, nil) }},
		"CA":       {false, func(i *input) { i.recipe.CA = "x" }},
		"Pod":      {false, func(i *input) { i.recipe.Pod = []byte("{}") }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := base()
			tc.change(&in)
			if got := hash(t, in); (got == want) != tc.same {
				t.Errorf("hash %s, base %s, want equal: %t", got, want, tc.same)
			}
		})
	}
}

// TestHashUnreadable: archives hold files without any right, and the peer is not root.
func TestHashUnreadable(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"src/main.go": "package main"})
	if err := os.Chmod(filepath.Join(dir, "src/main.go"), 0); err != nil {
		t.Fatal(err)
	}
	if err := each(dir, func(entry) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "src/main.go")); err != nil || info.Mode()&0o400 == 0 {
		t.Errorf("mode %v, %v: nobody but root could send this file", info.Mode(), err)
	}
}

// BenchmarkVerify is what a launch of a large Node chaincode waits for.
func BenchmarkVerify(b *testing.B) {
	for _, n := range []int{1, 1000, 20000} {
		b.Run(fmt.Sprintf("files=%d", n), func(b *testing.B) {
			entries := map[string]string{}
			for i := range n {
				entries[fmt.Sprintf("output/node_modules/p%d/lib/f%d.js", i/20, i)] = strings.Repeat("x", 4000)
			}
			dir := tree(b, entries)
			if err := seal(dir, kindNode, "a"); err != nil {
				b.Fatal(err)
			}
			var before, after goruntime.MemStats
			goruntime.ReadMemStats(&before)
			for b.Loop() {
				if _, err := verify(dir); err != nil {
					b.Fatal(err)
				}
			}
			goruntime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapSys-before.HeapSys)/(1<<20), "MiB-more-heap")
		})
	}
}
