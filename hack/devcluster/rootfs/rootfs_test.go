package rootfs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKey(t *testing.T) {
	t.Parallel()
	base := key([]string{"bookworm", "gcc"})
	if again := key([]string{"bookworm", "gcc"}); again != base {
		t.Errorf("keys of one request: %s and %s; it would be made on every run", base, again)
	}
	for _, other := range [][]string{{"trixie", "gcc"}, {"bookworm"}, {"bookwormgcc"}} {
		if key(other) == base {
			t.Errorf("%q has the key of another request", other)
		}
	}
}

func TestSkips(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		skip   func(string) bool
		path   string
		want   bool
	}{
		"Documentation":  {"Nobody reads it in a container.", skipDebian, "usr/share/doc/gcc", true},
		"EmptyDirectory": {"Programs expect the directory itself.", skipDebian, "usr/share/doc", false},
		"Device":         {"The runtime mounts its own.", skipDebian, "dev/null", true},
		"MachinesName":   {"It is that of the machine that made the layer.", skipDebian, "etc/hostname", true},
		"OtherName":      {"A longer name is another file.", skipDebian, "etc/hosts.allow", false},
		"Certificates":   {"Without them no https.", skipDebian, "etc/ssl/certs/ca-certificates.crt", false},
		"GoTests":        {"A third of the toolchain tests itself.", skipGo, "src/fmt/fmt_test.go", true},
		"GoTestdata":     {"The same.", skipGo, "src/go/build/testdata", true},
		"GoSource":       {"The standard library is compiled anew in every pod.", skipGo, "src/fmt/print.go", false},
		"GoTools":        {"The compiler.", skipGo, "pkg/tool/linux_amd64/compile", false},
		"GoTestProgram":  {"Only the directory at the top holds Go's own tests.", skipGo, "src/cmd/test", false},
		"GoTestDir":      {"That one.", skipGo, "test", true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tc.skip(tc.path); got != tc.want {
				t.Errorf("%s\n%s: got %v, want %v", tc.reason, tc.path, got, tc.want)
			}
		})
	}
}

func TestMirror(t *testing.T) {
	t.Parallel()
	targets := "bookworm-updates main http://updates\nbookworm contrib http://contrib\nbookworm main http://mirror/debian\n"
	if got := mirrorOf(targets); got != "http://mirror/debian" {
		t.Errorf("got %q, want where apt takes the main packages of this release from", got)
	}
	if got := mirrorOf("noble main http://ubuntu\n"); got != "" {
		t.Errorf("got %q of another distribution", got)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	data := []byte("package")
	sum := sha512.Sum512(data)
	good := "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
	if err := verify(data, good); err != nil {
		t.Errorf("the right bytes are refused: %v", err)
	}
	if err := verify([]byte("Package"), good); err == nil {
		t.Error("other bytes than those that were pinned are taken")
	}
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "npm")
	packed := pack(t, map[string]string{"package/bin/npm-cli.js": "#!/usr/bin/env node", "package/package.json": "{}"})
	if err := unpack(packed, dir); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "bin/npm-cli.js"))
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the program is %v, %v; want mode 0755, as every user runs it", info, err)
	}
	for _, name := range []string{"package/../../x", "package//etc/x", "x"} {
		if err := unpack(pack(t, map[string]string{name: "x"}), filepath.Join(t.TempDir(), "npm")); err == nil || !strings.Contains(err.Error(), "outside") {
			t.Errorf("%q: got %v, want a refusal", name, err)
		}
	}
	if err := unpack([]byte("text"), dir); err == nil {
		t.Error("what is no archive is taken")
	}
}

func pack(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	tw := tar.NewWriter(zw)
	for name, text := range files {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
