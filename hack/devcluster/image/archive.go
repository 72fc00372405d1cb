package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// nameAnnotation is where containerd looks for the name of an image in an archive.
const nameAnnotation = "io.containerd.image.name"

// Info says what an archive holds.
type Info struct {
	Digest string   // of the manifest
	Names  []string // every reference the archive is imported under, by tag and by digest
	Size   int64    // of the compressed layers, what a pull would cost
}

// ByDigest is name@digest for the first name.
func (i Info) ByDigest() string { return digestName(i.Names[0], i.Digest) }

// Save writes the image as an OCI archive. It carries every name, and every name's repository with the digest instead of the tag, so that a
// pod that asks for either finds the image on its node and no registry is asked.
func Save(img v1.Image, names []string, file string) (Info, error) {
	manifest, err := img.RawManifest()
	if err != nil {
		return Info{}, fmt.Errorf("encoding the manifest: %w", err)
	}
	digest, err := img.Digest()
	if err != nil {
		return Info{}, fmt.Errorf("hashing the manifest: %w", err)
	}
	info := Info{Digest: digest.String()}
	info.Names = append(info.Names, names...)
	for _, n := range names {
		// Two tags of one repository have one name by digest.
		if n = digestName(n, info.Digest); !slices.Contains(info.Names, n) {
			info.Names = append(info.Names, n)
		}
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for _, n := range info.Names {
		index.Manifests = append(index.Manifests, v1.Descriptor{
			MediaType:   types.OCIManifestSchema1,
			Size:        int64(len(manifest)),
			Digest:      digest,
			Annotations: map[string]string{nameAnnotation: n},
		})
	}

	tmp := file + ".tmp"
	out, err := os.Create(tmp)
	if err != nil {
		return Info{}, fmt.Errorf("creating the archive: %w", err)
	}
	defer os.Remove(tmp)
	defer out.Close()
	w := archiveWriter{tar: tar.NewWriter(out)}
	w.json("oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"})
	w.json("index.json", index)
	w.blob(digest, int64(len(manifest)), bytes.NewReader(manifest))
	if info.Size, err = w.content(img); err != nil {
		return Info{}, err
	}
	if err := w.close(); err != nil {
		return Info{}, fmt.Errorf("writing %s: %w", file, err)
	}
	if err := out.Close(); err != nil {
		return Info{}, fmt.Errorf("writing %s: %w", file, err)
	}
	if err := os.Rename(tmp, file); err != nil {
		return Info{}, fmt.Errorf("writing %s: %w", file, err)
	}
	return info, nil
}

// archiveWriter remembers the first error, so that a sequence of writes reads as one.
type archiveWriter struct {
	tar *tar.Writer
	err error
}

func (w *archiveWriter) json(name string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		w.err = err
		return
	}
	w.file(name, int64(len(b)), bytes.NewReader(b))
}

func (w *archiveWriter) blob(h v1.Hash, size int64, r io.Reader) {
	w.file(blobName(h), size, r)
}

func (w *archiveWriter) file(name string, size int64, r io.Reader) {
	if w.err != nil {
		return
	}
	w.err = w.tar.WriteHeader(&tar.Header{
		Name: name, Size: size, Mode: 0o644, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR, ModTime: time.Unix(0, 0),
	})
	if w.err == nil {
		_, w.err = io.Copy(w.tar, r)
	}
}

// content writes the configuration and the layers and returns the size of the layers.
func (w *archiveWriter) content(img v1.Image) (int64, error) {
	config, err := img.RawConfigFile()
	if err != nil {
		return 0, fmt.Errorf("encoding the configuration: %w", err)
	}
	name, err := img.ConfigName()
	if err != nil {
		return 0, fmt.Errorf("hashing the configuration: %w", err)
	}
	w.blob(name, int64(len(config)), bytes.NewReader(config))
	layers, err := img.Layers()
	if err != nil {
		return 0, fmt.Errorf("listing the layers: %w", err)
	}
	var total int64
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			return 0, fmt.Errorf("hashing a layer: %w", err)
		}
		size, err := l.Size()
		if err != nil {
			return 0, fmt.Errorf("measuring layer %s: %w", digest, err)
		}
		r, err := l.Compressed()
		if err != nil {
			return 0, fmt.Errorf("reading layer %s: %w", digest, err)
		}
		w.blob(digest, size, r)
		r.Close()
		total += size
	}
	return total, nil
}

func (w *archiveWriter) close() error {
	if w.err != nil {
		return w.err
	}
	return w.tar.Close()
}

// digestName replaces the tag of a reference by a digest.
func digestName(name, digest string) string {
	slash := strings.LastIndex(name, "/")
	if colon := strings.LastIndex(name, ":"); colon > slash {
		name = name[:colon]
	}
	return name + "@" + digest
}

// Build assembles the image and saves it under the names of the spec.
func Build(s Spec, file string) (Info, error) {
	if len(s.Names) == 0 {
		return Info{}, errors.New("an image needs a name")
	}
	img, err := Assemble(s)
	if err != nil {
		return Info{}, fmt.Errorf("assembling %s: %w", s.Names[0], err)
	}
	info, err := Save(img, s.Names, file)
	if err != nil {
		return Info{}, fmt.Errorf("saving %s: %w", s.Names[0], err)
	}
	return info, nil
}

// Open reads back what an archive holds.
func Open(file string) (Info, error) {
	f, err := os.Open(file)
	if err != nil {
		return Info{}, fmt.Errorf("opening the archive: %w", err)
	}
	defer f.Close()
	var index v1.IndexManifest
	var info Info
	// Save writes the index and the manifest before everything large.
	for tr := tar.NewReader(f); info.Size == 0; {
		h, err := tr.Next()
		if err != nil {
			return Info{}, fmt.Errorf("reading %s: no image found: %w", file, err)
		}
		switch {
		case h.Name == "index.json":
			if err := json.NewDecoder(tr).Decode(&index); err != nil {
				return Info{}, fmt.Errorf("reading the index of %s: %w", file, err)
			}
			for _, m := range index.Manifests {
				info.Digest = m.Digest.String()
				info.Names = append(info.Names, m.Annotations[nameAnnotation])
			}
		case len(index.Manifests) > 0 && h.Name == blobName(index.Manifests[0].Digest):
			manifest, err := v1.ParseManifest(tr)
			if err != nil {
				return Info{}, fmt.Errorf("reading the manifest of %s: %w", file, err)
			}
			for _, l := range manifest.Layers {
				info.Size += l.Size
			}
		}
	}
	return info, nil
}

func blobName(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }
