package chaincode

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// TypeImage is the package type of chaincode given as an image. The name and the content
// are fabric-builder-k8s's, so one package serves both launchers.
const TypeImage = "k8s"

// Metadata is metadata.json, the part of a package the peer itself reads.
type Metadata struct {
	Type  string `json:"type"`
	Label string `json:"label"`
}

// Image is image.json, the code of a package of TypeImage.
type Image struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// ParseImage splits "name@sha256:digest".
func ParseImage(ref string) (Image, error) {
	name, digest, ok := strings.Cut(ref, "@")
	hexDigits, isSHA := strings.CutPrefix(digest, "sha256:")
	_, err := hex.DecodeString(hexDigits)
	if !ok || name == "" || !isSHA || err != nil || len(hexDigits) != 2*sha256.Size {
		return Image{}, exit.With(fmt.Errorf("image %q is not name@sha256:<64 hexadecimal digits>", ref), exit.Invalid)
	}
	return Image{Name: name, Digest: digest}, nil
}

// Package makes the package of a chaincode given as an image. Equal input gives equal bytes.
func Package(cc *network.Chaincode) ([]byte, error) {
	if cc.Image == "" {
		return nil, exit.With(fmt.Errorf("chaincode %q has no image", cc.Name), exit.Invalid)
	}
	img, err := ParseImage(cc.Image)
	if err != nil {
		return nil, fmt.Errorf("chaincode %q: %w", cc.Name, err)
	}
	code, err := archive(file{"image.json", img})
	if err != nil {
		return nil, fmt.Errorf("packaging chaincode %q: %w", cc.Name, err)
	}
	pkg, err := archive(file{"metadata.json", Metadata{TypeImage, cc.Label()}}, file{"code.tar.gz", code})
	if err != nil {
		return nil, fmt.Errorf("packaging chaincode %q: %w", cc.Name, err)
	}
	return pkg, nil
}

// PackageID is the id the peer gives to a package: its label and the hash of its bytes.
func PackageID(label string, pkg []byte) string {
	return fmt.Sprintf("%s:%x", label, sha256.Sum256(pkg))
}

// Label is the label part of a package id.
func Label(packageID string) string {
	label, _, _ := strings.Cut(packageID, ":")
	return label
}

type file struct {
	name    string
	content any // []byte as it is, anything else as JSON
}

// archive writes a gzipped tar in which nothing depends on time, user or machine.
// The data are stored, not compressed: a later Go release may compress differently, which
// would give the same chaincode a new package id.
func archive(files ...file) ([]byte, error) {
	var buf bytes.Buffer
	z, err := gzip.NewWriterLevel(&buf, gzip.NoCompression)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(z)
	for _, f := range files {
		data, ok := f.content.([]byte)
		if !ok {
			if data, err = json.Marshal(f.content); err != nil {
				return nil, err
			}
		}
		// Year 1980 and USTAR: what every tar reader takes, Fabric's included.
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Size: int64(len(data)), Mode: 0o644,
			ModTime: time.Unix(315532800, 0), Format: tar.FormatUSTAR}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
