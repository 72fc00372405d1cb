// Package ledgertest writes block files as Fabric does, for tests that read them. It knows
// nothing of package ledger, so that a mistake there is not made here as well.
package ledgertest

import (
	"bytes"
	"crypto/sha256"
	"encoding/asn1"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// Block is a block of a channel.
type Block struct {
	Number   uint64
	Previous []byte
	DataHash []byte
	Data     [][]byte
	Metadata [][]byte
}

// Chain makes n blocks from number first on; previous is the hash of the one before. Chains
// of another seed have other transactions.
func Chain(seed string, first, n uint64, previous []byte) []Block {
	var all []Block
	for i := first; i < first+n; i++ {
		b := Block{Number: i, Previous: previous}
		for tx := range 1 + i%3 {
			b.Data = append(b.Data, bytes.Repeat(fmt.Appendf(nil, "%s %d %d;", seed, i, tx), int(1+i%20)))
		}
		b.Seal()
		all = append(all, b)
		previous = b.Hash()
	}
	return all
}

// Seal makes the header fit the data, and gives every transaction a validation code.
func (b *Block) Seal() {
	sum := sha256.Sum256(bytes.Join(b.Data, nil))
	b.DataHash = sum[:]
	state := sha256.Sum256(append([]byte("state after "), sum[:]...))
	b.Metadata = [][]byte{[]byte("signatures"), nil, make([]byte, len(b.Data)), nil, state[:]}
}

// Hash is that of the block's header.
func (b Block) Hash() []byte {
	der, err := asn1.Marshal(struct {
		Number   *big.Int
		Previous []byte
		Data     []byte
	}{new(big.Int).SetUint64(b.Number), b.Previous, b.DataHash})
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(der)
	return sum[:]
}

// Record is the block as it is in a file, with its length in front.
func (b Block) Record() []byte {
	var r []byte
	r = protowire.AppendVarint(r, b.Number)
	r = protowire.AppendBytes(r, b.DataHash)
	r = protowire.AppendBytes(r, b.Previous)
	for _, list := range [][][]byte{b.Data, b.Metadata} {
		r = protowire.AppendVarint(r, uint64(len(list)))
		for _, item := range list {
			r = protowire.AppendBytes(r, item)
		}
	}
	return protowire.AppendBytes(nil, r)
}

// Write writes the files of a channel; none gets larger than fileSize unless one block is.
func Write(t testing.TB, dir string, blocks []Block, fileSize int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	number, file := 0, []byte(nil)
	flush := func() {
		if err := os.WriteFile(File(dir, number), file, 0o600); err != nil {
			t.Fatal(err)
		}
		number, file = number+1, nil
	}
	for _, b := range blocks {
		r := b.Record()
		if len(file) > 0 && len(file)+len(r) > fileSize {
			flush()
		}
		file = append(file, r...)
	}
	flush()
}

// Bootstrap makes a channel one that was joined by the snapshot of a block.
func Bootstrap(t testing.TB, dir string, last Block) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var info []byte
	info = protowire.AppendVarint(protowire.AppendTag(info, 1, protowire.VarintType), last.Number)
	info = protowire.AppendBytes(protowire.AppendTag(info, 2, protowire.BytesType), last.Hash())
	info = protowire.AppendBytes(protowire.AppendTag(info, 3, protowire.BytesType), last.Previous)
	if err := os.WriteFile(filepath.Join(dir, "bootstrappingSnapshot.info"), info, 0o600); err != nil {
		t.Fatal(err)
	}
}

// File is the path of a block file.
func File(dir string, number int) string {
	return filepath.Join(dir, fmt.Sprintf("blockfile_%06d", number))
}
