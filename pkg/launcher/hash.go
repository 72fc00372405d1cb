package launcher

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// recipe is all that a build's result follows from. Peers of an org with the same recipe
// share one build, so whatever could make it come out differently has to be in here.
type recipe struct {
	Kind   kind            `json:"kind"`
	Image  string          `json:"image"`
	Script string          `json:"script"`
	Env    []corev1.EnvVar `json:"env"`
	CA     string          `json:"ca"`
	Pod    json.RawMessage `json:"pod,omitempty"`
}

// hash names the recipe together with the package. Every peer has the package's files
// from its own copy of the archive, so neither times nor owners nor umasks count.
func (r *recipe) hash(source, metadata string) (string, error) {
	h := sha256.New()
	out := bufio.NewWriter(h)
	enc := json.NewEncoder(out)
	if err := enc.Encode(r); err != nil {
		return "", err
	}
	data, err := os.ReadFile(filepath.Join(metadata, metadataFile))
	if err != nil {
		return "", err
	}
	if err := enc.Encode(data); err != nil {
		return "", err
	}
	if err := writeTree(out, source); err != nil {
		return "", err
	}
	if err := out.Flush(); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// writeTree writes a line for every entry of a directory, see each.
func writeTree(w io.Writer, dir string) error {
	return each(dir, func(e entry) error {
		_, err := io.WriteString(w, e.line())
		return err
	})
}

// entry is one file, link or directory of a tree.
type entry struct {
	kind   byte   // f file, x executable file, l link, d directory
	name   string // below the root
	detail string // SHA-256 of a file, target of a link
}

// line is unambiguous whatever the names hold.
func (e *entry) line() string { return fmt.Sprintf("%c %q %q\n", e.kind, e.name, e.detail) }

// each calls f for all that is in a directory, in the order of names. Of a mode only the
// owner's right to execute counts: the others change with umasks, and kubelets change
// them when they give a volume to a group.
func each(dir string, f func(entry) error) error {
	buf := make([]byte, 64<<10)
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		e := entry{name: filepath.ToSlash(rel)}
		switch d.Type() {
		case fs.ModeDir:
			e.kind = 'd'
		case fs.ModeSymlink:
			e.kind = 'l'
			if e.detail, err = os.Readlink(path); err != nil {
				return err
			}
		case 0:
			if err := e.sum(path, d, buf); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s is neither file nor directory nor link", rel)
		}
		return f(e)
	})
}

func (e *entry) sum(path string, d fs.DirEntry, buf []byte) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	e.kind = 'f'
	if info.Mode()&0o100 != 0 {
		e.kind = 'x'
	}
	if info.Mode()&0o400 == 0 { // archives hold such files, and they are ours
		if err := os.Chmod(path, info.Mode()|0o400); err != nil {
			return err
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	// Not io.Copy: it would find a way around the buffer and allocate one per file.
	for {
		n, err := f.Read(buf)
		h.Write(buf[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	e.detail = hex.EncodeToString(h.Sum(buf[:0]))
	return nil
}
