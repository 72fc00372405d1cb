package ledger_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/ledger"
	"pivt.io/pivt/pkg/ledger/ledgertest"
)

const fileSize = 2000 // a few blocks each

func hash(b ledgertest.Block) string { return hex.EncodeToString(b.Hash()) }

func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replaced writes blocks with one of them changed.
func replaced(t *testing.T, dir string, blocks []ledgertest.Block, at int, change func(*ledgertest.Block)) {
	t.Helper()
	blocks = append([]ledgertest.Block(nil), blocks...)
	change(&blocks[at])
	ledgertest.Write(t, dir, blocks, fileSize)
}

func TestVerify(t *testing.T) {
	t.Parallel()
	blocks := ledgertest.Chain("a", 0, 40, nil)
	whole := backup.Channel{Name: "common", Height: 40, Hash: hash(blocks[39])}
	cases := map[string]struct {
		reason  string
		write   func(t *testing.T, dir string)
		want    backup.Channel
		head    *backup.Channel // if another one than want
		damage  string          // what Verify says
		inHead  bool            // Head says so, too
		another bool            // it is no damage but an error of the system
	}{
		"Whole": {
			reason: "Blocks follow each other over many files.",
			write:  func(t *testing.T, dir string) { ledgertest.Write(t, dir, blocks, fileSize) },
			want:   whole,
		},
		"OneFile": {
			reason: "A young channel has one file.",
			write:  func(t *testing.T, dir string) { ledgertest.Write(t, dir, blocks, 64<<20) },
			want:   whole,
		},
		"Empty": {
			reason: "A channel that is being joined has a directory and nothing in it.",
			write:  func(*testing.T, string) {},
			want:   backup.Channel{Name: "common"},
		},
		"EmptyFile": {
			reason: "Fabric makes the first file before it has a block for it.",
			write:  func(t *testing.T, dir string) { ledgertest.Write(t, dir, nil, fileSize) },
			want:   backup.Channel{Name: "common"},
		},
		"Snapshot": {
			reason: "A peer that joined by snapshot has no blocks before that.",
			write: func(t *testing.T, dir string) {
				ledgertest.Bootstrap(t, dir, blocks[9])
				ledgertest.Write(t, dir, blocks[10:], fileSize)
			},
			want: backup.Channel{Name: "common", First: 10, Height: 40, Hash: hash(blocks[39])},
		},
		"SnapshotAlone": {
			reason: "It may have none at all yet, but knows the last block's hash.",
			write:  func(t *testing.T, dir string) { ledgertest.Bootstrap(t, dir, blocks[9]) },
			want:   backup.Channel{Name: "common", First: 10, Height: 10, Hash: hash(blocks[9])},
		},
		"SnapshotOfAnother": {
			reason: "The first block must follow the snapshot.",
			write: func(t *testing.T, dir string) {
				ledgertest.Bootstrap(t, dir, ledgertest.Chain("b", 0, 10, nil)[9])
				ledgertest.Write(t, dir, blocks[10:], fileSize)
			},
			want:   whole,
			head:   &backup.Channel{Name: "common", First: 10, Height: 40, Hash: hash(blocks[39])},
			damage: "blockfile_000000: block 10 at offset 0: it does not follow the block before it",
		},
		"SnapshotUnreadable": {
			reason: "Without it nobody knows where the channel begins.",
			write: func(t *testing.T, dir string) {
				ledgertest.Bootstrap(t, dir, blocks[9])
				edit(t, filepath.Join(dir, "bootstrappingSnapshot.info"), func(b []byte) []byte { return b[:len(b)/2] })
			},
			damage: "bootstrappingSnapshot.info: it does not say",
			inHead: true,
		},
		"SnapshotNewerThanBlocks": {
			reason: "The last block must not lie before the first.",
			write: func(t *testing.T, dir string) {
				ledgertest.Write(t, dir, blocks[:5], fileSize)
				ledgertest.Bootstrap(t, dir, blocks[9])
			},
			damage: "block 10 at offset 0: it has number 0",
			inHead: true,
		},
		"Torn": {
			reason: "A crash leaves half a block at the end, which Fabric cuts off.",
			write: func(t *testing.T, dir string) {
				ledgertest.Write(t, dir, blocks, 64<<20)
				edit(t, ledgertest.File(dir, 0), func(b []byte) []byte { return b[:len(b)-1] })
			},
			want: backup.Channel{Name: "common", Height: 39, Hash: hash(blocks[38])},
		},
		"TornLength": {
			reason: "Or a part of a block's length.",
			write: func(t *testing.T, dir string) {
				ledgertest.Write(t, dir, blocks, 64<<20)
				edit(t, ledgertest.File(dir, 0), func(b []byte) []byte { return append(b, 0xff, 0xff) })
			},
			want: whole,
		},
		"TornNewFile": {
			reason: "Or a new file without a whole block.",
			write: func(t *testing.T, dir string) {
				ledgertest.Write(t, dir, blocks, 64<<20)
				if err := os.WriteFile(ledgertest.File(dir, 1), []byte{0x70, 1, 2}, 0o600); err != nil {
					t.Fatal(err)
				}
			},
			want: whole,
		},
		"TornEarlier": {
			reason: "Only the last file can be torn.",
			write: func(t *testing.T, dir string) {
				ledgertest.Write(t, dir, blocks, fileSize)
				edit(t, ledgertest.File(dir, 1), func(b []byte) []byte { return b[:len(b)-1] })
			},
			head:   &whole,
			damage: "blockfile_000001: block 15 at offset 1620: the file ends before the block does",
		},
		"FileMissing": {
			reason: "Files are numbered without gaps.",
			write: func(t *testing.T, dir string) {
				ledgertest.Write(t, dir, blocks, fileSize)
				if err := os.Remove(ledgertest.File(dir, 2)); err != nil {
					t.Fatal(err)
				}
			},
			damage: "blockfile_000002: the file is missing; there are others up to blockfile_000005",
			inHead: true,
		},
		"FirstFileMissing": {
			reason: "The first is no exception.",
			write: func(t *testing.T, dir string) {
				ledgertest.Write(t, dir, blocks, fileSize)
				if err := os.Remove(ledgertest.File(dir, 0)); err != nil {
					t.Fatal(err)
				}
			},
			damage: "blockfile_000000: the file is missing",
			inHead: true,
		},
		"FileTwice": {
			reason: "A file with the blocks of another one does not go unnoticed.",
			write: func(t *testing.T, dir string) {
				ledgertest.Write(t, dir, blocks, fileSize)
				data, err := os.ReadFile(ledgertest.File(dir, 1))
				if err != nil {
					t.Fatal(err)
				}
				edit(t, ledgertest.File(dir, 2), func([]byte) []byte { return data })
			},
			head:   &whole,
			damage: "blockfile_000002: block 16 at offset 0: it has number 10",
		},
		"StrangeName": {
			reason: "Fabric does not start with a block file whose number it cannot read.",
			write: func(t *testing.T, dir string) {
				ledgertest.Write(t, dir, blocks, fileSize)
				if err := os.WriteFile(filepath.Join(dir, "blockfile_1"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			},
			damage: "blockfile_1: no block file has such a name",
			inHead: true,
		},
		"Link": {
			reason: "A snapshot must not make us read files that are not in it.",
			write: func(t *testing.T, dir string) {
				if err := os.Symlink("/etc/passwd", ledgertest.File(dir, 0)); err != nil {
					t.Fatal(err)
				}
			},
			damage: "blockfile_000000: it is not a plain file",
			inHead: true,
		},
		"Pipe": {
			reason: "Nor wait for somebody to write.",
			write: func(t *testing.T, dir string) {
				if err := syscall.Mkfifo(ledgertest.File(dir, 0), 0o600); err != nil {
					t.Fatal(err)
				}
			},
			damage: "blockfile_000000: it is not a plain file",
			inHead: true,
		},
		"DataChanged": {
			reason: "A transaction is not what the header says.",
			write: func(t *testing.T, dir string) {
				replaced(t, dir, blocks, 20, func(b *ledgertest.Block) { b.Data = [][]byte{[]byte("other")} })
			},
			head:   &whole,
			damage: "blockfile_000002: block 20 at offset 1520: its data do not match its header",
		},
		"HeaderChanged": {
			reason: "A block that fits in itself is not the one the next block follows.",
			write: func(t *testing.T, dir string) {
				replaced(t, dir, blocks, 20, func(b *ledgertest.Block) { b.Data = [][]byte{[]byte("other")}; b.Seal() })
			},
			head:   &whole,
			damage: "blockfile_000002: block 21 at offset 1644: it does not follow the block before it",
		},
		"NumberChanged": {
			reason: "Numbers count.",
			write: func(t *testing.T, dir string) {
				replaced(t, dir, blocks, 20, func(b *ledgertest.Block) { b.Number = 7 })
			},
			head:   &whole,
			damage: "blockfile_000002: block 20 at offset 1520: it has number 7",
		},
		"LongHash": {
			reason: "No hash is a megabyte long.",
			write: func(t *testing.T, dir string) {
				replaced(t, dir, blocks, 39, func(b *ledgertest.Block) { b.Previous = make([]byte, 1<<20) })
			},
			damage: "a hash in its header is longer than 64 bytes",
			inHead: true,
		},
		"Zeros": {
			reason: "A file system that lost its mind after a power failure leaves zeros; Fabric does not start with them.",
			write: func(t *testing.T, dir string) {
				ledgertest.Write(t, dir, blocks, 64<<20)
				edit(t, ledgertest.File(dir, 0), func(b []byte) []byte { return append(b, make([]byte, 100)...) })
			},
			damage: "it is longer than its length says",
			inHead: true,
		},
		"Gone": {
			reason:  "What is not there has no height.",
			write:   func(t *testing.T, dir string) { _ = os.Remove(dir) },
			another: true,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "common")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			tc.write(t, dir)
			c := ledger.Channel{Name: "common", Dir: dir}
			next := tc.want.First
			got, err := ledger.Verify(t.Context(), c, func(number uint64, hash []byte) {
				if want := blocks[number]; number != next || string(hash) != string(want.Hash()) && tc.damage == "" {
					t.Errorf("%s\nblock %d instead of %d, hash %x", tc.reason, number, next, hash)
				}
				next++
			})
			head, headErr := ledger.Head(c)
			if tc.another {
				if err == nil || headErr == nil || errors.Is(err, ledger.ErrDamaged) {
					t.Errorf("%s\nVerify: %v, Head: %v", tc.reason, err, headErr)
				}
				return
			}
			if errors.Is(headErr, ledger.ErrDamaged) != tc.inHead {
				t.Errorf("%s\nHead: %v", tc.reason, headErr)
			}
			if tc.damage != "" {
				if !errors.Is(err, ledger.ErrDamaged) || !strings.Contains(err.Error(), tc.damage) {
					t.Errorf("%s\nVerify: %v\nwant %q", tc.reason, err, tc.damage)
				}
			} else if err != nil {
				t.Errorf("%s\nVerify: %v", tc.reason, err)
			} else if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\nVerify: -want, +got:\n%s", tc.reason, diff)
			}
			want := tc.want
			if tc.head != nil {
				want = *tc.head
			}
			if diff := cmp.Diff(want, head); diff != "" && !tc.inHead {
				t.Errorf("%s\nHead: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestEveryByte changes each byte of a small ledger in turn. Where the chain does not see it,
// the outcome or the height must, or it is one that nothing in a block protects: orderers'
// signatures, and fields that Fabric does not use.
func TestEveryByte(t *testing.T) {
	t.Parallel()
	blocks := ledgertest.Chain("a", 0, 4, nil)
	dir := t.TempDir()
	ledgertest.Write(t, dir, blocks, 64<<20)
	c := ledger.Channel{Name: "common", Dir: dir}
	read := func() string {
		var all strings.Builder
		got, err := ledger.Walk(t.Context(), c, func(b ledger.Block) { fmt.Fprintf(&all, "%x %x\n", b.Hash, b.Outcome) })
		return fmt.Sprint(all.String(), got, err)
	}
	good := read()
	data, err := os.ReadFile(ledgertest.File(dir, 0))
	if err != nil {
		t.Fatal(err)
	}
	unseen := 0
	for i := range data {
		data[i] ^= 1
		if err := os.WriteFile(ledgertest.File(dir, 0), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if read() == good {
			unseen++
		}
		data[i] ^= 1
	}
	if want := len(blocks) * len("signatures"); unseen != want {
		t.Errorf("%d changed bytes of %d went unseen, want %d: the signatures", unseen, len(data), want)
	}
}

func TestChannels(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		make   []string
		want   []string
	}{
		"Nothing":      {"A node that has joined no channel has no directory.", nil, nil},
		"Peer":         {"Sorted, and nothing but directories.", []string{"ledgersData/chains/chains/b/", "ledgersData/chains/chains/a/", "ledgersData/chains/index/", "ledgersData/chains/chains/file"}, []string{"a", "b"}},
		"Orderer":      {"An orderer keeps them elsewhere.", []string{"orderer/chains/a/", "orderer/index/", "orderer/etcdraft/wal/a/"}, []string{"a"}},
		"EmptyOrderer": {"It makes the directory before it joins a channel.", []string{"orderer/chains/"}, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := filepath.Join(t.TempDir(), "production")
			for _, path := range tc.make {
				if err := os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o755); err != nil {
					t.Fatal(err)
				}
				if !strings.HasSuffix(path, "/") {
					if err := os.WriteFile(filepath.Join(root, path), nil, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			channels, err := ledger.Channels(root)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range channels {
				got = append(got, c.Name)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestOutcome shows what no header covers.
func TestOutcome(t *testing.T) {
	t.Parallel()
	outcome := func(change func(*ledgertest.Block)) string {
		dir := t.TempDir()
		replaced(t, dir, ledgertest.Chain("a", 0, 1, nil), 0, change)
		var got string
		if _, err := ledger.Walk(t.Context(), ledger.Channel{Name: "common", Dir: dir}, func(b ledger.Block) { got = string(b.Outcome) }); err != nil {
			t.Fatal(err)
		}
		return got
	}
	same := outcome(func(*ledgertest.Block) {})
	cases := map[string]struct {
		reason string
		change func(*ledgertest.Block)
		differ bool
	}{
		"Signatures": {"Peers may have a block from other orderers.", func(b *ledgertest.Block) { b.Metadata[0] = []byte("others") }, false},
		"Code":       {"A transaction was found invalid.", func(b *ledgertest.Block) { b.Metadata[2][0] = 11 }, true},
		"State":      {"It had another effect.", func(b *ledgertest.Block) { b.Metadata[4][5] ^= 1 }, true},
		"Orderer":    {"An orderer does not know.", func(b *ledgertest.Block) { b.Metadata[2], b.Metadata[4] = nil, nil }, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := outcome(tc.change); (got != same) != tc.differ {
				t.Errorf("%s\n%x, before %x", tc.reason, got, same)
			}
		})
	}
}
