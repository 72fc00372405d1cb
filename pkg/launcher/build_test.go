package launcher_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDetect(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason   string
		metadata string
		ours     bool
		log      string
	}{
		"Image":    {"As fabric-builder-k8s.", `{"type":"k8s","label":"a"}`, true, ""},
		"Case":     {"Fabric's command line writes the type as the user typed it.", `{"type":"GoLang","label":"a"}`, true, ""},
		"Source":   {"As Fabric's Docker builder.", `{"type":"node","label":"a","path":"/home/me/cc"}`, true, ""},
		"Service":  {"As Fabric's ccaas builder.", `{"type":"ccaas","label":"a"}`, true, ""},
		"External": {"The same, older.", `{"type":"External","label":"a"}`, true, ""},
		"Other":    {"Not ours, and no reason to fill the peer's log.", `{"type":"car","label":"a"}`, false, ""},
		"NoType":   {"Nobody's.", `{"label":"a"}`, false, ""},
		"NoObject": {"Fabric passes the bytes on as they are.", `[]`, false, "Error: metadata.json: json: cannot unmarshal array"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, nil)
			dir := t.TempDir()
			write(t, dir, map[string]string{"metadata.json": tc.metadata})
			err := p.call("detect", t.TempDir(), dir)
			log := strings.Join(p.logged(), "\n")
			if (err == nil) != tc.ours || !strings.HasPrefix(log, tc.log) || tc.log == "" && log != "" {
				t.Errorf("%s\ndetect = %v, log %q", tc.reason, err, log)
			}
		})
	}
}

func TestBuildRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		image  string
		want   string
	}{
		"Missing":     {"The file is what the type is about.", "", "package My_CC.v1+rc: image.json is missing"},
		"NoJSON":      {"Said at install, not at the first call.", "{", "image.json: unexpected end of JSON input"},
		"NoName":      {"A digest alone names nothing.", `{"digest":"` + digest + `"}`, `name "" is not the name of an image`},
		"UpperName":   {"No registry has it.", `{"name":"Example/CC","digest":"` + digest + `"}`, `name "Example/CC" is not the name of an image`},
		"NoDigest":    {"A tag can be moved, and the hash of the package must pin the code.", `{"name":"cc:1.0"}`, `digest "" is not sha256:`},
		"NotADigest":  {"fabric-builder-k8s lets it pass.", `{"name":"cc","digest":"not-a-digest"}`, `digest "not-a-digest" is not sha256:`},
		"UpperDigest": {"Registries compare bytes.", `{"name":"cc","digest":"sha256:` + strings.Repeat("AB", 32) + `"}`, "is not sha256:"},
		"TwoDigests":  {"The name must not bring another one.", `{"name":"cc@` + digest + `","digest":"` + digest + `"}`, "is not the name of an image"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, nil)
			in := imagePackage()
			in.files = map[string]string{"image.json": tc.image}
			if tc.image == "" {
				in.files = nil
			}
			_, err := p.install(in)
			if err == nil || !strings.HasPrefix(err.Error(), "build: ") || !p.hasLogged(tc.want) {
				t.Errorf("%s\ninstall = %v; log:\n%s\nwant %q", tc.reason, err, strings.Join(p.logged(), "\n"), tc.want)
			}
		})
	}
}

func TestBuildAccepts(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"cc", "ghcr.io/org/cc", "localhost:5000/a/b-c/d__e.f", "docker.io/library/cc:v1.0_rc"} {
		p := newPeer(t, nil)
		in := imagePackage()
		in.files["image.json"] = fmt.Sprintf(`{"name":%q,"digest":%q}`, name, digest)
		if _, err := p.install(in); err != nil {
			t.Errorf("name %q: %v: %s", name, err, p.logged())
		}
	}
}

func TestRelease(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	in := imagePackage()
	for name, data := range map[string]string{
		"META-INF/statedb/couchdb/indexes/owner.json":                    "{}",
		"META-INF/statedb/couchdb/collections/private/indexes/size.json": "{}",
		"META-INF/statedb/couchdb/indexes/readme.md":                     "not an index",
		"META-INF/statedb/leveldb/indexes/x.json":                        "{}",
		"statedb/couchdb/indexes/leak.json":                              "not below META-INF",
	} {
		in.files[name] = data
	}
	durable, err := p.install(in)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"statedb/couchdb/collections/private/indexes/size.json",
		"statedb/couchdb/indexes/owner.json",
	}
	if got := files(t, filepath.Join(durable, "release")); !slices.Equal(got, want) {
		t.Errorf("release holds %v, want %v: Fabric takes indexes from nowhere else", got, want)
	}
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
