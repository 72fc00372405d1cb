package ledger_test

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"pivt.io/pivt/pkg/ledger"
	"pivt.io/pivt/pkg/ledger/ledgertest"
)

// FuzzRead lets anybody have written two block files and the snapshot's.
func FuzzRead(f *testing.F) {
	blocks := ledgertest.Chain("a", 0, 6, nil)
	var one, two []byte
	for i, b := range blocks {
		if i < 3 {
			one = append(one, b.Record()...)
		} else {
			two = append(two, b.Record()...)
		}
	}
	info, _ := hex.DecodeString("08091202abcd")
	f.Add(one, two, []byte(nil))
	f.Add(one, two[:len(two)-3], info)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, []byte{0x80}, info)
	f.Add([]byte{10, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, []byte{5, 0, 0, 0, 0, 0}, []byte{8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 18, 1, 1})
	f.Fuzz(func(t *testing.T, one, two, info []byte) {
		dir := t.TempDir()
		for name, data := range map[string][]byte{"blockfile_000000": one, "blockfile_000001": two, "bootstrappingSnapshot.info": info} {
			if name == "bootstrappingSnapshot.info" && len(info) == 0 {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c := ledger.Channel{Name: "common", Dir: dir}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := ledger.Verify(t.Context(), c, nil)
		head, headErr := ledger.Head(c)
		runtime.ReadMemStats(&after)
		// The buffer, and less than a kilobyte for the smallest of blocks.
		if used, limit := after.TotalAlloc-before.TotalAlloc, uint64(4<<20+1<<10*(len(one)+len(two))); used > limit {
			t.Errorf("%d bytes allocated for files of %d", used, len(one)+len(two))
		}
		if err == nil && headErr == nil && got != head {
			t.Errorf("Verify says %+v, Head %+v", got, head)
		}
		if err == nil && headErr != nil {
			t.Errorf("what is whole has no head: %v", headErr)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	dir := b.TempDir()
	blocks := ledgertest.Chain("a", 0, 2000, nil)
	var previous []byte
	size := int64(0)
	for i := range blocks {
		// Blocks of a busy network: a hundred transactions of 4 KiB.
		blocks[i].Data = nil
		for range 100 {
			blocks[i].Data = append(blocks[i].Data, make([]byte, 4096))
		}
		blocks[i].Previous = previous
		blocks[i].Seal()
		previous = blocks[i].Hash()
		if size += int64(len(blocks[i].Record())); size > 256<<20 {
			blocks = blocks[:i+1]
			break
		}
	}
	ledgertest.Write(b, dir, blocks, 64<<20)
	c := ledger.Channel{Name: "common", Dir: dir}
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ledger.Verify(b.Context(), c, nil); err != nil {
			b.Fatal(err)
		}
	}
}
