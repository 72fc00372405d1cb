package transfer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	maxName    = 255
	maxPath    = 4096
	linkMemory = 16 << 20 // bytes of names and targets of links that are remembered
	// perEntry is what a tar may spend on one entry beside its content: headers, long
	// names, padding.
	perEntry = 4 * maxPath
)

// Unpack makes the tree that r holds in dir, which is empty. Whatever is in r, nothing
// outside dir is touched, no more than l is written, and there is nothing in dir but files,
// directories, and links that lead to places in dir. A *RefusedError says what was wrong with
// the tree; what was unpacked until then stays.
//
// Links are made last. Until then there are none in dir, and no name can lead through one.
func Unpack(r io.Reader, dir string, l Limits) error {
	l = l.withDefaults()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	in := &stream{r: r, left: l.Bytes + int64(l.Entries)*perEntry}
	u := unpacker{root: root, limits: l, buf: make([]byte, chunk)}
	if err := u.all(tar.NewReader(in)); err != nil {
		if in.err != nil { // whatever the tar looked like, it was not all
			return in.err
		}
		return err
	}
	if in.ended {
		return &brokenError{io.ErrUnexpectedEOF} // a tar says where it ends
	}
	if _, err := io.CopyBuffer(io.Discard, onlyReader{in}, u.buf); err != nil {
		return in.err
	}
	return u.makeLinks()
}

// stream tells what went wrong with reading from what was wrong with the content.
type stream struct {
	r     io.Reader
	left  int64
	ended bool
	err   error
}

func (s *stream) Read(b []byte) (int, error) {
	if s.left <= 0 {
		s.err = &RefusedError{Text: "the tree has more in it than names and files"}
		return 0, s.err
	}
	n, err := s.r.Read(b[:min(int64(len(b)), s.left)])
	s.left -= int64(n)
	switch {
	case n > 0:
		return n, nil // an error comes back with the next call
	case errors.Is(err, io.EOF):
		s.ended = true
		return 0, io.EOF
	case err != nil:
		s.err = &brokenError{err}
		return 0, s.err
	}
	return 0, nil
}

// brokenError is a transfer that may be repeated.
type brokenError struct{ error }

func (e *brokenError) Unwrap() error { return e.error }

type unpacker struct {
	root    *os.Root
	limits  Limits
	buf     []byte
	entries int
	bytes   int64
	links   []link
	linked  int // bytes in links
}

type link struct{ name, target string }

func (u *unpacker) all(t *tar.Reader) error {
	for {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return &brokenError{err}
		case err != nil:
			return &RefusedError{Text: err.Error()}
		}
		if err := u.entry(h, t); err != nil {
			return err
		}
	}
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if u.entries++; u.entries > u.limits.Entries {
		return &RefusedError{Text: fmt.Sprintf("the tree has more than %d entries", u.limits.Entries)}
	}
	name := h.Name
	if h.Typeflag == tar.TypeDir {
		name = strings.TrimSuffix(name, "/")
	}
	if why := badName(name); why != "" {
		return refused(name, why)
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return refused(name, "is a sparse file")
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := u.root.Mkdir(name, modeProgram); err != nil {
			return ofContent(name, err)
		}
		return u.root.Chmod(name, modeProgram) // whatever the process' umask is
	case tar.TypeReg:
		return u.file(name, h, content)
	case tar.TypeSymlink:
		u.linked += len(name) + len(h.Linkname)
		if u.linked > linkMemory {
			return refused(name, "is one link too many")
		}
		u.links = append(u.links, link{name, h.Linkname})
		return nil
	case tar.TypeLink:
		return refused(name, "is a hard link")
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return refused(name, "is a device or a pipe")
	}
	return refused(name, fmt.Sprintf("is of unknown type %q", h.Typeflag))
}

func (u *unpacker) file(name string, h *tar.Header, content io.Reader) error {
	if h.Size < 0 || h.Size > u.limits.Bytes-u.bytes {
		return &RefusedError{Text: fmt.Sprintf("the tree is larger than %d bytes, with %q", u.limits.Bytes, name)}
	}
	u.bytes += h.Size
	mode := fs.FileMode(modeFile)
	if h.Mode&0o111 != 0 {
		mode = modeProgram
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return ofContent(name, err)
	}
	_, err = io.CopyBuffer(onlyWriter{f}, onlyReader{content}, u.buf)
	if err == nil {
		err = f.Chmod(mode)
	}
	err = errors.Join(err, f.Close())
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return &brokenError{err}
	}
	return err
}

// makeLinks makes the links and looks at each when all are there: a link may lead through
// another one, which no look at names alone can follow.
func (u *unpacker) makeLinks() error {
	for _, l := range u.links {
		if l.target == "" || path.IsAbs(l.target) || strings.ContainsRune(l.target, 0) || len(l.target) >= maxPath ||
			!filepath.IsLocal(path.Join(path.Dir(l.name), l.target)) {
			return refused(l.name, fmt.Sprintf("is a link that leaves the tree, to %.200q", l.target))
		}
		if err := ofContent(l.name, u.root.Symlink(l.target, l.name)); err != nil {
			return err
		}
	}
	for _, l := range u.links {
		// One that leads to nothing is harmless, and left by some builds.
		if _, err := u.root.Stat(l.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return refused(l.name, fmt.Sprintf("is a link that leaves the tree or leads to itself, to %.200q", l.target))
		}
	}
	return nil
}

func badName(name string) string {
	switch {
	case len(name) >= maxPath:
		return fmt.Sprintf("has %d characters", len(name))
	case name == "." || !fs.ValidPath(name) || strings.ContainsRune(name, 0):
		return "is no path inside a tree"
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > maxName {
			return fmt.Sprintf("has a name of %d characters in it", len(part))
		}
	}
	return ""
}

func refused(name, why string) error {
	return &RefusedError{Text: fmt.Sprintf("%.200q %s", name, why)}
}

// ofContent sorts errors of making an entry: those that the tree is to blame for, and those
// of a disk that is full.
func ofContent(name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return refused(name, "is in the tree twice")
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return refused(name, "is in no directory of the tree")
	case errors.Is(err, syscall.ENAMETOOLONG):
		return refused(name, "is too long")
	}
	return err
}
