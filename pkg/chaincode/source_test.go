package chaincode_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	sdk "github.com/hyperledger/fabric-admin-sdk/pkg/chaincode"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

const (
	goMain  = "package main\n\nfunc main() {}\n"
	goMod   = "module example.com/cc\n\ngo 1.21\n"
	start   = `{"scripts": {"start": "fabric-chaincode-node start"}}`
	anIndex = `{"index": {"fields": ["docType", {"owner": "desc"}]}, "ddoc": "indexOwnerDoc", "name": "indexOwner", "type": "json"}`
	indexes = "META-INF/statedb/couchdb/indexes/"
)

func source(language, path string) *network.Chaincode {
	return &network.Chaincode{Name: "basic", Version: "1.0", Source: "./cc", Language: language, Path: path}
}

// tree makes a file system of names and contents.
func tree(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, content := range files {
		m[name] = &fstest.MapFile{Data: []byte(content), Mode: 0o644}
	}
	return m
}

// unpack reads a package as Fabric does: its own parser for the outside, and the rules of
// core/container/externalbuilder/tar.go for the code.
func unpack(t *testing.T, pkg []byte) (meta string, files map[string]string, headers []*tar.Header) {
	t.Helper()
	if _, _, err := sdk.ParseChaincodePackage(pkg); err != nil {
		t.Fatal(err)
	}
	meta = content(t, pkg, "metadata.json")
	z, err := gzip.NewReader(strings.NewReader(content(t, pkg, "code.tar.gz")))
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		headers = append(headers, h)
		clean := filepath.Clean(h.Name)
		if filepath.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") {
			t.Errorf("Fabric would refuse the path %q", h.Name)
		}
		switch h.Typeflag {
		case tar.TypeDir:
		case tar.TypeReg:
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if _, twice := files[h.Name]; twice {
				t.Errorf("%s is there twice", h.Name)
			}
			files[h.Name] = string(data)
		default:
			t.Errorf("Fabric would refuse %q of type %c", h.Name, h.Typeflag)
		}
	}
	return meta, files, headers
}

func names(files map[string]string) string {
	var all []string
	for name := range files {
		all = append(all, name)
	}
	sort.Strings(all)
	return strings.Join(all, " ")
}

func TestPackageSource(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason         string
		language, path string
		files          map[string]string
		want, wantPath string
	}{
		"Module": {
			reason: "The usual Go chaincode: a module with main at its root. Hidden directories and editors' files stay at home.", language: "golang",
			files: map[string]string{
				"go.mod": goMod, "go.sum": "", "main.go": goMain, "sub/a.go": "package sub\n", ".golangci.yml": "x", ".git/HEAD": "x", ".idea/x": "x",
				".cache/a.go": "x", "main.go~": "x", indexes + "a.json": anIndex, "sub/META-INF/x": "stays with the source",
			},
			want: "META-INF/statedb/couchdb/indexes/a.json src/.golangci.yml src/go.mod src/go.sum src/main.go src/sub/META-INF/x src/sub/a.go", wantPath: ".",
		},
		"Vendored": {
			reason: "Vendored modules need no network in the build.", language: "golang",
			files: map[string]string{"go.mod": goMod + "replace example.com/x => ../x\n", "main.go": goMain, "vendor/modules.txt": "x", "vendor/example.com/x/x.go": "package x\n"},
			want:  "src/go.mod src/main.go src/vendor/example.com/x/x.go src/vendor/modules.txt", wantPath: ".",
		},
		"MainBelow": {
			reason: "The main package is below the module's root, with its indexes beside it as in Fabric.", language: "golang", path: "cmd/cc",
			files: map[string]string{"go.mod": goMod, "lib.go": "package cc\n", "cmd/cc/main.go": goMain, "cmd/cc/" + indexes + "a.json": anIndex, "META-INF/LICENSE": "x"},
			want:  "META-INF/statedb/couchdb/indexes/a.json src/META-INF/LICENSE src/cmd/cc/main.go src/go.mod src/lib.go", wantPath: "./cmd/cc",
		},
		"IndexesAtRoot": {
			reason: "Indexes at the root count too, if there are none beside the main package; Fabric would lose them.", language: "golang", path: "cmd",
			files: map[string]string{"go.mod": goMod, "cmd/main.go": goMain, indexes + "a.json": anIndex},
			want:  "META-INF/statedb/couchdb/indexes/a.json src/cmd/main.go src/go.mod", wantPath: "./cmd",
		},
		"ModuleBelow": {
			reason: "A module below the source finds another beside it.", language: "golang", path: "cc",
			files: map[string]string{
				"cc/go.mod": goMod + "replace (\n\texample.com/shared v1.0.0 => ../shared // ours\n\tx => y v1.2.3\n)\n", "cc/main.go": goMain, "shared/go.mod": "module example.com/shared\n",
				"cc/" + indexes + "a.json": anIndex,
			},
			want: "META-INF/statedb/couchdb/indexes/a.json src/cc/go.mod src/cc/main.go src/shared/go.mod", wantPath: "cc",
		},
		"Gopath": {
			reason: "Before modules: the source is what is below GOPATH/src, the path an import path.", language: "golang", path: "github.com/org/cc",
			files: map[string]string{"github.com/org/cc/main.go": goMain, "github.com/org/cc/vendor/a/a.go": "package a\n", "github.com/org/lib/l.go": "package lib\n"},
			want:  "src/github.com/org/cc/main.go src/github.com/org/cc/vendor/a/a.go src/github.com/org/lib/l.go", wantPath: "github.com/org/cc",
		},
		"Workspace": {
			reason: "With a go.work a module inside a module can be built from the root.", language: "golang", path: "cc",
			files: map[string]string{"go.work": "use ./cc\n", "go.mod": goMod, "cc/go.mod": goMod, "cc/main.go": goMain},
			want:  "src/cc/go.mod src/cc/main.go src/go.mod src/go.work", wantPath: "./cc",
		},
		"Node": {
			reason: "npm fetches the modules; built files of TypeScript come along.", language: "node",
			files: map[string]string{
				"package.json": "\xef\xbb\xbf" + start, "package-lock.json": "{}", ".npmrc": "x", "lib/a.js": "x", "dist/a.js": "x", "node_modules/a/a.js": "x", "lib/node_modules/b/b.js": "x",
				indexes + "a.json": anIndex, indexes + ".DS_Store": "x", "META-INF/statedb/couchdb/collections/secret/indexes/.hidden": "x",
			},
			want: "META-INF/statedb/couchdb/indexes/a.json src/.npmrc src/dist/a.js src/lib/a.js src/package-lock.json src/package.json",
		},
		"NodeServer": {
			reason: "npm start runs server.js where there is no script.", language: "node",
			files: map[string]string{"package.json": "{}", "server.js": ""}, want: "src/package.json src/server.js",
		},
		"Gradle": {
			reason: "Build output stays at home, Java packages that are called like it do not.", language: "java",
			files: map[string]string{
				"build.gradle": "x", "gradlew": "x", "gradle/wrapper/gradle-wrapper.jar": "x", ".gradle/x": "x", "build/libs/a.jar": "x", "sub/out/a": "x",
				"src/main/java/org/build/A.java": "x", "src/main/java/org/build/A.class": "x", "src/main/resources/META-INF/x": "x", indexes + "a.json": anIndex,
			},
			want: "META-INF/statedb/couchdb/indexes/a.json src/build.gradle src/gradle/wrapper/gradle-wrapper.jar src/gradlew src/src/main/java/org/build/A.java src/src/main/resources/META-INF/x",
		},
		"Maven": {reason: "The Maven wrapper is in a hidden directory.", language: "java", files: map[string]string{"pom.xml": "x", ".mvn/wrapper/x": "x", "target/a": "x"}, want: "src/.mvn/wrapper/x src/pom.xml"},
		"Jar":   {reason: "A chaincode may be built beforehand.", language: "java", files: map[string]string{"chaincode.jar": "x"}, want: "src/chaincode.jar"},
		"Ignored": {
			reason: "The user's own patterns come last and so win.", language: "node",
			files: map[string]string{
				".pivtignore":  "# tests and docs\r\n/test\n*.md\n!README.md\ndocs/**/img/\n!node_modules/\nnode_modules/*\n!node_modules/own/\n",
				"package.json": start, "test/a.js": "x", "lib/test/a.js": "x", "README.md": "x", "NEWS.md": "x", "docs/a/img/x.png": "x", "docs/a/x.png": "x",
				"node_modules/own/a.js": "x", "node_modules/other/a.js": "x",
			},
			want: "src/README.md src/docs/a/x.png src/lib/test/a.js src/node_modules/own/a.js src/package.json",
		},
		"Names": {
			reason: "Long names and names in other scripts travel.", language: "node",
			files: map[string]string{"package.json": start, strings.Repeat("long/", 60) + "name.js": "x", "größe 1.js": "x", strings.Repeat("n", 255): "x"},
			want:  "src/größe 1.js src/" + strings.Repeat("long/", 60) + "name.js src/" + strings.Repeat("n", 255) + " src/package.json",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cc := source(tc.language, tc.path)
			pkg, err := chaincode.PackageSource(cc, tree(tc.files))
			if err != nil {
				t.Fatalf("%s\nPackageSource: %v", tc.reason, err)
			}
			meta, files, headers := unpack(t, pkg)
			want := strings.Split(tc.want, " src/")
			sort.Strings(want[1:])
			if diff := cmp.Diff(strings.Join(want, " src/"), names(files)); diff != "" {
				t.Errorf("%s\nfiles: -want, +got:\n%s", tc.reason, diff)
			}
			path := ""
			if tc.wantPath != "" {
				path = `"path":"` + tc.wantPath + `",`
			}
			if want := `{` + path + `"type":"` + tc.language + `","label":"basic_1.0"}`; meta != want {
				t.Errorf("%s\nmetadata.json = %s, want %s", tc.reason, meta, want)
			}
			for _, h := range headers {
				// What Fabric's platforms check (ValidateCodePackage), and its builder's user.
				if mode := h.Mode &^ 0o100666; h.Typeflag == tar.TypeReg && mode != 0 || h.Uid != 500 || h.Gid != 500 || h.Format == tar.FormatGNU {
					t.Errorf("%s: mode %o, user %d:%d, %s", h.Name, h.Mode, h.Uid, h.Gid, h.Format)
				}
				if h.Typeflag == tar.TypeDir && tc.language != "golang" {
					t.Errorf("%s: Fabric takes directories in Go packages only", h.Name)
				}
			}
			if c, err := chaincode.Read(pkg); err != nil || c.Metadata != (chaincode.Metadata{Path: tc.wantPath, Type: tc.language, Label: "basic_1.0"}) {
				t.Errorf("Read = %+v, %v", c, err)
			}
		})
	}
}

func TestPackageSourceRefuses(t *testing.T) {
	t.Parallel()
	module := func(more ...string) fstest.MapFS {
		m := tree(map[string]string{"go.mod": goMod, "main.go": goMain})
		for i := 0; i+1 < len(more); i += 2 {
			m[more[i]] = &fstest.MapFile{Data: []byte(more[i+1])}
		}
		return m
	}
	special := func(mode fs.FileMode) fstest.MapFS {
		m := module()
		m["sub/special"] = &fstest.MapFile{Data: []byte("../main.go"), Mode: mode}
		return m
	}
	npm := func(name, content string) fstest.MapFS {
		return tree(map[string]string{"package.json": start, name: content})
	}
	const index = "./cc/META-INF/statedb/couchdb/indexes/a.json: is not a CouchDB index: "
	cases := map[string]struct {
		reason         string
		language, path string
		files          fs.FS
		want           string
	}{
		"Symlink":       {"Fabric aborts the installation.", "golang", "", special(fs.ModeSymlink), "./cc/sub/special: is a symbolic link, and Fabric installs no package that has one; put what it points to in its place, or list it in .pivtignore"},
		"Pipe":          {"It has no end.", "golang", "", special(fs.ModeNamedPipe), "./cc/sub/special: is neither a file nor a directory; list it in .pivtignore"},
		"Newline":       {"It could not be shown in a log.", "golang", "", module("sub/a\nb", "x"), `./cc/sub: file name "a\nb" has characters that do not travel; rename it, or list it in .pivtignore`},
		"LongName":      {"A peer's file system could not hold it.", "golang", "", module(strings.Repeat("n", 256), "x"), `./cc: file name "` + strings.Repeat("n", 256) + `" is longer than 255 bytes; shorten it`},
		"Empty":         {"An empty directory may be a wrong one.", "golang", "", tree(map[string]string{".git/HEAD": "x"}), "./cc: there is nothing in it to package"},
		"NoModule":      {"The cure names what is missing.", "golang", "", tree(map[string]string{"main.go": goMain}), `./cc: has no go.mod; if it is part of a module, let source name the module's root, and path the main package below it; else make one with "go mod init", or for GOPATH code let path be the import path below source`},
		"ModuleBelow":   {"The cure names where it is.", "golang", "", tree(map[string]string{"a/cc/go.mod": goMod, "a/cc/main.go": goMain}), "./cc: has no go.mod; there is one in a/cc: write path: a/cc, or let source name that directory"},
		"NodeAsGo":      {"It is the other language.", "golang", "", npm("a.js", ""), "./cc: has no go.mod; there is a package.json: write language: node"},
		"ModuleInside":  {"Go builds no module from another.", "golang", "sub", module("sub/go.mod", goMod, "sub/main.go", goMain), "./cc/sub/go.mod: is a module inside the module of ./cc/go.mod, so it cannot be built from there; let source name ./cc/sub, without path"},
		"NoMain":        {"There is no program to build.", "golang", "", tree(map[string]string{"go.mod": goMod, "cc.go": "package cc\n", "main_test.go": goMain, "cmd/x/main.go": goMain}), "./cc: has Go files, but none of package main; write path: cmd/x"},
		"NoGoFiles":     {"Several programs cannot be told apart.", "golang", "", tree(map[string]string{"go.mod": goMod, "a/main.go": goMain, "b/main.go": goMain}), "./cc: has no Go files; let path name the directory below source that holds package main"},
		"NoSuchPath":    {"The path is wrong.", "golang", "cmd", module(), "./cc/cmd: there is no such directory; path names the directory of the main package below source"},
		"ReplaceAbove":  {"Go would look for it beside the source, in a pod.", "golang", "", module("go.mod", goMod+"replace example.com/x => ../x\n"), `./cc/go.mod: replaces a module by ../x, which is outside the source; let source name a directory that holds both, and path this one, or run "go mod vendor"`},
		"ReplaceGone":   {"And here it is not packaged.", "golang", "", module("go.mod", goMod+"replace example.com/x => ./.x\n", ".x/go.mod", goMod), "./cc/go.mod: replaces a module by ./.x, and no go.mod from there is packaged"},
		"NoPackageJSON": {"npm needs one.", "node", "", tree(map[string]string{"src/package.json": start}), "./cc: has no package.json; let source name the directory that has it"},
		"BadPackage":    {"npm would fail after the installation began.", "node", "", tree(map[string]string{"package.json": "{"}), "./cc/package.json: is not JSON that npm could read: unexpected end of JSON input"},
		"NoStart":       {"Fabric starts chaincode with npm start.", "node", "", tree(map[string]string{"package.json": "{}"}), `./cc/package.json: has no script "start", with which Fabric starts a chaincode; add "start": "fabric-chaincode-node start"`},
		"NoBuildFile":   {"A wrapper alone builds nothing.", "java", "", tree(map[string]string{"gradle/wrapper/a.jar": "x"}), "./cc: has no build.gradle, build.gradle.kts or pom.xml, and no jar; let source name the directory that has it"},
		"OddMeta":       {"Fabric's own packaging refuses it.", "node", "", npm("META-INF/a.json", anIndex), "./cc/META-INF/a.json: is not at a place Fabric knows; indexes are META-INF/statedb/couchdb/indexes/NAME.json, or …/couchdb/collections/COLLECTION/indexes/NAME.json"},
		"IndexNotJSON":  {"The peer would take it and make no index.", "node", "", npm(indexes+"a.json", "{"), index + "unexpected end of JSON input"},
		"IndexNoFields": {"So it would here.", "node", "", npm(indexes+"a.json", `{"index": {}}`), index + "fields must be a list"},
		"IndexNothing":  {"And here.", "node", "", npm(indexes+"a.json", `{"name": "x"}`), index + `it has no "index": {"fields": […]}`},
		"IndexUnknown":  {"A key is misspelt.", "node", "", npm(indexes+"a.json", `{"idnex": {}}`), index + `key "idnex" is unknown; known keys: ddoc, index, name, type`},
		"IndexInner":    {"A key is misspelt inside.", "node", "", npm(indexes+"a.json", `{"index": {"field": []}}`), index + `key "field" of index is unknown; known keys: fields, partial_filter_selector`},
		"IndexType":     {"Text indexes are not for Fabric.", "node", "", npm(indexes+"a.json", `{"index": {"fields": []}, "type": "text"}`), index + `type must be "json"`},
		"IndexName":     {"A name is text.", "node", "", npm(indexes+"a.json", `{"index": {"fields": []}, "name": 1}`), index + "name must be text"},
		"IndexSort":     {"There are two directions.", "node", "", npm(indexes+"a.json", `{"index": {"fields": [{"a": "up"}]}}`), index + `field "a" must be sorted asc or desc`},
		"IndexField":    {"A field is a name.", "node", "", npm(indexes+"a.json", `{"index": {"fields": [1]}}`), index + "a field must be text, or text with asc or desc"},
		"BadIgnore":     {"A pattern that fits nothing would go unnoticed.", "node", "", npm(".pivtignore", "a\n[b\n"), `./cc/.pivtignore:2: pattern "[b": the bracket is never closed`},
		"NoDirectory":   {"The source is misspelt.", "golang", "", os.DirFS(filepath.Join(t.TempDir(), "no")), "./cc: there is no such directory; source is relative to the file that names it"},
		"Language":      {"The loader lets no other through.", "rust", "", module(), `language "rust" is not golang, node or java`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := chaincode.PackageSource(source(tc.language, tc.path), tc.files)
			want := `packaging chaincode "basic": ` + tc.want
			if err == nil || err.Error() != want || exit.CodeOf(err) != exit.Invalid {
				t.Errorf("%s\nPackageSource: %v\nwant %s", tc.reason, err, want)
			}
		})
	}
}

func TestPackageSourceTooLarge(t *testing.T) {
	t.Parallel()
	big := fstest.MapFS{"go.mod": {Data: []byte(goMod)}, "main.go": {Data: []byte(goMain)}}
	for i := range 5 {
		big[fmt.Sprintf("data/%d", i)] = &fstest.MapFile{Data: make([]byte, 128<<20)}
	}
	_, err := chaincode.PackageSource(source("golang", ""), big)
	const want = `packaging chaincode "basic": ./cc: the files have at least 640 MiB, and the limit is 512; the largest part is data with 640 MiB: list what the build does not need in .pivtignore`
	if err == nil || err.Error() != want || exit.CodeOf(err) != exit.Invalid {
		t.Errorf("PackageSource: %v\nwant %s", err, want)
	}
}

// Package ids are stored in ledgers. If this test fails after a change here or of Go, then
// every network would see all its source chaincodes as changed.
func TestPackageSourceIsReproducible(t *testing.T) {
	// Not parallel: it changes the umask.
	files := map[string]string{
		"go.mod": goMod, "main.go": goMain, "b/b.go": "package b\n", "b/a.go": "package b\n// " + strings.Repeat("again and ", 5000) + "\n", "b-a.go": "package main\n", "ä.txt": "ä", "data.bin": noise(200_000),
	}
	write := func(order func([]string), mode, umask int, when time.Time) fs.FS {
		old := syscall.Umask(umask)
		defer syscall.Umask(old)
		dir := t.TempDir()
		var all []string
		for name := range files {
			all = append(all, name)
		}
		sort.Strings(all)
		order(all)
		for _, name := range all {
			file := filepath.Join(dir, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(files[name]), fs.FileMode(mode)); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(file, when, when); err != nil {
				t.Fatal(err)
			}
		}
		return os.DirFS(dir)
	}
	backwards := func(names []string) { sort.Sort(sort.Reverse(sort.StringSlice(names))) }
	for i, tree := range []fs.FS{
		write(sort.Strings, 0o644, 0o022, time.Unix(1e9, 0)),
		write(backwards, 0o755, 0o077, time.Now()),
		tree(files),
	} {
		pkg, err := chaincode.PackageSource(source("golang", ""), tree)
		if err != nil {
			t.Fatal(err)
		}
		const want = "basic_1.0:2e55ecfa43239399417682c9f3554d570c4e42afc6c9f6b9286abc72c24d08a4"
		if got := chaincode.PackageID("basic_1.0", pkg); got != want {
			t.Errorf("tree %d: PackageID = %s, want %s", i, got, want)
		}
	}
}

// noise is what no compressor can shorten, and the same every time.
func noise(n int) string {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x >> 32)
	}
	return string(b)
}

func TestCompression(t *testing.T) {
	t.Parallel()
	code, err := os.ReadFile("source_test.go")
	if err != nil {
		t.Fatal(err)
	}
	pkg, err := chaincode.PackageSource(source("golang", ""), tree(map[string]string{"go.mod": goMod, "main.go": goMain, "x": string(code)}))
	if err != nil {
		t.Fatal(err)
	}
	if len(pkg) > len(code)/2+4096 {
		t.Errorf("%d bytes of text make a package of %d; with modules vendored it would not fit into ConfigMaps", len(code), len(pkg))
	}
	_, files, _ := unpack(t, pkg)
	if files["src/x"] != string(code) {
		t.Error("what is compressed does not come back")
	}
}

func FuzzPackageSource(f *testing.F) {
	f.Add("src/a.js", []byte("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaabcabcabcabcabcabcabc"), "*.md")
	f.Add("x", []byte(noise(70_000)), "!x\n[a-")
	f.Add("x", bytes.Repeat([]byte("0123456789abcdef"), 9000), "**/x\n\\!a")
	f.Fuzz(func(t *testing.T, name string, data []byte, ignore string) {
		if !fs.ValidPath(name) || name == "." || strings.Contains(name, "package.json") || strings.Contains(name, ".pivtignore") {
			t.Skip()
		}
		files := fstest.MapFS{"package.json": {Data: []byte(start)}, ".pivtignore": {Data: []byte(ignore)}, name: {Data: data}}
		pkg, err := chaincode.PackageSource(source("node", ""), files)
		if err != nil {
			if exit.CodeOf(err) != exit.Invalid {
				t.Errorf("PackageSource: %v", err)
			}
			return
		}
		_, got, _ := unpack(t, pkg)
		if there, ok := got["src/"+name]; ok && there != string(data) {
			t.Errorf("%q does not come back", name)
		}
	})
}
