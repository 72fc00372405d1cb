package launcher

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"pivt.io/pivt/pkg/exit"
)

// sealFile is the last file that build writes.
const sealFile = "pivt.json"

// buildSeal lists all the files of a build. Its version is that of the directory's
// layout: Fabric keeps builds for as long as the peer lives, so every later launcher has
// to read those of all earlier ones.
type buildSeal struct {
	Version int               `json:"version"`
	Type    string            `json:"type"`
	Label   string            `json:"label"`
	Files   map[string]string `json:"files"` // path: SHA-256
}

func seal(dir, label string) error {
	files, err := sums(dir)
	if err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, sealFile), buildSeal{Version: 1, Type: typeImage, Label: label, Files: files})
}

// verify refuses a build that is not as it was sealed. Fabric copies a build to its
// durable place file by file; a peer that dies in between takes what is there for a
// complete build after its restart.
func verify(dir string) error {
	s, err := readSeal(dir)
	if err == nil {
		err = s.compare(dir)
	}
	if err == nil {
		return nil
	}
	return exit.WithHint(fmt.Errorf("build %s is incomplete: %w", dir, err),
		fmt.Sprintf("remove directory %s from the peer's volume and install the package again", filepath.Dir(filepath.Clean(dir))))
}

func readSeal(dir string) (buildSeal, error) {
	var s buildSeal
	data, err := os.ReadFile(filepath.Join(dir, sealFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("%s is missing", sealFile)
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("%s: %w", sealFile, err)
	}
	if s.Version != 1 || s.Type != typeImage {
		return s, fmt.Errorf("%s: version %d, type %q was made by another release of pivt", sealFile, s.Version, s.Type)
	}
	return s, nil
}

func (s *buildSeal) compare(dir string) error {
	files, err := sums(dir)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		switch got, found := files[name]; {
		case !found:
			return fmt.Errorf("%s is missing", name)
		case got != s.Files[name]:
			return fmt.Errorf("%s is not what was built", name)
		}
	}
	return nil
}

// sums hashes the files of a directory, but for the seal itself.
func sums(dir string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == sealFile {
			return err
		}
		sum, err := sum(path)
		files[filepath.ToSlash(rel)] = sum
		return err
	})
	return files, err
}

func sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
