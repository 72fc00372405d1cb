package volume

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/ledger/ledgertest"
	"pivt.io/pivt/pkg/repository"
)

// peerBackup is a peer saved with 40 blocks.
func peerBackup(t *testing.T, change ...func(*SaveTask)) (*dirStore, backup.Node) {
	t.Helper()
	s := newStore(t)
	task := saveTask(peerNode("peer0"), peerVolumes(t, 40), Data, CouchDB)
	for _, c := range change {
		c(&task)
	}
	return s, save(t, s, task)
}

// content is what a node sees of its volumes.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := tree(t, dir)
	for path := range all {
		if slices.ContainsFunc(strings.Split(path, "/"), ours) {
			delete(all, path)
		}
	}
	return all
}

func leftovers(t *testing.T, dir string) {
	t.Helper()
	if found, _ := filepath.Glob(filepath.Join(dir, "*", stateDir)); len(found) > 0 {
		t.Errorf("left behind: %v", found)
	}
}

func same(t *testing.T, what string, want, got map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s: -want, +got:\n%s", what, diff)
	}
}

func TestRestore(t *testing.T) {
	t.Parallel()
	saved := content(t, peerVolumes(t, 40))
	cases := map[string]struct {
		reason string
		dir    func(t *testing.T) string
	}{
		"Empty": {"A new volume has nothing but lost+found.", func(t *testing.T) string { return volumesOf(t, Data, CouchDB) }},
		"Older": {"The backup has more than the volume.", func(t *testing.T) string { return peerVolumes(t, 20) }},
		"Damaged": {"Damage is what backups are for.", func(t *testing.T) string {
			dir := peerVolumes(t, 50)
			if err := os.Truncate(ledgertest.File(filepath.Join(dir, Data, "production/ledgersData/chains/chains/common"), 1), 5); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(ledgertest.File(filepath.Join(dir, Data, "production/ledgersData/chains/chains/common"), 2)); err != nil {
				t.Fatal(err)
			}
			return dir
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, n := peerBackup(t)
			dir := tc.dir(t)
			before := content(t, dir)
			var last Progress
			task := RestoreTask{Key: "k1", Node: n, Dir: dir, Progress: func(p Progress) { last = p }}
			if err := Restore(t.Context(), s, task); err != nil {
				t.Fatalf("%s\n%v", tc.reason, err)
			}
			same(t, "restored", saved, content(t, dir))
			if last.Bytes == 0 || last.Bytes > last.Total || last.Verb != "restore" || last.Node != n.Name {
				t.Errorf("%s\nprogress ended with %+v", tc.reason, last)
			}
			written := s.written
			if err := Restore(t.Context(), s, task); err != nil || s.written != written {
				t.Errorf("%s\nagain: %v, %d files", tc.reason, err, s.written-written)
			}
			if err := Undo(dir); err != nil {
				t.Fatalf("%s\n%v", tc.reason, err)
			}
			same(t, "undone", before, content(t, dir))
			leftovers(t, dir)
			if err := Restore(t.Context(), s, task); err != nil {
				t.Fatalf("%s\n%v", tc.reason, err)
			}
			for range 2 {
				if err := Finish(dir); err != nil {
					t.Fatalf("%s\n%v", tc.reason, err)
				}
			}
			same(t, "finished", saved, content(t, dir))
			leftovers(t, dir)
			if err := Undo(dir); err != nil {
				t.Fatalf("%s\n%v", tc.reason, err)
			}
			same(t, "undone what was finished", saved, content(t, dir))
		})
	}
}

// TestRestoreWithoutState empties a state database that would be ahead of the ledger.
func TestRestoreWithoutState(t *testing.T) {
	t.Parallel()
	s, n := peerBackup(t, func(task *SaveTask) { task.Parts.State = false })
	dir := peerVolumes(t, 40)
	if err := Restore(t.Context(), s, RestoreTask{Key: "k1", Node: n, Dir: dir}); err != nil {
		t.Fatal(err)
	}
	got := content(t, dir)
	for _, path := range []string{"couchdb/_dbs.couch", "data/production/ledgersData/stateLeveldb"} {
		if _, ok := got[path]; ok {
			t.Errorf("%s is still there", path)
		}
	}
	if err := Undo(dir); err != nil {
		t.Fatal(err)
	}
	same(t, "undone", content(t, peerVolumes(t, 40)), content(t, dir))
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	const huge = 1 << 60
	cases := map[string]struct {
		reason  string
		height  int
		accept  backup.Accept
		change  func(*dirStore, *RestoreTask)
		want    error
		text    string
		hint    string
		nothing bool // nothing was changed, not even beside
	}{
		"Newer": {
			reason: "Blocks that nobody else may have would be lost.", height: 41,
			want: ErrNewer, text: `channel "common" has 41 blocks on the volume, 40 in the backup; nothing was changed`, hint: "--accept newer-data", nothing: true,
		},
		"NewChannel": {
			reason: "So would be a channel that was joined later.", height: 10,
			change: func(_ *dirStore, r *RestoreTask) { r.Node.Channels = nil },
			want:   ErrNewer, text: `channel "common" has 10 blocks on the volume, 0 in the backup`, nothing: true,
		},
		"AcceptsOther": {
			reason: "Accepting one thing is not accepting another.", height: 41, accept: backup.Accept{backup.Unverified},
			want: ErrNewer, nothing: true,
		},
		"Open": {
			reason: "A node that runs would go on writing into what is moved aside.", height: 10,
			want: ErrInUse, text: "volume data: production/ledgersData/fileLock/LOCK", nothing: true,
		},
		"NoRoom": {
			reason: "Old data are not given up without being asked.", height: 10,
			change: func(s *dirStore, r *RestoreTask) { sparse(s, r, huge) },
			want:   ErrNoRoom, text: "bytes are needed", hint: "make the volume larger", nothing: true,
		},
		"NeverRoom": {
			reason: "What does not even fit alone is not begun.", height: 10, accept: backup.Accept{backup.Overwrite},
			change: func(s *dirStore, r *RestoreTask) { sparse(s, r, huge) },
			want:   ErrNoRoom, text: "in use by what would be replaced", hint: "nothing was changed", nothing: true,
		},
		"DamagedRepository": {
			reason: "Old data stay if the new ones cannot be read.", height: 10,
			change: func(s *dirStore, r *RestoreTask) { s.errs[r.Node.Volumes[0].Snapshot] = repository.ErrDamaged },
			want:   repository.ErrDamaged,
		},
		"DamagedSecondVolume": {
			reason: "No volume is exchanged before all are there.", height: 10,
			change: func(s *dirStore, r *RestoreTask) { s.errs[r.Node.Volumes[1].Snapshot] = repository.ErrDamaged },
			want:   repository.ErrDamaged, text: "volume couchdb",
		},
		"OtherContent": {
			reason: "A snapshot that is not what the manifest says is not put in place.", height: 10,
			change: func(_ *dirStore, r *RestoreTask) { r.Node.Channels[0].Hash = "ab" },
			text:   "the snapshot does not hold what the backup says",
		},
		"NoData": {
			reason: "A node without data is not restored.", height: 10,
			change: func(_ *dirStore, r *RestoreTask) { r.Node.Volumes = r.Node.Volumes[1:] },
			text:   "the backup has no data of it", nothing: true,
		},
		"OutsideVolume": {
			reason: "A manifest may not lead out of the pod's volumes.", height: 10,
			change: func(_ *dirStore, r *RestoreTask) { r.Node.Volumes[1].Name = "../../etc" },
			text:   `volume "../../etc": no volume has such a name`, nothing: true,
		},
		"OutsideChannel": {
			reason: "Nor may a channel's name.", height: 10,
			change: func(_ *dirStore, r *RestoreTask) {
				r.Replace = []backup.Replacement{{Channel: "../x", From: r.Node}}
			},
			text: `channel "../x": no channel has such a name`, nothing: true,
		},
		"NoVolume": {
			reason: "A backup with CouchDB is not for a peer without.", height: 10,
			change: func(_ *dirStore, r *RestoreTask) { _ = os.RemoveAll(filepath.Join(r.Dir, CouchDB)) },
			text:   "the backup has volume couchdb, the node has not", nothing: true,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, n := peerBackup(t)
			task := RestoreTask{Key: "k1", Node: n, Dir: peerVolumes(t, tc.height), Accept: tc.accept}
			if tc.change != nil {
				tc.change(s, &task)
			}
			if name == "Open" {
				lock(t, filepath.Join(task.Dir, Data, "production/ledgersData/fileLock/LOCK"))
			}
			before, whole := content(t, task.Dir), tree(t, task.Dir)
			err := Restore(t.Context(), s, task)
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) || !strings.Contains(exit.HintOf(err), tc.hint) {
				t.Errorf("%s\n%v\nHint: %s", tc.reason, err, exit.HintOf(err))
			}
			same(t, tc.reason, before, content(t, task.Dir))
			if tc.nothing {
				same(t, tc.reason, whole, tree(t, task.Dir))
			}
			if err := Undo(task.Dir); err != nil {
				t.Fatal(err)
			}
			leftovers(t, task.Dir)
			same(t, tc.reason, before, content(t, task.Dir))
		})
	}
}

// sparse makes a snapshot that measures more than any disk has.
func sparse(s *dirStore, r *RestoreTask, bytes int64) {
	f, err := os.Create(filepath.Join(s.dir, r.Node.Volumes[0].Snapshot, "sparse"))
	if err != nil {
		panic(err)
	}
	defer func() { _ = f.Close() }()
	for bytes > 0 && f.Truncate(bytes) != nil {
		bytes /= 2
	}
}

func TestRestoreAccepted(t *testing.T) {
	t.Parallel()
	s, n := peerBackup(t)
	dir := peerVolumes(t, 50)
	if err := Restore(t.Context(), s, RestoreTask{Key: "k1", Node: n, Dir: dir, Accept: backup.Accept{backup.NewerData}}); err != nil {
		t.Fatal(err)
	}
	same(t, "older data", content(t, peerVolumes(t, 40)), content(t, dir))
}

// TestRestoreOverwrites removes the old data first where there is room for one of the two, if
// that was accepted.
func TestRestoreOverwrites(t *testing.T) {
	t.Parallel()
	s, n := peerBackup(t)
	dir := peerVolumes(t, 10)
	before := content(t, dir)
	short := n.Volumes[0].Bytes + spareLeast - 1
	task := RestoreTask{Key: "k1", Node: n, Dir: dir, disk: disk{space: func(string) (int64, error) { return short, nil }}}
	err := Restore(t.Context(), s, task)
	if !errors.Is(err, ErrNoRoom) || !strings.Contains(exit.HintOf(err), "--accept overwrite") {
		t.Errorf("%v\nHint: %s", err, exit.HintOf(err))
	}
	same(t, "refused", before, content(t, dir))
	task.Accept = backup.Accept{backup.Overwrite}
	s.errs[n.Volumes[0].Snapshot] = repository.ErrUnreachable
	if err := Restore(t.Context(), s, task); !errors.Is(err, repository.ErrUnreachable) {
		t.Error(err)
	}
	same(t, "storage away before anything was removed", before, content(t, dir))
	delete(s.errs, n.Volumes[0].Snapshot)
	if err := Restore(t.Context(), s, task); err != nil {
		t.Fatal(err)
	}
	if err := Undo(dir); err == nil || !strings.Contains(err.Error(), "has been removed") {
		t.Errorf("what was removed came back: %v", err)
	}
	same(t, "overwritten", content(t, peerVolumes(t, 40)), content(t, dir))
	if err := Finish(dir); err != nil {
		t.Fatal(err)
	}
	leftovers(t, dir)
}

// TestRestoreAnother begins a restore where another one is, or was, at any of its steps.
func TestRestoreAnother(t *testing.T) {
	t.Parallel()
	b := tinyBackup(t)
	s, first := b.store, b.node
	second := save(t, s, func() SaveTask {
		task := saveTask(peerNode("peer0"), tinyVolumes(t, 30), Data, CouchDB)
		task.Key = "k0"
		return task
	}())
	steps := countSteps(t, func(d disk) error {
		return RestoreTask{Key: "k1", Node: first, Dir: tinyVolumes(t, 10), disk: d}.restore(t.Context(), s)
	})
	for i := range steps + 1 {
		dir := tinyVolumes(t, 10)
		err := RestoreTask{Key: "k1", Node: first, Dir: dir, disk: stopAt(i)}.restore(t.Context(), s)
		if (err == nil) != (i == steps) {
			t.Fatalf("stopped at step %d: %v", i, err)
		}
		if err := Restore(t.Context(), s, RestoreTask{Key: "k0", Node: second, Dir: dir}); err != nil {
			t.Fatalf("stopped at step %d: %v", i, err)
		}
		same(t, "the second backup", content(t, tinyVolumes(t, 30)), content(t, dir))
		if err := Undo(dir); err != nil {
			t.Fatal(err)
		}
		same(t, "undone", content(t, tinyVolumes(t, 10)), content(t, dir))
	}
}

// TestRestoreAfterRun does not take a volume for restored on which the node has run since.
func TestRestoreAfterRun(t *testing.T) {
	t.Parallel()
	s, n := peerBackup(t)
	dir := peerVolumes(t, 10)
	task := RestoreTask{Key: "k1", Node: n, Dir: dir}
	if err := Restore(t.Context(), s, task); err != nil {
		t.Fatal(err)
	}
	ledgertest.Write(t, filepath.Join(dir, Data, "production/ledgersData/chains/chains/common"), blocks[:45], fileSize)
	ran := content(t, dir)
	if err := Restore(t.Context(), s, task); !errors.Is(err, ErrNewer) {
		t.Errorf("the node's new blocks went unnoticed: %v", err)
	}
	same(t, "refused", ran, content(t, dir))
	task.Accept = backup.Accept{backup.NewerData}
	if err := Restore(t.Context(), s, task); err != nil {
		t.Fatal(err)
	}
	same(t, "accepted", content(t, peerVolumes(t, 40)), content(t, dir))
	if err := Undo(dir); err != nil {
		t.Fatal(err)
	}
	same(t, "undone to what ran", ran, content(t, dir))
}

func TestInspect(t *testing.T) {
	t.Parallel()
	heads, err := Inspect(ordererVolumes(t, "orderer0", 30))
	if err != nil || len(heads) != 2 || heads[0].Height != 30 || heads[1].Name != "other" {
		t.Errorf("%+v, %v", heads, err)
	}
	if heads, err := Inspect(volumesOf(t, Data)); err != nil || len(heads) > 0 {
		t.Errorf("an empty volume: %+v, %v", heads, err)
	}
	if _, err := Inspect(filepath.Join(t.TempDir(), "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no volumes at all: %v", err)
	}
}
