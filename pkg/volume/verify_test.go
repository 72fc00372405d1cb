package volume

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/ledger"
	"pivt.io/pivt/pkg/ledger/ledgertest"
	"pivt.io/pivt/pkg/repository"
)

// wholeBackup has two peers and two orderers of different heights, and a CA.
func wholeBackup(t *testing.T) (*dirStore, *backup.Manifest) {
	t.Helper()
	s := newStore(t)
	ca := volumesOf(t, Data)
	put(t, filepath.Join(ca, Data), map[string]string{"fabric-ca-server.db": "users"})
	return s, &backup.Manifest{Key: "k1", Nodes: []backup.Node{
		save(t, s, saveTask(peerNode("peer0"), peerVolumes(t, 40), Data, CouchDB)),
		save(t, s, saveTask(peerNode("peer1"), peerVolumes(t, 44), Data, CouchDB)),
		save(t, s, saveTask(ordererNode("orderer0"), ordererVolumes(t, "orderer0", 45), Data)),
		save(t, s, saveTask(ordererNode("orderer1"), ordererVolumes(t, "orderer1", 50), Data)),
		save(t, s, saveTask(backup.Node{Name: "hlf-ca--org1", Kind: "ca", Org: "Org1"}, ca, Data)),
	}}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	chain := func(s *dirStore, n backup.Node) string {
		at := "production/ledgersData/chains/chains/common"
		if n.Kind == "orderer" {
			at = "production/orderer/chains/common"
		}
		return filepath.Join(s.dir, n.Volumes[0].Snapshot, at)
	}
	rewrite := func(t *testing.T, dir string, blocks []ledgertest.Block) {
		t.Helper()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		ledgertest.Write(t, dir, blocks, fileSize)
	}
	// count makes the manifest fit what a case has done to a snapshot, so that only the chain
	// can tell.
	recount := func(t *testing.T, s *dirStore, n *backup.Node) {
		t.Helper()
		v := &n.Volumes[0]
		var err error
		if v.Files, v.Bytes, err = count(filepath.Join(s.dir, v.Snapshot)); err != nil {
			t.Fatal(err)
		}
	}
	cases := map[string]struct {
		reason string
		harm   func(t *testing.T, s *dirStore, m *backup.Manifest)
		want   []string
	}{
		"Whole": {
			reason: "Nodes need not be of the same height.",
			harm:   func(*testing.T, *dirStore, *backup.Manifest) {},
		},
		"Byte": {
			reason: "One byte of a transaction is enough.",
			harm: func(t *testing.T, s *dirStore, m *backup.Manifest) {
				file := ledgertest.File(chain(s, m.Nodes[1]), 2)
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				data[1000] ^= 1
				if err := os.WriteFile(file, data, 0o600); err != nil {
					t.Fatal(err)
				}
			},
			want: []string{"hlf-peer--org1--peer1: volume data: channel common: production/ledgersData/chains/chains/common/blockfile_000002: block 14: at offset 460: its data do not match its header"},
		},
		"FileMissing": {
			reason: "The files before and after are no use without it.",
			harm: func(t *testing.T, s *dirStore, m *backup.Manifest) {
				_ = os.Remove(ledgertest.File(chain(s, m.Nodes[2]), 1))
				recount(t, s, &m.Nodes[2])
			},
			want: []string{"hlf-orderer--orderer--orderer0: volume data: channel common: production/orderer/chains/common/blockfile_000001: the file is missing"},
		},
		"LastFileMissing": {
			reason: "A chain that is too short is whole in itself.",
			harm: func(t *testing.T, s *dirStore, m *backup.Manifest) {
				rewrite(t, chain(s, m.Nodes[2]), blocks[:37])
				recount(t, s, &m.Nodes[2])
			},
			want: []string{"hlf-orderer--orderer--orderer0: volume data: channel common: it has height 37, the manifest says 45"},
		},
		"OtherFileMissing": {
			reason: "What is not a block is counted.",
			harm: func(_ *testing.T, s *dirStore, m *backup.Manifest) {
				_ = os.Remove(filepath.Join(s.dir, m.Nodes[0].Volumes[1].Snapshot, "_dbs.couch"))
			},
			want: []string{"hlf-peer--org1--peer0: volume couchdb: the snapshot has 1 files and 12 bytes, the manifest says 2 and 24"},
		},
		"OtherChain": {
			reason: "A node may have a whole chain that is not that of the others.",
			harm: func(t *testing.T, s *dirStore, m *backup.Manifest) {
				other := slices.Concat(blocks[:20], ledgertest.Chain("fork", 20, 20, blocks[19].Hash()))
				rewrite(t, chain(s, m.Nodes[0]), other)
				recount(t, s, &m.Nodes[0])
				m.Nodes[0].Channels[0].Hash = hex.EncodeToString(other[39].Hash())
			},
			want: []string{"hlf-peer--org1--peer0: volume data: channel common: block 39: it has hash "},
		},
		"OtherCodes": {
			reason: "Peers may agree on the blocks and not on which transactions are valid.",
			harm: func(t *testing.T, s *dirStore, m *backup.Manifest) {
				other := slices.Clone(blocks[:40])
				other[7].Metadata = slices.Clone(other[7].Metadata)
				other[7].Metadata[2] = []byte{11, 11}
				rewrite(t, chain(s, m.Nodes[0]), other)
				recount(t, s, &m.Nodes[0])
			},
			want: []string{"hlf-peer--org1--peer1: volume data: channel common: block 39: validation codes or state hashes, here or earlier, are not those of hlf-peer--org1--peer0"},
		},
		"BySnapshot": {
			reason: "A peer that joined by snapshot knows no earlier codes, and disagrees with nobody about them.",
			harm: func(t *testing.T, s *dirStore, m *backup.Manifest) {
				rewrite(t, chain(s, m.Nodes[0]), blocks[10:40])
				ledgertest.Bootstrap(t, chain(s, m.Nodes[0]), blocks[9])
				recount(t, s, &m.Nodes[0])
				m.Nodes[0].Channels[0].First = 10
			},
		},
		"First": {
			reason: "Where it begins is recorded.",
			harm:   func(_ *testing.T, _ *dirStore, m *backup.Manifest) { m.Nodes[0].Channels[0].First = 10 },
			want:   []string{"hlf-peer--org1--peer0: volume data: channel common: it begins with block 0, the manifest says 10"},
		},
		"Hash": {
			reason: "So is the hash of the last block.",
			harm:   func(_ *testing.T, _ *dirStore, m *backup.Manifest) { m.Nodes[3].Channels[1].Hash = "abcd" },
			want:   []string{"hlf-orderer--orderer--orderer1: volume data: channel other: block 4: it has hash "},
		},
		"ChannelMissing": {
			reason: "All channels of the manifest must be there.",
			harm: func(_ *testing.T, _ *dirStore, m *backup.Manifest) {
				m.Nodes[0].Channels = append(m.Nodes[0].Channels, backup.Channel{Name: "lost", Height: 3})
			},
			want: []string{"hlf-peer--org1--peer0: volume data: channel lost: the snapshot does not have it"},
		},
		"ChannelUnknown": {
			reason: "And no others.",
			harm:   func(_ *testing.T, _ *dirStore, m *backup.Manifest) { m.Nodes[0].Channels = nil },
			want:   []string{"hlf-peer--org1--peer0: volume data: channel common: it is not in the manifest"},
		},
		"Unreadable": {
			reason: "A snapshot that the repository cannot give does not keep the others from being read.",
			harm: func(t *testing.T, s *dirStore, m *backup.Manifest) {
				s.errs[m.Nodes[0].Volumes[0].Snapshot] = repository.ErrDamaged
				s.errs[m.Nodes[2].Volumes[0].Snapshot] = repository.ErrNotFound
				_ = os.Remove(ledgertest.File(chain(s, m.Nodes[3]), 1))
				recount(t, s, &m.Nodes[3])
			},
			want: []string{
				"hlf-peer--org1--peer0: volume data: repository is damaged",
				"hlf-orderer--orderer--orderer0: volume data: not in the repository",
				"hlf-orderer--orderer--orderer1: volume data: channel common: production/orderer/chains/common/blockfile_000001: the file is missing",
			},
		},
		"NoSnapshot": {
			reason: "A node without data is no node.",
			harm:   func(_ *testing.T, _ *dirStore, m *backup.Manifest) { m.Nodes[0].Volumes = nil },
			want:   []string{"hlf-peer--org1--peer0: there is no snapshot of its data"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, m := wholeBackup(t)
			tc.harm(t, s, m)
			scratch := t.TempDir()
			var nodes []string
			findings, err := Verify(t.Context(), s, *m, scratch, func(p Progress) {
				if !slices.Contains(nodes, p.Node) {
					nodes = append(nodes, p.Node)
				}
			})
			if err != nil {
				t.Fatalf("%s\n%v", tc.reason, err)
			}
			var got []string
			for _, f := range findings {
				got = append(got, f.String())
			}
			if len(got) != len(tc.want) {
				t.Fatalf("%s\n%s", tc.reason, strings.Join(got, "\n"))
			}
			for i, want := range tc.want {
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("%s\ngot  %s\nwant %s", tc.reason, got[i], want)
				}
			}
			if left := tree(t, scratch); len(left) > 1 {
				t.Errorf("%s\nscratch still has %v", tc.reason, left)
			}
			if name == "Whole" && len(nodes) != len(m.Nodes) {
				t.Errorf("progress of %v", nodes)
			}
		})
	}
}

func TestVerifyCannotTell(t *testing.T) {
	t.Parallel()
	s, m := wholeBackup(t)
	s.errs[m.Nodes[0].Volumes[0].Snapshot] = repository.ErrDamaged
	s.errs[m.Nodes[2].Volumes[0].Snapshot] = repository.ErrUnreachable
	findings, err := Verify(t.Context(), s, *m, t.TempDir(), nil)
	if !errors.Is(err, repository.ErrUnreachable) || len(findings) != 1 {
		t.Errorf("a storage that does not answer is no finding, and hides none: %v, %v", findings, err)
	}
	if !strings.Contains(err.Error(), m.Nodes[2].Name) {
		t.Errorf("the error does not say where: %v", err)
	}
}

func TestMajority(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		votes  []vote
		want   string
	}{
		"Most":  {"Two of three are right.", []vote{{"a", "1"}, {"b", "2"}, {"c", "2"}}, "b"},
		"Equal": {"Of two, the one that was saved first is.", []vote{{"a", "1"}, {"b", "2"}}, "a"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, majority(tc.votes).node); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestLocal: a disk of the machine that verifies is not the backup's fault.
func TestLocal(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]bool{
		nil: false,
		&fs.PathError{Op: "read", Err: syscall.EIO}:                               true,
		&fs.PathError{Op: "open", Err: syscall.EMFILE}:                            true,
		&fs.PathError{Op: "open", Err: syscall.ENOENT}:                            false, // the backup lacks it
		&fs.PathError{Op: "open", Err: syscall.ENOTDIR}:                           false,
		&ledger.Damage{Reason: "hash"}:                                            false,
		fmt.Errorf("reading: %w", &fs.PathError{Op: "read", Err: syscall.EACCES}): true,
	} {
		if got := local(err); got != want {
			t.Errorf("%v: got %v", err, got)
		}
	}
}
