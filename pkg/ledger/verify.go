package ledger

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"pivt.io/pivt/pkg/backup"
)

// Verify reads every block of a channel: numbers follow each other, every header names the
// hash of the one before it and that of its block's data. visit sees the blocks in order and
// may be nil. Broken blocks are of kind ErrDamaged.
//
// A last block that is not complete does not count, because Fabric cuts it off when it starts:
// the node was killed before it had acknowledged the block to anybody.
func Verify(ctx context.Context, c Channel, visit func(number uint64, hash []byte)) (backup.Channel, error) {
	return Walk(ctx, c, func(b Block) {
		if visit != nil {
			visit(b.Number, b.Hash)
		}
	})
}

// Walk is Verify for those who want to know more about a block. What visit gets is its to keep.
func Walk(ctx context.Context, c Channel, visit func(Block)) (backup.Channel, error) {
	at, _, err := c.start()
	if err != nil {
		return backup.Channel{}, err
	}
	paths, err := c.files()
	if err != nil {
		return backup.Channel{}, err
	}
	w := walker{ctx: ctx, at: at, channel: c.Name, buf: bufio.NewReaderSize(nil, bufferSize), visit: visit}
	w.records = newRecordReader(w.buf)
	for i, path := range paths {
		if err := w.file(path, i == len(paths)-1); err != nil {
			return w.at.channel(c.Name), err
		}
	}
	return w.at.channel(c.Name), nil
}

// position is the end of a chain.
type position struct {
	first  uint64
	height uint64
	hash   []byte
}

func (p position) channel(name string) backup.Channel {
	return backup.Channel{Name: name, First: p.first, Height: p.height, Hash: hex.EncodeToString(p.hash)}
}

// noBlock is what a file must not be that another one follows.
const noBlock = "there is no block in it"

type walker struct {
	ctx     context.Context //nolint:containedctx // lives as long as one call of Walk
	at      position
	channel string
	buf     *bufio.Reader
	records *recordReader
	visit   func(Block)
}

func (w *walker) file(path string, last bool) error {
	f, err := openFile(path)
	if err != nil {
		return fmt.Errorf("channel %q: %w", w.channel, err)
	}
	defer f.close()
	f.reader(0, w.buf)
	for offset := int64(0); ; {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		start, length, err := f.next(offset)
		if errors.Is(err, io.EOF) && offset == 0 && !last {
			return &Damage{Channel: w.channel, File: f.name, Reason: noBlock}
		}
		if errors.Is(err, io.EOF) || last && errors.Is(err, errTorn) {
			return nil
		}
		if err != nil {
			return w.damage(f, offset, err)
		}
		if _, err := w.buf.Discard(int(start - offset)); err != nil {
			return w.damage(f, offset, err)
		}
		b, err := w.records.read(length)
		if err == nil {
			err = w.at.follow(b)
		}
		if err != nil {
			return w.damage(f, offset, err)
		}
		b.File, b.Offset = f.name, offset
		w.visit(b.Block)
		offset = start + length
	}
}

// follow goes on to b if that is the block that comes next.
func (p *position) follow(b block) error {
	if b.Number != p.height {
		return fmt.Errorf("it has number %d", b.Number)
	}
	if !bytes.Equal(b.previous, p.hash) {
		return fmt.Errorf("it does not follow the block before it: that has hash %x, its header says %x", p.hash, b.previous)
	}
	p.height, p.hash = b.Number+1, b.Hash
	return nil
}

// damage is how err is reported that is due to what the file holds. What the system says
// about the file stays as it is.
func (w *walker) damage(f *blockFile, offset int64, err error) error {
	return damage(w.channel, f, offset, w.at.height, err)
}

func damage(channel string, f *blockFile, offset int64, number uint64, err error) error {
	var system interface{ Timeout() bool } // *fs.PathError and syscall.Errno alike
	if errors.As(err, &system) {
		return fmt.Errorf("channel %q: block %d: %w", channel, number, err)
	}
	return &Damage{Channel: channel, File: f.name, Offset: offset, Block: number, InBlock: true, Reason: err.Error()}
}
