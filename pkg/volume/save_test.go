package volume

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/ledger"
	"pivt.io/pivt/pkg/ledger/ledgertest"
)

func TestSaveParts(t *testing.T) {
	t.Parallel()
	chains := "production/ledgersData/chains/chains/common"
	cases := map[string]struct {
		reason  string
		parts   func(*backup.Parts)
		prepare func(t *testing.T, data string)
		absent  []string
		present []string
		volumes []string
		state   bool
	}{
		"All": {
			reason:  "Everything but what the file system has put there.",
			parts:   func(*backup.Parts) {},
			absent:  []string{"lost+found"},
			present: []string{chains, "production/ledgersData/stateLeveldb/CURRENT", "production/lifecycle", "production/externalbuilder", "production/chaincodes", "production/transientstore", "production/snapshots"},
			volumes: []string{Data, CouchDB},
			state:   true,
		},
		"NoState": {
			reason: "All databases that Fabric builds together stay away together.",
			parts:  func(p *backup.Parts) { p.State = false },
			absent: []string{"production/ledgersData/stateLeveldb", "production/ledgersData/historyLeveldb",
				"production/ledgersData/configHistory", "production/ledgersData/bookkeeper"},
			present: []string{chains, "production/ledgersData/pvtdataStore/CURRENT", "production/ledgersData/ledgerProvider/CURRENT", "production/ledgersData/chains/index/CURRENT"},
			volumes: []string{Data},
		},
		"NoStateBootstrapped": {
			reason: "Where the first blocks are missing, the state cannot be built from blocks.",
			parts:  func(p *backup.Parts) { p.State = false },
			prepare: func(t *testing.T, data string) {
				dir := filepath.Join(data, "production/ledgersData/chains/chains/late")
				ledgertest.Bootstrap(t, dir, blocks[9])
			},
			present: []string{"production/ledgersData/stateLeveldb/CURRENT"},
			volumes: []string{Data, CouchDB},
			state:   true,
		},
		"NoChaincodes": {
			reason:  "Packages can be installed again.",
			parts:   func(p *backup.Parts) { p.Chaincodes = false },
			absent:  []string{"production/lifecycle", "production/externalbuilder", "production/chaincodes"},
			present: []string{chains},
			volumes: []string{Data, CouchDB},
			state:   true,
		},
		"NoTransient": {
			reason:  "Fabric spells the directory so.",
			parts:   func(p *backup.Parts) { p.Transient = false },
			absent:  []string{"production/transientstore"},
			present: []string{chains},
			volumes: []string{Data, CouchDB},
			state:   true,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, s := peerVolumes(t, 40), newStore(t)
			if tc.prepare != nil {
				tc.prepare(t, filepath.Join(dir, Data))
			}
			task := saveTask(peerNode("peer0"), dir, Data, CouchDB)
			tc.parts(&task.Parts)
			n := save(t, s, task)
			var volumes []string
			for _, v := range n.Volumes {
				volumes = append(volumes, v.Name)
			}
			if diff := cmp.Diff(tc.volumes, volumes); diff != "" || n.WithState != tc.state {
				t.Errorf("%s\nwith state %t, volumes: -want, +got:\n%s", tc.reason, n.WithState, diff)
			}
			saved := tree(t, filepath.Join(s.dir, n.Volumes[0].Snapshot))
			for _, path := range tc.absent {
				if _, ok := saved[path]; ok {
					t.Errorf("%s\n%s was saved", tc.reason, path)
				}
			}
			for _, path := range tc.present {
				if _, ok := saved[path]; !ok {
					t.Errorf("%s\n%s was not saved", tc.reason, path)
				}
			}
			want := backup.Channel{Name: "common", Height: 40, Hash: hex.EncodeToString(blocks[39].Hash())}
			if got, _ := n.Channel("common"); got != want {
				t.Errorf("%s\n%+v", tc.reason, got)
			}
			if n.Copied.IsZero() {
				t.Errorf("%s\nno time", tc.reason)
			}
		})
	}
}

func TestSaveOrderer(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	n := save(t, s, saveTask(ordererNode("orderer0"), ordererVolumes(t, "orderer0", 30), Data))
	if len(n.Channels) != 2 || n.Channels[0].Height != 30 || n.Channels[1].Name != "other" || n.WithState {
		t.Errorf("%+v", n)
	}
	saved := tree(t, filepath.Join(s.dir, n.Volumes[0].Snapshot))
	if _, ok := saved["production/orderer/etcdraft/wal/common/0.tmp"]; ok {
		t.Error("a log segment that is not in use yet takes room in the backup")
	}
	// An orderer that has joined nothing may not have written anything.
	empty := save(t, s, saveTask(ordererNode("orderer1"), volumesOf(t, Data), Data))
	if len(empty.Channels) > 0 || len(empty.Volumes) != 1 {
		t.Errorf("%+v", empty)
	}
}

func TestSaveRefuses(t *testing.T) {
	t.Parallel()
	data := func(dir string, rel string) string { return filepath.Join(dir, Data, "production", rel) }
	cases := map[string]struct {
		reason    string
		before    func(t *testing.T, dir string)
		during    func(t *testing.T, dir string)
		want      error
		text      string
		transient bool
	}{
		"Open": {
			reason: "A node that still runs holds the locks of its databases.",
			before: func(t *testing.T, dir string) { lock(t, data(dir, "ledgersData/fileLock/LOCK")) },
			want:   ErrInUse, text: "production/ledgersData/fileLock/LOCK", transient: true,
		},
		"Opened": {
			reason: "Or was started too early.",
			during: func(t *testing.T, dir string) { lock(t, data(dir, "ledgersData/chains/index/LOCK")) },
			want:   ErrInUse, transient: true,
		},
		"Appended": {
			reason: "A block that comes in between may be in one file and not in another.",
			during: func(t *testing.T, dir string) {
				ledgertest.Write(t, data(dir, "ledgersData/chains/chains/common"), blocks[:41], fileSize)
			},
			want: ErrChanged, text: "blockfile_", transient: true,
		},
		"Rewritten": {
			reason: "The same size is not enough.",
			during: func(t *testing.T, dir string) {
				file := data(dir, "ledgersData/stateLeveldb/CURRENT")
				if err := os.Chtimes(file, time.Time{}, time.Now().Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
			},
			want: ErrChanged, text: "production/ledgersData/stateLeveldb/CURRENT", transient: true,
		},
		"Added": {
			reason: "New files count.",
			during: func(t *testing.T, dir string) {
				put(t, data(dir, ""), map[string]string{"transientstore/000009.log": ""})
			},
			want: ErrChanged, text: "production/transientstore/000009.log", transient: true,
		},
		"Removed": {
			reason: "And old ones.",
			during: func(t *testing.T, dir string) { _ = os.Remove(data(dir, "transientstore/CURRENT")) },
			want:   ErrChanged, text: "production/transientstore/CURRENT", transient: true,
		},
		"HalfRestored": {
			reason: "What is neither the old nor the new is no backup.",
			before: func(t *testing.T, dir string) {
				v, err := openSwap(filepath.Join(dir, Data), fast)
				if err != nil {
					t.Fatal(err)
				}
				if err := v.mark(marker{Key: "k0", Phase: placing}); err != nil {
					t.Fatal(err)
				}
			},
			text: "the restore of backup k0 is not complete",
		},
		"Damaged": {
			reason: "A damaged ledger is not backed up over good ones.",
			before: func(t *testing.T, dir string) {
				_ = os.Remove(data(dir, "ledgersData/chains/chains/common/blockfile_000001"))
			},
			want: ledger.ErrDamaged, text: "blockfile_000001: the file is missing",
		},
		"NotMounted": {
			reason: "A volume that is not there is not saved as an empty one.",
			before: func(t *testing.T, dir string) { _ = os.RemoveAll(filepath.Join(dir, CouchDB)) },
			want:   os.ErrNotExist,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, s := peerVolumes(t, 40), newStore(t)
			if tc.before != nil {
				tc.before(t, dir)
			}
			if tc.during != nil {
				once := false
				s.saving = func() {
					if !once {
						once = true
						tc.during(t, dir)
					}
				}
			}
			_, err := Save(t.Context(), s, saveTask(peerNode("peer0"), dir, Data, CouchDB))
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) || exit.IsTransient(err) != tc.transient {
				t.Errorf("%s\n%v (transient %t)", tc.reason, err, exit.IsTransient(err))
			}
		})
	}
}

// lock holds a file as LevelDB does.
func lock(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
}
