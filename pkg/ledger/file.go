package ledger

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// bufferSize is large enough for the disk and small enough for a pod.
const bufferSize = 1 << 20

// blockFile is one open block file. A record in it is a varint length and that many bytes.
type blockFile struct {
	f    *os.File
	name string
	size int64
}

func openFile(path string) (*blockFile, error) {
	// The name was that of a plain file when it was listed. Should it be something else now,
	// neither follow a link nor wait for the other end of a pipe.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a plain file", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &blockFile{f: f, name: filepath.Base(path), size: info.Size()}, nil
}

// next finds the record at an offset: where its block begins and how long that is. At the end
// of the file it returns io.EOF. If the file ends before the record does it returns errTorn.
func (b *blockFile) next(offset int64) (start, length int64, err error) {
	if offset == b.size {
		return 0, 0, io.EOF
	}
	// Fabric looks at eight bytes, too.
	var buf [8]byte
	n, err := b.f.ReadAt(buf[:], offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, err
	}
	v, used := binary.Uvarint(buf[:n])
	switch {
	case used <= 0 && n < len(buf):
		return 0, 0, errTorn
	case used <= 0:
		return 0, 0, errVarint
	case v > uint64(b.size-offset-int64(used)):
		return 0, 0, errTorn
	}
	return offset + int64(used), int64(v), nil
}

// errTorn is what a crash leaves while a block is being appended.
var errTorn = errors.New("the file ends before the block does")

// reader reads the file from an offset on.
func (b *blockFile) reader(offset int64, buf *bufio.Reader) {
	buf.Reset(io.NewSectionReader(b.f, offset, b.size-offset))
}

func (b *blockFile) close() { _ = b.f.Close() }
