package image

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Spec describes an image: a layer of single files, on top of layers of whole trees where it needs those.
type Spec struct {
	// Names are the full references it is imported under, such as docker.io/library/busybox:1.35.0.
	Names []string
	// Base are directories that WriteLayer filled, the lowest first.
	Base  []string
	Files []File

	Entrypoint []string
	Cmd        []string
	Env        []string
	User       string
	WorkDir    string
}

// File is one entry of the image. Exactly one of Source, Data, Link and Dir says what it is.
type File struct {
	Path   string // absolute inside the image
	Mode   int64  // permissions; 0 means 0644, 0755 for directories
	Source string // a file of this machine
	Data   []byte
	Link   string // target of a symbolic link
	Dir    bool
}

// Program is an executable file.
func Program(inImage, source string) File {
	return File{Path: inImage, Mode: 0o755, Source: source}
}

// entries checks the files, adds the directories above them and sorts all by path.
func (s Spec) entries() ([]File, error) {
	byPath := map[string]File{}
	for _, f := range s.Files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" {
			return nil, fmt.Errorf("file %q: want a clean absolute path", f.Path)
		}
		if _, twice := byPath[f.Path]; twice {
			return nil, fmt.Errorf("file %q is listed twice", f.Path)
		}
		byPath[f.Path] = f
	}
	for _, f := range s.Files {
		for dir := path.Dir(f.Path); dir != "/"; dir = path.Dir(dir) {
			above, ok := byPath[dir]
			if ok && !above.Dir {
				return nil, fmt.Errorf("file %q lies below %q, which is no directory", f.Path, dir)
			}
			if !ok {
				byPath[dir] = File{Path: dir, Dir: true}
			}
		}
	}
	files := make([]File, 0, len(byPath))
	for _, f := range byPath {
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files, nil
}
