package image

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

// Tree is a directory of this machine that becomes part of a layer.
type Tree struct {
	Dir  string // on this machine
	Path string // in the image; "" is its root
	// Skip leaves out the entry of this path below Dir, and all below it.
	Skip func(rel string) bool
}

// layerInfo is what has to be known about a layer without reading it.
type layerInfo struct {
	Digest v1.Hash // of the file
	DiffID v1.Hash // of the tar in it
	Size   int64
}

const layerFile, layerInfoFile = "layer.tar.zst", "layer.json"

// WriteLayer makes a layer of directory trees and keeps it in a directory, for the Base of specs. Zstandard packs such
// trees as small as gzip does in a fifth of the time, and unpacks them faster than the disk takes them.
//
// Everything belongs to root and bears the date of the epoch. Set-user-id bits are dropped, since no image here may use
// them; devices, sockets and pipes are left out.
func WriteLayer(dir string, trees ...Tree) error {
	out, err := os.Create(filepath.Join(dir, layerFile))
	if err != nil {
		return fmt.Errorf("creating a layer: %w", err)
	}
	defer out.Close()
	packed, plain, size := sha256.New(), sha256.New(), new(counter)
	zw, err := zstd.NewWriter(io.MultiWriter(out, packed, size))
	if err != nil {
		return fmt.Errorf("starting the compressor: %w", err)
	}
	buffered := bufio.NewWriterSize(io.MultiWriter(zw, plain), 1<<20)
	tw := tar.NewWriter(buffered)
	for _, t := range trees {
		if err := t.add(tw); err != nil {
			return fmt.Errorf("packing %s: %w", t.Dir, err)
		}
	}
	if err := errors.Join(tw.Close(), buffered.Flush(), zw.Close(), out.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", out.Name(), err)
	}
	info, err := json.Marshal(layerInfo{Digest: sum(packed), DiffID: sum(plain), Size: int64(*size)})
	if err != nil {
		return fmt.Errorf("describing a layer: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, layerInfoFile), info, 0o644)
}

func (t Tree) add(tw *tar.Writer) error {
	return filepath.WalkDir(t.Dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(t.Dir, file)
		if err != nil {
			return err
		}
		name := path.Join(strings.TrimPrefix(t.Path, "/"), filepath.ToSlash(rel))
		if rel != "." && t.Skip != nil && t.Skip(rel) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if name == "." {
			return nil // the image's root is there without an entry
		}
		return addEntry(tw, name, file, d)
	})
}

func addEntry(tw *tar.Writer, name, file string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	// PAX where it must be: certificates in Debian have names beyond ASCII.
	h := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), ModTime: time.Unix(0, 0)}
	switch {
	case d.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
		if info.Mode()&fs.ModeSticky != 0 {
			h.Mode |= 0o1000
		}
		return tw.WriteHeader(h)
	case d.Type() == fs.ModeSymlink:
		h.Typeflag, h.Mode = tar.TypeSymlink, 0o777
		if h.Linkname, err = os.Readlink(file); err != nil {
			return err
		}
		return tw.WriteHeader(h)
	case !d.Type().IsRegular():
		return nil
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	src, err := os.Open(file)
	if err != nil {
		return err
	}
	defer src.Close()
	_, err = io.Copy(tw, src)
	return err
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func sum(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

// storedLayer is a layer that WriteLayer made.
type storedLayer struct {
	file string
	info layerInfo
}

var _ v1.Layer = (*storedLayer)(nil)

func openLayer(dir string) (*storedLayer, error) {
	text, err := os.ReadFile(filepath.Join(dir, layerInfoFile))
	if err != nil {
		return nil, fmt.Errorf("opening a layer: %w", err)
	}
	l := &storedLayer{file: filepath.Join(dir, layerFile)}
	if err := json.Unmarshal(text, &l.info); err != nil {
		return nil, fmt.Errorf("reading about the layer in %s: %w", dir, err)
	}
	return l, nil
}

func (l *storedLayer) Digest() (v1.Hash, error)            { return l.info.Digest, nil }
func (l *storedLayer) DiffID() (v1.Hash, error)            { return l.info.DiffID, nil }
func (l *storedLayer) Size() (int64, error)                { return l.info.Size, nil }
func (l *storedLayer) MediaType() (types.MediaType, error) { return types.OCILayerZStd, nil }
func (l *storedLayer) Compressed() (io.ReadCloser, error)  { return os.Open(l.file) }
func (l *storedLayer) Uncompressed() (io.ReadCloser, error) {
	f, err := os.Open(l.file)
	if err != nil {
		return nil, err
	}
	zr, err := zstd.NewReader(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return unpacking{zr.IOReadCloser(), f}, nil
}

// unpacking closes the file with the decompressor.
type unpacking struct {
	io.ReadCloser
	file io.Closer
}

func (u unpacking) Close() error { return errors.Join(u.ReadCloser.Close(), u.file.Close()) }
