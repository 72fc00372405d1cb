package ledger

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/big"
)

// Block is what a chain of blocks says about one of them.
type Block struct {
	Number uint64
	Hash   []byte // of its header
	// Outcome stands for what peers found out about the transactions, which no header covers:
	// their validation codes and the hash of the state afterwards. All peers agree on it. It is
	// nil in an orderer's block.
	Outcome []byte
	File    string // name of the block file
	Offset  int64
}

// header is what Fabric hashes, and how: ASN.1 DER, fields in this order.
type header struct {
	Number       *big.Int
	PreviousHash []byte
	DataHash     []byte
}

// Indices of block metadata, see common.BlockMetadataIndex.
const (
	transactionsFilter = 2
	commitHash         = 4
)

// maxHash is more than any hash that Fabric has in a header.
const maxHash = 64

// recordReader reads one block of a file. All lengths in a block come from the file, so each
// is compared with what the record has left before anything is done with it.
type recordReader struct {
	r     *bufio.Reader
	left  int64 // bytes of the record
	data  hash.Hash
	after hash.Hash
}

func newRecordReader(r *bufio.Reader) *recordReader {
	return &recordReader{r: r, data: sha256.New(), after: sha256.New()}
}

var (
	errShort   = errors.New("it is longer than its length says")
	errVarint  = errors.New("a length in it is not a number")
	errTooLong = fmt.Errorf("a hash in its header is longer than %d bytes", maxHash)
)

// block is one record as it is read: header and what follows from it.
type block struct {
	Block
	previous []byte
}

// read consumes a record of length bytes: number, data hash, previous hash, transactions and
// metadata, each list with its length in front, everything without tags.
func (r *recordReader) read(length int64) (block, error) {
	r.left = length
	r.data.Reset()
	var b block
	var err error
	if b.Number, err = r.varint(); err != nil {
		return b, err
	}
	dataHash, err := r.short()
	if err != nil {
		return b, err
	}
	if b.previous, err = r.short(); err != nil {
		return b, err
	}
	if err := r.list(func(_, size int64) error { return r.feed(r.data, size) }); err != nil {
		return b, err
	}
	if got := r.data.Sum(nil); !bytes.Equal(got, dataHash) {
		return b, fmt.Errorf("its data do not match its header: their hash is %x, the header says %x", got, dataHash)
	}
	if b.Outcome, err = r.metadata(); err != nil {
		return b, err
	}
	if r.left > 0 {
		return b, fmt.Errorf("%d bytes follow its end", r.left)
	}
	b.Hash, err = headerHash(b.Number, b.previous, dataHash)
	return b, err
}

func headerHash(number uint64, previous, data []byte) ([]byte, error) {
	der, err := asn1.Marshal(header{Number: new(big.Int).SetUint64(number), PreviousHash: previous, DataHash: data})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	return sum[:], nil
}

// metadata reads the rest of a block and returns its outcome.
func (r *recordReader) metadata() ([]byte, error) {
	r.after.Reset()
	some := false
	err := r.list(func(i, size int64) error {
		if size == 0 || i != transactionsFilter && i != commitHash {
			return r.feed(nil, size)
		}
		some = true
		// The length keeps bytes of one field from being taken for those of the other.
		_, _ = fmt.Fprintf(r.after, "%d:%d:", i, size)
		return r.feed(r.after, size)
	})
	if err != nil || !some {
		return nil, err
	}
	return r.after.Sum(nil), nil
}

// list reads a number of items and calls each with the length that stands before it.
func (r *recordReader) list(item func(i, size int64) error) error {
	count, err := r.length()
	if err != nil {
		return err
	}
	for i := range count {
		size, err := r.length()
		if err != nil {
			return err
		}
		if err := item(i, size); err != nil {
			return err
		}
	}
	return nil
}

// feed hands the next bytes to h, or to nobody.
func (r *recordReader) feed(h hash.Hash, size int64) error {
	r.left -= size
	for size > 0 {
		if _, err := r.r.Peek(1); err != nil {
			return unexpected(err)
		}
		chunk, err := r.r.Peek(int(min(size, int64(r.r.Buffered()))))
		if err != nil {
			return unexpected(err)
		}
		if h != nil {
			_, _ = h.Write(chunk)
		}
		n, err := r.r.Discard(len(chunk))
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}

// short reads a hash.
func (r *recordReader) short() ([]byte, error) {
	size, err := r.length()
	if err != nil {
		return nil, err
	}
	if size > maxHash {
		return nil, errTooLong
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r.r, b); err != nil {
		return nil, unexpected(err)
	}
	r.left -= size
	return b, nil
}

// length reads the length of something that is still to come, be it bytes or items, none of
// which is shorter than a byte.
func (r *recordReader) length() (int64, error) {
	v, err := r.varint()
	if err != nil {
		return 0, err
	}
	if v > uint64(r.left) {
		return 0, errShort
	}
	return int64(v), nil
}

func (r *recordReader) varint() (uint64, error) {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		if r.left == 0 {
			return 0, errShort
		}
		c, err := r.r.ReadByte()
		if err != nil {
			return 0, unexpected(err)
		}
		r.left--
		if shift == 63 && c > 1 {
			return 0, errVarint
		}
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v, nil
		}
	}
	return 0, errVarint
}

// unexpected keeps a file that shrinks while it is read from looking like its regular end.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
