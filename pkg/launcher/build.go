package launcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"pivt.io/pivt/pkg/exit"
)

// typeImage is the package type of chaincode given as an image. Name and content are
// fabric-builder-k8s's, so that its packages install here unchanged.
const typeImage = "k8s"

const (
	metadataFile = "metadata.json"
	imageFile    = "image.json"
	indexes      = "META-INF"
)

// detect claims packages of type k8s, in any case: Fabric's own command line writes the
// type as the user typed it.
func detect(metadata string) error {
	m, err := readMetadata(metadata)
	if err != nil {
		return err
	}
	if !strings.EqualFold(m.Type, typeImage) {
		return errNotOurs
	}
	return nil
}

// build checks the package while somebody waits for the answer of an install, and copies
// what release and run need. No tool of Fabric shows more of it than the last line.
func build(source, metadata, output string) error {
	m, err := readMetadata(metadata)
	if err != nil {
		return err
	}
	img, err := readImage(filepath.Join(source, imageFile))
	if err != nil {
		return exit.With(fmt.Errorf("package %s: %w", m.Label, err), exit.Invalid)
	}
	if err := writeJSON(filepath.Join(output, imageFile), img); err != nil {
		return fmt.Errorf("package %s: writing %s: %w", m.Label, imageFile, err)
	}
	if err := copyTree(filepath.Join(source, indexes), filepath.Join(output, indexes), anyFile); err != nil {
		return fmt.Errorf("package %s: copying %s: %w", m.Label, indexes, err)
	}
	if err := seal(output, m.Label); err != nil {
		return fmt.Errorf("package %s: sealing the build: %w", m.Label, err)
	}
	return nil
}

// release hands CouchDB's indexes over. Fabric takes them from nowhere else once a
// package was built outside.
func release(built, output string) error {
	from, to := filepath.Join(built, indexes, "statedb"), filepath.Join(output, "statedb")
	if err := copyTree(from, to, isIndex); err != nil {
		return fmt.Errorf("copying indexes: %w", err)
	}
	return nil
}

var indexPath = regexp.MustCompile(`^couchdb/(collections/[^/]+/)?indexes/[^/]+\.json$`)

func isIndex(path string) bool { return indexPath.MatchString(filepath.ToSlash(path)) }

func anyFile(string) bool { return true }

type packageMetadata struct {
	Type  string `json:"type"`
	Label string `json:"label"`
}

func readMetadata(dir string) (packageMetadata, error) {
	var m packageMetadata
	path := filepath.Join(dir, metadataFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return m, fmt.Errorf("reading the package's metadata: %w", err)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, exit.With(fmt.Errorf("%s: %w", metadataFile, err), exit.Invalid)
	}
	return m, nil
}

// image is image.json.
type image struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

func (i image) String() string { return i.Name + "@" + i.Digest }

var (
	// The grammar of github.com/distribution/reference: host with optional port, path, and
	// a tag that the digest overrules.
	imageName   = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[\w][\w.-]{0,127})?$`)
	imageDigest = regexp.MustCompile(`^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)
)

func readImage(path string) (image, error) {
	var i image
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return i, fmt.Errorf("%s is missing; a package of type %s names its image there", imageFile, typeImage)
	}
	if err != nil {
		return i, err
	}
	if err := json.Unmarshal(data, &i); err != nil {
		return i, fmt.Errorf("%s: %w", imageFile, err)
	}
	if !imageName.MatchString(i.Name) {
		return i, fmt.Errorf("%s: name %q is not the name of an image", imageFile, i.Name)
	}
	if !imageDigest.MatchString(i.Digest) {
		return i, fmt.Errorf("%s: digest %q is not sha256:<64 hexadecimal digits>", imageFile, i.Digest)
	}
	return i, nil
}

func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// copyTree copies the regular files of a directory that wanted accepts; a directory that
// does not exist is empty. There are no links to follow: Fabric unpacks none.
func copyTree(from, to string, wanted func(path string) bool) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == from {
			return fs.SkipAll
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil || !wanted(rel) {
			return err
		}
		target := filepath.Join(to, rel)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return copyFile(path, target)
	})
}

// copyFile gives the copy a mode of its own: archives hold files of mode 0000.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
