package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
)

func TestSaveIsReproducible(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	write(t, program, "#!binary")
	spec := Spec{
		Files:      []File{Program("/usr/local/bin/x", program), {Path: "/etc/passwd", Data: []byte("root:x:0:0::/:\n")}, {Path: "/tmp", Dir: true, Mode: 0o1777}},
		Entrypoint: []string{"/usr/local/bin/x"},
		User:       "65532",
	}
	names := []string{"docker.io/pivt/x:1.0"}
	first := save(t, spec, names, filepath.Join(dir, "first.tar"))

	// Neither the order of the list nor the age of the file may show.
	spec.Files[0], spec.Files[2] = spec.Files[2], spec.Files[0]
	if err := os.Chtimes(program, time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
		t.Fatal(err)
	}
	second := save(t, spec, names, filepath.Join(dir, "second.tar"))
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("two assemblies of one spec differ: -first, +second:\n%s", diff)
	}
	if !bytes.Equal(read(t, filepath.Join(dir, "first.tar")), read(t, filepath.Join(dir, "second.tar"))) {
		t.Error("two archives of one spec differ")
	}

	write(t, program, "#!another")
	if third := save(t, spec, names, filepath.Join(dir, "third.tar")); third.Digest == first.Digest {
		t.Error("another program gave the same digest")
	}
}

func TestSaveNames(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "x.tar")
	info := save(t, Spec{Files: []File{{Path: "/x", Data: []byte("x")}}}, []string{"localhost:5000/pivt/x:1.0", "docker.io/pivt/x:1.0"}, file)
	want := []string{
		"localhost:5000/pivt/x:1.0", "docker.io/pivt/x:1.0",
		"localhost:5000/pivt/x@" + info.Digest, "docker.io/pivt/x@" + info.Digest,
	}
	if diff := cmp.Diff(want, info.Names); diff != "" {
		t.Errorf("names: -want, +got:\n%s", diff)
	}
	opened, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(info, opened); diff != "" {
		t.Errorf("what Open reads is not what Save said: -saved, +opened:\n%s", diff)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(member(t, file, "index.json"), &index); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range index.Manifests {
		got = append(got, m.Annotations[nameAnnotation])
		if m.Digest.String() != info.Digest {
			t.Errorf("%s: digest %s, want %s", m.Annotations[nameAnnotation], m.Digest, info.Digest)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names in the archive: -want, +got:\n%s", diff)
	}
}

func TestOpenRejects(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "text.tar"), "no archive")
	write(t, filepath.Join(dir, "empty.tar"), "")
	for _, name := range []string{"text.tar", "empty.tar", "missing.tar"} {
		if info, err := Open(filepath.Join(dir, name)); err == nil {
			t.Errorf("Open(%s): got %v, want an error: a broken archive in the cache must be made again", name, info)
		}
	}
}

func TestLayer(t *testing.T) {
	t.Parallel()
	compressed, err := layer(Spec{Files: []File{
		{Path: "/etc/fabric/core.yaml", Data: []byte("peer: {}")},
		{Path: "/bin/sh", Link: "busybox"},
		{Path: "/tmp", Dir: true, Mode: 0o1777},
	}})
	if err != nil {
		t.Fatal(err)
	}
	zr, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		t.Fatal(err)
	}
	type entry struct {
		Name, Link string
		Mode       int64
	}
	var got []entry
	tr := tar.NewReader(zr)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, entry{h.Name, h.Linkname, h.Mode})
		if h.Uid != 0 || h.Gid != 0 || !h.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s: owner %d:%d, time %s; want 0:0 and the epoch", h.Name, h.Uid, h.Gid, h.ModTime)
		}
	}
	want := []entry{
		{"bin/", "", 0o755}, {"bin/sh", "busybox", 0o777}, {"etc/", "", 0o755}, {"etc/fabric/", "", 0o755},
		{"etc/fabric/core.yaml", "", 0o644}, {"tmp/", "", 0o1777},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries: -want, +got:\n%s", diff)
	}
}

func TestEntriesRejects(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		files  []File
	}{
		"Relative":  {"A relative path would land wherever the runtime unpacks.", []File{{Path: "bin/x"}}},
		"Unclean":   {"A path with .. could leave the image's root.", []File{{Path: "/bin/../x"}}},
		"Twice":     {"Of two files with one path only the last would be seen.", []File{{Path: "/x"}, {Path: "/x"}}},
		"BelowFile": {"A file cannot hold another.", []File{{Path: "/x", Data: []byte("x")}, {Path: "/x/y"}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := (Spec{Files: tc.files}).entries(); err == nil {
				t.Errorf("%s\nentries: got %v, want an error", tc.reason, got)
			}
		})
	}
}

func save(t *testing.T, s Spec, names []string, file string) Info {
	t.Helper()
	s.Names = names
	info, err := Build(s, file)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func member(t *testing.T, file, name string) []byte {
	t.Helper()
	tr := tar.NewReader(bytes.NewReader(read(t, file)))
	for {
		h, err := tr.Next()
		if err != nil {
			t.Fatalf("looking for %s in %s: %v", name, file, err)
		}
		if h.Name == name {
			b, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
