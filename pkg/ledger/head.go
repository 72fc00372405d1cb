package ledger

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/encoding/protowire"

	"pivt.io/pivt/pkg/backup"
)

// Head is how far a channel has got, by its last block alone. What comes before that is not
// looked at; see Verify. A channel without a block has height 0.
func Head(c Channel) (backup.Channel, error) {
	at, _, err := c.start()
	if err != nil {
		return backup.Channel{}, err
	}
	paths, err := c.files()
	if err != nil {
		return backup.Channel{}, err
	}
	// A crash may leave a new file without a whole block in it, but never two.
	for i := len(paths) - 1; i >= max(0, len(paths)-2); i-- {
		b, found, err := lastBlock(c.Name, paths[i], i == len(paths)-1)
		if err != nil {
			return backup.Channel{}, err
		}
		if !found {
			continue
		}
		if b.Number < at.height || b.Number+1 == 0 {
			return backup.Channel{}, &Damage{Channel: c.Name, File: filepath.Base(paths[i]), Reason: fmt.Sprintf("its last block has number %d, the channel begins with %d here", b.Number, at.first)}
		}
		return position{first: at.first, height: b.Number + 1, hash: b.Hash}.channel(c.Name), nil
	}
	if len(paths) > 1 {
		return backup.Channel{}, &Damage{Channel: c.Name, File: filepath.Base(paths[len(paths)-2]), Reason: noBlock}
	}
	return at.channel(c.Name), nil
}

// lastBlock reads the last whole block of a file and skips the others.
func lastBlock(channel, path string, last bool) (block, bool, error) {
	f, err := openFile(path)
	if err != nil {
		return block{}, false, fmt.Errorf("channel %q: %w", channel, err)
	}
	defer f.close()
	var offset, start, length int64
	from, found := int64(0), false
	for {
		s, l, err := f.next(offset)
		if errors.Is(err, io.EOF) || last && errors.Is(err, errTorn) {
			break
		}
		if err != nil {
			return block{}, false, &Damage{Channel: channel, File: f.name, Reason: fmt.Sprintf("record at offset %d: %v", offset, err)}
		}
		found, from, start, length = true, offset, s, l
		offset = s + l
	}
	if !found {
		return block{}, false, nil
	}
	buf := bufio.NewReaderSize(nil, 64<<10)
	f.reader(start, buf)
	b, err := newRecordReader(buf).read(length)
	if err != nil {
		return block{}, false, damage(channel, f, from, b.Number, err)
	}
	return b, true, nil
}

// start is where a channel's blocks begin: with number 0, or after the snapshot by which the
// peer joined.
func (c Channel) start() (position, bool, error) {
	data, err := readSmall(filepath.Join(c.Dir, snapshotFile))
	if errors.Is(err, fs.ErrNotExist) {
		return position{}, false, nil
	}
	if err != nil {
		return position{}, false, fmt.Errorf("channel %q: %w", c.Name, err)
	}
	p, ok := parseSnapshotInfo(data)
	if !ok {
		return position{}, false, &Damage{Channel: c.Name, File: snapshotFile, Reason: "it does not say with which block the channel begins"}
	}
	return p, true, nil
}

// parseSnapshotInfo reads Fabric's message bootstrappingSnapshotInfo: number and hash of the
// last block before the first that the peer has.
func parseSnapshotInfo(data []byte) (position, bool) {
	var p position
	var last uint64
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return p, false
		}
		data = data[n:]
		switch {
		case number == 1 && kind == protowire.VarintType:
			last, n = protowire.ConsumeVarint(data)
		case number == 2 && kind == protowire.BytesType:
			p.hash, n = protowire.ConsumeBytes(data)
		default:
			n = protowire.ConsumeFieldValue(number, kind, data)
		}
		if n < 0 {
			return p, false
		}
		data = data[n:]
	}
	p.first, p.height = last+1, last+1
	return p, len(p.hash) > 0 && len(p.hash) <= maxHash && p.first > 0
}

// readSmall reads a file that has no reason to be long.
func readSmall(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a plain file", path)
	}
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if f.size > 4096 {
		return nil, fmt.Errorf("%s has %d bytes", path, f.size)
	}
	return io.ReadAll(io.LimitReader(f.f, f.size))
}
