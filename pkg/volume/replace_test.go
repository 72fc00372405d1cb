package volume

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/repository"
)

func TestRestoreReplaces(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	a := save(t, s, saveTask(ordererNode("orderer0"), ordererVolumes(t, "orderer0", 30), Data))
	b := save(t, s, saveTask(ordererNode("orderer1"), ordererVolumes(t, "orderer1", 40), Data))
	follower := ordererVolumes(t, "orderer2", 20)
	if err := os.RemoveAll(filepath.Join(follower, Data, wal, "common")); err != nil {
		t.Fatal(err)
	}
	c := save(t, s, saveTask(ordererNode("orderer2"), follower, Data))
	const at = "data/production/orderer/"
	cases := map[string]struct {
		reason  string
		node    backup.Node
		replace []backup.Replacement
		want    map[string]string // "" is not there
		height  uint64
	}{
		"Raft": {
			reason: "Chain and log are one copy's; other channels, and what else is there, are the node's own.", node: b,
			replace: []backup.Replacement{{Channel: "common", From: a, Log: true}},
			want: map[string]string{
				at + "etcdraft/wal/common/0.wal":       "file orderer0's of height 30",
				at + "etcdraft/snapshot/common/1.snap": "file orderer0's of height 30",
				at + "etcdraft/wal/other/0.wal":        "file orderer1's of height 40",
				at + "etcdraft/snapshot/other":         "directory",
				at + "index":                           "",
				at + "pendingops/join":                 "directory",
			},
			height: 30,
		},
		"BFT": {
			reason: "A log with signatures of another node is of no use.", node: b,
			replace: []backup.Replacement{{Channel: "common", From: a}},
			want: map[string]string{
				at + "etcdraft/wal/common":       "",
				at + "etcdraft/snapshot/common":  "",
				at + "etcdraft/wal/other/0.wal":  "file orderer1's of height 40",
				at + "index":                     "",
				at + "chains/other/blockfile_00": "",
			},
			height: 30,
		},
		"Follower": {
			reason: "An orderer without a log gets none.", node: c,
			replace: []backup.Replacement{{Channel: "common", From: a, Log: true}},
			want: map[string]string{
				at + "etcdraft/wal/common":      "",
				at + "etcdraft/snapshot/common": "",
				at + "index":                    "",
			},
			height: 30,
		},
		"None": {
			reason: "Alone, it keeps what is its own.", node: b,
			want: map[string]string{
				at + "index/CURRENT":             "file orderer1's of height 40",
				at + "etcdraft/wal/common/0.wal": "file orderer1's of height 40",
			},
			height: 40,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := volumesOf(t, Data)
			if err := Restore(t.Context(), s, RestoreTask{Key: "k1", Node: tc.node, Replace: tc.replace, Dir: dir}); err != nil {
				t.Fatal(err)
			}
			got := content(t, dir)
			for path, want := range tc.want {
				if got[path] != want {
					t.Errorf("%s\n%s: %q, want %q", tc.reason, path, got[path], want)
				}
			}
			heads, err := Inspect(dir)
			if err != nil || len(heads) != 2 || heads[0].Height != tc.height {
				t.Errorf("%s\n%+v, %v", tc.reason, heads, err)
			}
		})
	}
	t.Run("NoLog", func(t *testing.T) {
		t.Parallel()
		dir := volumesOf(t, Data)
		err := Restore(t.Context(), s, RestoreTask{Key: "k1", Node: b, Replace: []backup.Replacement{{Channel: "common", From: c, Log: true}}, Dir: dir})
		if !errors.Is(err, repository.ErrNotFound) || !strings.Contains(err.Error(), "production/orderer/etcdraft/wal/common") {
			t.Errorf("consenters without a log would wait for each other for ever: %v", err)
		}
	})
}

// TestRestoreHostile lets a snapshot lead somewhere else.
func TestRestoreHostile(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	a := save(t, s, saveTask(ordererNode("orderer0"), ordererVolumes(t, "orderer0", 30), Data))
	b := save(t, s, saveTask(ordererNode("orderer1"), ordererVolumes(t, "orderer1", 40), Data))
	outside := t.TempDir()
	chains := filepath.Join(s.dir, b.Volumes[0].Snapshot, "production/orderer/chains")
	if err := errors.Join(os.RemoveAll(chains), os.Symlink(outside, chains)); err != nil {
		t.Fatal(err)
	}
	dir := volumesOf(t, Data)
	err := Restore(t.Context(), s, RestoreTask{Key: "k1", Node: b, Replace: []backup.Replacement{{Channel: "common", From: a, Log: true}}, Dir: dir})
	if got := tree(t, outside); err == nil || len(got) > 1 {
		t.Errorf("written outside of the volume: %v, %v", got, err)
	}
}
