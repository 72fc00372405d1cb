package chaincode

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// The package types that are not a language.
const (
	// TypeImage is chaincode given as an image. The name and the content are
	// fabric-builder-k8s's, so one package serves both launchers.
	TypeImage = "k8s"
	// TypeService is a chaincode server. The name and the content are those of Fabric's own
	// builder for chaincode as a service.
	TypeService = "ccaas"
)

// The files of a package.
const (
	metadataFile   = "metadata.json"
	codeFile       = "code.tar.gz"
	imageFile      = "image.json"
	connectionFile = "connection.json"
)

// Metadata is metadata.json, the part of a package the peer itself reads.
type Metadata struct {
	Path  string `json:"path,omitempty"` // of a Go main package
	Type  string `json:"type"`
	Label string `json:"label"`
}

// Image is image.json, the code of a package of TypeImage.
type Image struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// String gives the image as the files write it.
func (i Image) String() string { return i.Name + "@" + i.Digest }

// Connection is connection.json, the code of a package of TypeService. Ours carry no key and
// no certificate: the launcher fills in the peer's own.
type Connection struct {
	Address            string  `json:"address"`
	Domain             string  `json:"domain,omitempty"`
	DialTimeout        Timeout `json:"dial_timeout,omitempty"`
	TLSRequired        bool    `json:"tls_required"`
	ClientAuthRequired bool    `json:"client_auth_required"`
	ClientKey          string  `json:"client_key,omitempty"`
	ClientCert         string  `json:"client_cert,omitempty"`
	RootCert           string  `json:"root_cert,omitempty"`
}

// Timeout is a Go duration as text.
type Timeout string

// UnmarshalJSON takes nanoseconds too, as peers do.
func (t *Timeout) UnmarshalJSON(data []byte) error {
	var n float64
	if json.Unmarshal(data, &n) == nil {
		*t = Timeout(time.Duration(n).String())
		return nil
	}
	return json.Unmarshal(data, (*string)(t))
}

// dialTimeout is how long a peer tries to reach a chaincode server whose pod may just start.
const dialTimeout = "10s"

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

// Package makes the package of a chaincode given as an image or a service, for one
// organisation. Equal input gives equal bytes. Images and servers that others run have the
// same package in every organisation; servers that pivt runs have one each.
func Package(cc *network.Chaincode, o *network.Org) ([]byte, error) {
	var kind string
	var code file
	switch {
	case cc.Image != "":
		img, err := ParseImage(cc.Image)
		if err != nil {
			return nil, fmt.Errorf("chaincode %q: %w", cc.Name, err)
		}
		kind, code = TypeImage, file{imageFile, img}
	case cc.Service != nil:
		kind, code = TypeService, file{connectionFile, connection(cc, o)}
	default:
		return nil, exit.With(fmt.Errorf("chaincode %q has no image and no service", cc.Name), exit.Invalid)
	}
	inner, err := archive(code)
	if err != nil {
		return nil, fmt.Errorf("packaging chaincode %q: %w", cc.Name, err)
	}
	pkg, err := archive(file{metadataFile, Metadata{Type: kind, Label: cc.Label()}}, file{codeFile, inner})
	if err != nil {
		return nil, fmt.Errorf("packaging chaincode %q: %w", cc.Name, err)
	}
	return pkg, nil
}

func connection(cc *network.Chaincode, o *network.Org) Connection {
	s := cc.Service
	c := Connection{
		Address:            s.Address,
		DialTimeout:        dialTimeout,
		TLSRequired:        s.TLS == network.ServerTLS || s.TLS == network.MutualTLS,
		ClientAuthRequired: s.TLS == network.MutualTLS,
	}
	if s.Image != "" {
		c.Address = net.JoinHostPort(o.ChaincodeService(cc), strconv.Itoa(s.Port))
	}
	return c
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
