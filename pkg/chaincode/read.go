package chaincode

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
)

// Limits of what Read unpacks. A peer takes no package of more than 100 MiB, and what Read
// looks for is a few hundred bytes.
const (
	maxRead     = 256 << 20 // bytes unpacked, all in all
	maxReadFile = 1 << 20   // of one of the files it looks for
	maxEntries  = 10_000
)

// packageLabel is Fabric's rule (core/chaincode/persistence).
var packageLabel = regexp.MustCompile(`^[[:alnum:]][[:alnum:]_.+-]*$`)

// Contents are the parts of a package that say what it is.
type Contents struct {
	Metadata   Metadata
	Image      *Image      // of a package of TypeImage
	Connection *Connection // of a package for a chaincode server
}

// Read looks into a package, whoever made it. What it returns has Fabric's form; nothing
// else about it can be trusted.
func Read(pkg []byte) (*Contents, error) {
	left := int64(maxRead)
	var c Contents
	found, code := false, false
	err := entries(bytes.NewReader(pkg), &left, func(h *tar.Header, r io.Reader) error {
		if h.Typeflag != tar.TypeReg {
			return fmt.Errorf("%q is not a regular file", h.Name)
		}
		switch h.Name {
		case metadataFile:
			found = true
			c.Metadata = Metadata{} // of two, Fabric takes the later one
			return decode(r, h.Name, &c.Metadata)
		case codeFile:
			code = true
		}
		return nil
	})
	switch {
	case err != nil:
	case !found:
		err = errors.New("there is no " + metadataFile)
	case !code:
		err = errors.New("there is no " + codeFile)
	case !packageLabel.MatchString(c.Metadata.Label):
		err = fmt.Errorf("label %q is not one Fabric takes", c.Metadata.Label)
	default:
		err = c.readCode(pkg, &left)
	}
	if err != nil {
		return nil, fmt.Errorf("reading a chaincode package: %w", err)
	}
	return &c, nil
}

// ID is the id that peers give to a package. Its own label counts, and a package that somebody
// else made is labelled as they liked.
func ID(pkg []byte) (string, error) {
	c, err := Read(pkg)
	if err != nil {
		return "", err
	}
	return PackageID(c.Metadata.Label, pkg), nil
}

// readCode reads what a package that holds no source points to.
func (c *Contents) readCode(pkg []byte, left *int64) error {
	kind := strings.ToLower(c.Metadata.Type)
	if kind != TypeImage && kind != TypeService && kind != "external" {
		return nil
	}
	return entries(bytes.NewReader(pkg), left, func(h *tar.Header, r io.Reader) error {
		if h.Name != codeFile {
			return nil
		}
		c.Image, c.Connection = nil, nil
		return entries(r, left, func(h *tar.Header, r io.Reader) error {
			if h.Typeflag != tar.TypeReg {
				return nil
			}
			switch name := path.Clean(h.Name); {
			case kind == TypeImage && name == imageFile:
				c.Image = &Image{}
				return decode(r, name, c.Image)
			case kind != TypeImage && name == connectionFile:
				c.Connection = &Connection{}
				return decode(r, name, c.Connection)
			}
			return nil
		})
	})
}

// entries calls f for every entry of a gzipped tar, reading no more than *left bytes.
func entries(archive io.Reader, left *int64, f func(*tar.Header, io.Reader) error) error {
	z, err := gzip.NewReader(archive)
	if err != nil {
		return fmt.Errorf("not a gzipped archive: %w", err)
	}
	r := tar.NewReader(&limited{z, left})
	for n := 0; ; n++ {
		h, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("not an archive: %w", err)
		case n == maxEntries:
			return fmt.Errorf("it has more than %d entries", maxEntries)
		}
		if err := f(h, r); err != nil {
			return err
		}
	}
}

// limited reads until a budget that it shares with other readers is spent.
type limited struct {
	r    io.Reader
	left *int64
}

var errTooLarge = fmt.Errorf("it unpacks to more than %d MiB", maxRead>>20)

func (l *limited) Read(p []byte) (int, error) {
	if *l.left <= 0 {
		return 0, errTooLarge
	}
	if int64(len(p)) > *l.left {
		p = p[:*l.left]
	}
	n, err := l.r.Read(p)
	*l.left -= int64(n)
	return n, err
}

func decode(r io.Reader, name string, into any) error {
	data, err := io.ReadAll(io.LimitReader(r, maxReadFile+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	case len(data) > maxReadFile:
		return fmt.Errorf("%s has more than %d KiB", name, maxReadFile>>10)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
