package launcher

import (
	"bufio"
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
	"strings"

	"pivt.io/pivt/pkg/exit"
)

const (
	// sealFile is the last file that build writes.
	sealFile = "pivt.json"
	// listFile has a line for everything else in the directory.
	listFile = "pivt.files"
)

// buildSeal describes a build. Its version is that of the directory's layout: Fabric
// keeps builds for as long as the peer lives, so every later launcher has to read those
// of all earlier ones.
type buildSeal struct {
	Version int    `json:"version"`
	Kind    kind   `json:"type"`
	Label   string `json:"label"`
	// List is the SHA-256 of listFile. The list is a file of its own, so that a tree of
	// node_modules is compared line by line and never held in memory.
	List string `json:"list,omitempty"`
	// Files is the list of version 1, which knew packages of type k8s only.
	Files map[string]string `json:"files,omitempty"`
}

const sealVersion = 2

func seal(dir string, k kind, label string) error {
	path := filepath.Join(dir, listFile)
	list, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer list.Close()
	h := sha256.New()
	out := bufio.NewWriter(io.MultiWriter(list, h))
	err = each(dir, func(e entry) error {
		if e.name == listFile {
			return nil
		}
		_, err := out.WriteString(e.line())
		return err
	})
	if err := errors.Join(err, out.Flush(), list.Close()); err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, sealFile), buildSeal{
		Version: sealVersion, Kind: k, Label: label, List: hex.EncodeToString(h.Sum(nil)),
	})
}

// verify refuses a build that is not as it was sealed. Fabric copies a build to its
// durable place file by file; a peer that dies in between takes what is there for a
// complete build after its restart.
func verify(dir string) (buildSeal, error) {
	s, err := readSeal(dir)
	if err == nil {
		err = s.compare(dir)
	}
	if err == nil {
		return s, nil
	}
	return s, exit.WithHint(fmt.Errorf("build %s is incomplete: %w", dir, err),
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
	if s.Version < 1 || s.Version > sealVersion || s.Version == 1 && s.Kind != kindImage {
		return s, fmt.Errorf("%s: version %d, type %q was made by another release of pivt", sealFile, s.Version, s.Kind)
	}
	return s, nil
}

func (s *buildSeal) compare(dir string) error {
	if s.Version == 1 {
		return s.compareV1(dir)
	}
	list, err := os.Open(filepath.Join(dir, listFile))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing", listFile)
	}
	if err != nil {
		return err
	}
	defer list.Close()
	h := sha256.New()
	if _, err := io.Copy(h, list); err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) != s.List {
		return fmt.Errorf("%s is not what was built", listFile)
	}
	if _, err := list.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return compareList(bufio.NewReader(list), dir)
}

// compareList goes through list and directory side by side, both being in one order. The
// first line that is not in both names what is wrong.
func compareList(list *bufio.Reader, dir string) error {
	err := each(dir, func(e entry) error {
		if e.name == sealFile || e.name == listFile {
			return nil
		}
		got := e.line()
		want, err := list.ReadString('\n')
		switch {
		case err != nil && err != io.EOF:
			return err
		case got == want:
			return nil
		case want == "":
			return fmt.Errorf("%s was not built", e.name)
		}
		switch name := nameOf(want); strings.Compare(walkOrder(name), walkOrder(e.name)) {
		case -1:
			return fmt.Errorf("%s is missing", name)
		case 1:
			return fmt.Errorf("%s was not built", e.name)
		}
		return fmt.Errorf("%s is not what was built", e.name)
	})
	if err != nil {
		return err
	}
	if rest, _ := list.ReadString('\n'); rest != "" {
		return fmt.Errorf("%s is missing", nameOf(rest))
	}
	return nil
}

// walkOrder makes names comparable in the order of a walk, which sorts each directory by
// itself: a, a/b, a.txt.
func walkOrder(name string) string { return strings.ReplaceAll(name, "/", "\x00") }

func nameOf(line string) string {
	var e entry
	if _, err := fmt.Sscanf(line, "%c %q %q\n", &e.kind, &e.name, &e.detail); err != nil {
		return strings.TrimSpace(line)
	}
	return e.name
}

// compareV1 reads what the first release wrote.
func (s *buildSeal) compareV1(dir string) error {
	files := map[string]string{}
	err := each(dir, func(e entry) error {
		if e.kind == 'f' || e.kind == 'x' {
			files[e.name] = e.detail
		}
		return nil
	})
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
