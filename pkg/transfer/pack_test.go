package transfer

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree is a directory in words: "name mode content", "name -> target", "name/".
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			out = append(out, fmt.Sprintf("%s/ %o", name, info.Mode().Perm()))
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			out = append(out, name+" -> "+target)
		default:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			out = append(out, fmt.Sprintf("%s %o %s", name, uint32(info.Mode().Perm())|uint32(info.Mode()&fs.ModeSetuid), data))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// plant makes a tree with one of everything that is allowed.
func plant(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string]string{
		"src/main.go":                     "package main\n",
		"src/empty":                       "",
		"src/bin/tool":                    "#!/bin/sh\n",
		"src/" + strings.Repeat("n", 255): "long",
		strings.Repeat("deep/", 40) + "x": "deep",
		"ünïcode/日本 語\n":                  "odd",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o600)
		if strings.HasPrefix(data, "#!") {
			mode = 0o700
		}
		if err := os.WriteFile(path, []byte(data), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"src/bin/link": "tool", "up": "src/../src/main.go", "src/bin/dir": "../../ünïcode", "nowhere": "missing",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// planted is what arrives of it.
func planted(t testing.TB, dir string) []string {
	t.Helper()
	out := tree(t, dir)
	for i, line := range out {
		line = strings.Replace(line, " 600 ", " 644 ", 1)
		out[i] = strings.Replace(line, " 700 ", " 755 ", 1)
	}
	return out
}

func TestPackUnpack(t *testing.T) {
	t.Parallel()
	from, to := plant(t), t.TempDir()
	var a, b bytes.Buffer
	sum, err := Pack(&a, from)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Pack(&b, from)
	if err != nil || sum != again || !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Errorf("packed twice, the tree makes %s and %s (%v)", sum, again, err)
	}
	if err := Unpack(&a, to, Limits{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(planted(t, from), tree(t, to)); diff != "" {
		t.Errorf("-sent, +arrived:\n%s", diff)
	}
}

func TestPackRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	var no *RefusedError
	if _, err := Pack(io.Discard, dir); !errors.As(err, &no) || no.Text != `"pipe" is neither file, directory nor link` {
		t.Errorf("Pack with a pipe, which would wait for ever: %v", err)
	}
	if _, err := Pack(io.Discard, filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Pack of nothing: %v", err)
	}
}

// archive writes a tar that nobody has checked.
func archive(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range entries {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeReg && h.Size == 0 {
			h.Size = 1
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	dir := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name + "/"} }
	file := func(name string) tar.Header { return tar.Header{Name: name} }
	link := func(name, to string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
	}
	many := func(n int) (out []tar.Header) {
		for i := range n {
			out = append(out, file(fmt.Sprint(i)))
		}
		return out
	}
	cases := map[string]struct {
		reason  string
		entries []tar.Header
		want    string
	}{
		"Parent":       {"The oldest trick.", []tar.Header{file("../x")}, `"../x" is no path inside a tree`},
		"Inside":       {"Nor hidden behind a directory.", []tar.Header{dir("a"), file("a/../../x")}, "is no path inside a tree"},
		"Absolute":     {"A tree has no root but its own.", []tar.Header{file("/etc/passwd")}, "is no path inside a tree"},
		"Dot":          {"One spelling per name.", []tar.Header{dir("a"), file("a/./x")}, "is no path inside a tree"},
		"Self":         {"The directory itself is not for the tree to change.", []tar.Header{dir(".")}, "is no path inside a tree"},
		"NoDirectory":  {"Every directory is named before what is in it.", []tar.Header{file("a/x")}, "is in no directory of the tree"},
		"LongName":     {"No file system holds it.", []tar.Header{file(strings.Repeat("n", 256))}, "has a name of 256 characters"},
		"LongPath":     {"Nor this one.", []tar.Header{file(strings.Repeat("n/", 2100) + "x")}, "has 4201 characters"},
		"Twice":        {"The second would replace the first, or its end.", []tar.Header{file("x"), file("x")}, `"x" is in the tree twice`},
		"TwiceDir":     {"Also directories.", []tar.Header{dir("x"), dir("x")}, "is in the tree twice"},
		"FileThenDir":  {"A file cannot have files in it.", []tar.Header{file("x"), file("x/y")}, "is in no directory of the tree"},
		"FileDir":      {"A name is one thing.", []tar.Header{file("x"), dir("x")}, "is in the tree twice"},
		"FileLink":     {"Also when the other is a link, which is made last.", []tar.Header{file("x"), link("x", "y")}, "is in the tree twice"},
		"Through":      {"A file written through a link lands where the link leads.", []tar.Header{dir("d"), link("l", "d"), file("l/x")}, "is in no directory of the tree"},
		"LinkOut":      {"A link that leaves is read by whoever copies the tree.", []tar.Header{link("l", "../x")}, `"l" is a link that leaves the tree, to "../x"`},
		"LinkAbsolute": {"Also to /proc.", []tar.Header{link("l", "/proc/self/environ")}, "leaves the tree"},
		"LinkNowhere":  {"An empty target means nothing.", []tar.Header{link("l", "")}, "leaves the tree"},
		"LinkChain": {
			"Each of these is inside by its name; together they are not.",
			[]tar.Header{dir("a"), dir("a/b"), link("a/b/top", "../.."), link("a/b/out", "top/../x")},
			`"a/b/out" is a link that leaves the tree or leads to itself, to "top/../x"`,
		},
		"LinkLoop":  {"Who follows it never ends.", []tar.Header{link("a", "b"), link("b", "a")}, "leads to itself"},
		"HardLink":  {"We make none.", []tar.Header{file("x"), {Typeflag: tar.TypeLink, Name: "y", Linkname: "x"}}, "is a hard link"},
		"HardOut":   {"Others make them to outside.", []tar.Header{{Typeflag: tar.TypeLink, Name: "y", Linkname: "/etc/shadow"}}, "is a hard link"},
		"Device":    {"Reading it may do anything.", []tar.Header{{Typeflag: tar.TypeBlock, Name: "sda", Devmajor: 8}}, "is a device or a pipe"},
		"Character": {"The same.", []tar.Header{{Typeflag: tar.TypeChar, Name: "zero", Devmajor: 1}}, "is a device or a pipe"},
		"Pipe":      {"Reading it never ends.", []tar.Header{{Typeflag: tar.TypeFifo, Name: "pipe"}}, "is a device or a pipe"},
		"Large":     {"A file may claim any size.", []tar.Header{{Name: "x", Size: 1001}}, "the tree is larger than 1000 bytes"},
		"Sum":       {"Many small files are a large one.", []tar.Header{{Name: "x", Size: 600}, {Name: "y", Size: 600}}, "the tree is larger than 1000 bytes"},
		"Many":      {"Empty files cost inodes.", many(11), "the tree has more than 10 entries"},
		"Global":    {"What git archive writes.", []tar.Header{{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}}, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outer := t.TempDir()
			inner := filepath.Join(outer, "in")
			if err := os.Mkdir(inner, 0o755); err != nil {
				t.Fatal(err)
			}
			err := Unpack(bytes.NewReader(archive(t, tc.entries...)), inner, Limits{Bytes: 1000, Entries: 10})
			var no *RefusedError
			if !errors.As(err, &no) || !strings.Contains(no.Text, tc.want) {
				t.Errorf("%s\nUnpack = %v, want a refusal: %s", tc.reason, err, tc.want)
			}
			contained(t, outer)
		})
	}
}

// contained fails if anything got out of outer/in, or is in it that must not be.
func contained(t testing.TB, outer string) {
	t.Helper()
	entries, err := os.ReadDir(outer)
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the tree: %v, %v", entries, err)
	}
	err = filepath.WalkDir(filepath.Join(outer, "in"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if t := d.Type(); t != 0 && t != fs.ModeDir && t != fs.ModeSymlink {
			return fmt.Errorf("%s is a %s", path, t)
		}
		if m := info.Mode(); m&(fs.ModeSetuid|fs.ModeSticky) != 0 || d.Type() != fs.ModeSymlink && m.Perm() != 0o755 && m.Perm() != 0o644 {
			return fmt.Errorf("%s has mode %s", path, m)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestUnpackModes(t *testing.T) {
	t.Parallel()
	outer := t.TempDir()
	inner := filepath.Join(outer, "in")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	data := archive(t, tar.Header{Name: "suid", Mode: 0o6755, Uid: 0}, tar.Header{Name: "closed", Mode: 0}, tar.Header{Name: "open", Mode: 0o666},
		tar.Header{Typeflag: tar.TypeDir, Name: "sticky/", Mode: 0o1777})
	if err := Unpack(bytes.NewReader(data), inner, Limits{}); err != nil {
		t.Fatal(err)
	}
	want := []string{"closed 644 x", "open 644 x", "sticky/ 755", "suid 755 x"}
	if diff := cmp.Diff(want, tree(t, inner)); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
}

// TestUnpackBombs are streams that no tool would write.
func TestUnpackBombs(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		stream func(t *testing.T) io.Reader
		want   string
	}{
		"Headers": {
			"Extended headers without a file after them never come to an entry that could be counted.",
			func(t *testing.T) io.Reader {
				one := archive(t, tar.Header{Name: "n", PAXRecords: map[string]string{"VENDOR.x": strings.Repeat("y", 9000)}})
				const file = 512 + 512 + 2*512 // the file, its content, the end
				return &forever{data: one[:len(one)-file]}
			},
			"more in it than names and files",
		},
		"Zeros": {
			"What follows the end of a tar is read for its digest, but not without end.",
			func(*testing.T) io.Reader { return &forever{data: make([]byte, 4096)} },
			"more in it than names and files",
		},
		"Sparse": {
			"A file of holes is small on the way and large on the disk.",
			func(t *testing.T) io.Reader {
				var out bytes.Buffer
				out.Write(sparse(t))
				return &out
			},
			"sparse",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var no *RefusedError
			if err := Unpack(tc.stream(t), t.TempDir(), Limits{Bytes: 1 << 20, Entries: 100}); !errors.As(err, &no) || !strings.Contains(no.Text, tc.want) {
				t.Errorf("%s\nUnpack = %v, want a refusal: %s", tc.reason, err, tc.want)
			}
		})
	}
}

// forever repeats its data without end.
type forever struct {
	data []byte
	at   int
}

func (f *forever) Read(b []byte) (int, error) {
	n := copy(b, f.data[f.at:])
	f.at = (f.at + n) % len(f.data)
	return n, nil
}

// sparse is one file of a terabyte without content. The standard library writes none: the
// extended header is made under another key and renamed in place.
func sparse(t *testing.T) []byte {
	t.Helper()
	data := archive(t, tar.Header{Name: "x", Size: 1, PAXRecords: map[string]string{
		"GNU_sparse.major": "0", "GNU_sparse.minor": "1", "GNU_sparse.realsize": "1099511627776", "GNU_sparse.numblocks": "0", "GNU_sparse.map": "",
	}})
	return bytes.ReplaceAll(data, []byte("GNU_sparse"), []byte("GNU.sparse"))
}

func TestUnpackTruncated(t *testing.T) {
	t.Parallel()
	var whole bytes.Buffer
	if _, err := Pack(&whole, plant(t)); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < whole.Len(); n += 500 {
		var broken *brokenError
		if err := Unpack(bytes.NewReader(whole.Bytes()[:n]), t.TempDir(), Limits{}); !errors.As(err, &broken) {
			t.Fatalf("Unpack of %d of %d bytes = %v, want that it is not all", n, whole.Len(), err)
		}
	}
}

// FuzzUnpack: whatever comes, nothing gets out and nothing stays that must not.
func FuzzUnpack(f *testing.F) {
	// Small ones: the fuzzer looks longest at what it can make no smaller.
	f.Add(archive(f, tar.Header{Typeflag: tar.TypeDir, Name: "d/"}, tar.Header{Name: "d/x", Mode: 0o755},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "d/l", Linkname: "../d/x"}))
	f.Add(archive(f, tar.Header{Name: strings.Repeat("n", 200), PAXRecords: map[string]string{"VENDOR.x": "y"}}))
	f.Add(archive(f, tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: ".."}, tar.Header{Name: "l/x"}))
	f.Add(archive(f, tar.Header{Typeflag: tar.TypeDir, Name: "d/"}, tar.Header{Typeflag: tar.TypeLink, Name: "d/y", Linkname: "../../x"}))
	f.Add(archive(f, tar.Header{Name: "../x", Mode: 0o7777}))
	f.Fuzz(func(t *testing.T, data []byte) {
		outer := t.TempDir()
		inner := filepath.Join(outer, "in")
		if err := os.Mkdir(inner, 0o755); err != nil {
			t.Fatal(err)
		}
		err := Unpack(bytes.NewReader(data), inner, Limits{Bytes: 1 << 16, Entries: 100})
		contained(t, outer)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if _, err := Pack(&out, inner); err != nil {
			t.Fatalf("what was unpacked does not pack: %v", err)
		}
		if err := Unpack(&out, t.TempDir(), Limits{Bytes: 1 << 16, Entries: 100}); err != nil {
			t.Fatalf("what was packed does not unpack: %v", err)
		}
	})
}
