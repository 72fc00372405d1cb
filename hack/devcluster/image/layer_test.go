package image

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func TestWriteLayer(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for name, mode := range map[string]os.FileMode{"bin/tool": 0o755, "etc/Főtanúsítvány.crt": 0o600, "doc/big": 0o644} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(
		os.Chmod(filepath.Join(root, "bin/tool"), 0o755|os.ModeSetuid),
		os.Symlink("bin", filepath.Join(root, "sbin")),
		syscall.Mkfifo(filepath.Join(root, "bin/pipe"), 0o600),
		os.Mkdir(filepath.Join(root, "tmp"), 0o755), os.Chmod(filepath.Join(root, "tmp"), 0o777|os.ModeSticky),
	); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	err := WriteLayer(dir,
		Tree{Dir: root, Skip: func(rel string) bool { return rel == "doc" }},
		Tree{Dir: filepath.Join(root, "bin"), Path: "/usr/bin", Skip: func(rel string) bool { return rel == "pipe" }})
	if err != nil {
		t.Fatal(err)
	}
	layer, err := openLayer(dir)
	if err != nil {
		t.Fatal(err)
	}
	for form, open := range map[v1.Hash]func() (io.ReadCloser, error){layer.info.Digest: layer.Compressed, layer.info.DiffID: layer.Uncompressed} {
		r, err := open()
		if err != nil {
			t.Fatal(err)
		}
		hash, size, err := v1.SHA256(r)
		if err != nil || hash != form {
			t.Errorf("a form of the layer hashes to %s, %v; its description says %s, and no runtime would take it", hash, err, form)
		}
		if hash == layer.info.Digest && size != layer.info.Size {
			t.Errorf("the layer has %d bytes, its description says %d", size, layer.info.Size)
		}
		r.Close()
	}
	type entry struct {
		Name, Link string
		Mode       int64
	}
	want := []entry{
		{"bin/", "", 0o755}, {"bin/tool", "", 0o755}, {"etc/", "", 0o755}, {"etc/Főtanúsítvány.crt", "", 0o600}, {"sbin", "bin", 0o777}, {"tmp/", "", 0o1777},
		{"usr/bin/", "", 0o755}, {"usr/bin/tool", "", 0o755},
	}
	var got []entry
	plain, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for tr := tar.NewReader(plain); ; {
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
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries: -want, +got:\n%s", diff)
	}
}

func TestBase(t *testing.T) {
	t.Parallel()
	lower, upper := t.TempDir(), t.TempDir()
	for dir, text := range map[string]string{lower: "lower", upper: "upper"} {
		tree := t.TempDir()
		write(t, filepath.Join(tree, text), text)
		if err := WriteLayer(dir, Tree{Dir: tree, Path: "/opt"}); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "x.tar")
	spec := Spec{Base: []string{lower, upper}, Files: []File{{Path: "/x", Data: []byte("x")}}}
	saved := save(t, spec, []string{"docker.io/pivt/x:1", "docker.io/pivt/x:2"}, file)
	img, err := Assemble(spec)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var diffs []v1.Hash // by which the runtime checks what it has unpacked
	var kinds []types.MediaType
	for _, l := range layers {
		kind, err := l.MediaType()
		if err != nil {
			t.Fatal(err)
		}
		diff, err := l.DiffID()
		if err != nil {
			t.Fatal(err)
		}
		kinds, diffs = append(kinds, kind), append(diffs, diff)
	}
	if diff := cmp.Diff([]types.MediaType{types.OCILayerZStd, types.OCILayerZStd, types.OCILayer}, kinds); diff != "" {
		t.Errorf("layers, the lowest first: -want, +got:\n%s", diff)
	}
	if diff := cmp.Diff(diffs, config.RootFS.DiffIDs); diff != "" {
		t.Errorf("the configuration names other layers: -want, +got:\n%s", diff)
	}
	if opened, err := Open(file); err != nil || cmp.Diff(saved, opened) != "" {
		t.Errorf("Open reads %v, %v; Save said %v", opened, err, saved)
	}
	want := []string{"docker.io/pivt/x:1", "docker.io/pivt/x:2", "docker.io/pivt/x@" + saved.Digest}
	if diff := cmp.Diff(want, saved.Names); diff != "" {
		t.Errorf("two tags have one name by digest: -want, +got:\n%s", diff)
	}

	if _, err := Assemble(Spec{Base: []string{t.TempDir()}}); err == nil || !strings.Contains(err.Error(), layerInfoFile) {
		t.Errorf("a base that is none: got %v, want the file that is missing", err)
	}
}
