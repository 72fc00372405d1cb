package transfer

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// chunk is how much is read and written at once: few enough handovers between goroutines,
// and nothing to speak of in memory.
const chunk = 128 << 10

const (
	modeProgram = 0o755 // and directories
	modeFile    = 0o644
)

// Pack writes a tree as a tar and returns the SHA-256 of what it wrote. The same tree makes
// the same bytes: names, contents, links and whether a file may be executed are all that
// is kept. It follows no link and refuses what is neither file, directory nor link.
func Pack(w io.Writer, dir string) (sum string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	h := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, h), chunk)
	p := packer{root: root, tar: tar.NewWriter(out), buf: make([]byte, chunk)}
	if err := fs.WalkDir(root.FS(), ".", p.entry); err != nil {
		return "", err
	}
	if err := p.tar.Close(); err != nil {
		return "", err
	}
	if err := out.Flush(); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

type packer struct {
	root *os.Root
	tar  *tar.Writer
	buf  []byte
}

func (p *packer) entry(name string, d fs.DirEntry, err error) error {
	if err != nil || name == "." {
		return err
	}
	switch d.Type() {
	case fs.ModeDir:
		return p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: modeProgram})
	case fs.ModeSymlink:
		target, err := p.root.Readlink(name)
		if err != nil {
			return err
		}
		return p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777})
	case 0:
		return p.file(name)
	}
	return &RefusedError{Text: fmt.Sprintf("%q is neither file, directory nor link", name)}
}

func (p *packer) file(name string) error {
	f, err := p.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: modeFile}
	if info.Mode()&0o111 != 0 {
		h.Mode = modeProgram
	}
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.CopyBuffer(onlyWriter{p.tar}, io.LimitReader(f, h.Size), p.buf)
	if err == nil && n < h.Size {
		return fmt.Errorf("%q shrinks while it is read", name)
	}
	return err
}

// onlyWriter and onlyReader hide the methods by which io.Copy would take a buffer of its
// own for every file.
type onlyWriter struct{ io.Writer }

type onlyReader struct{ io.Reader }
