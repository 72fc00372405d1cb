package volume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"pivt.io/pivt/pkg/backup"
)

// fast is for tests that write thousands of trees.
var fast = disk{unsynced: true}

var errPulled = errors.New("the plug was pulled")

// stopAt fails before the nth change to a disk.
func stopAt(n int) disk {
	return disk{unsynced: true, step: func(what string) error {
		if n--; n >= 0 {
			return nil
		}
		return fmt.Errorf("%s: %w", what, errPulled)
	}}
}

// countSteps runs something to its end.
func countSteps(t *testing.T, run func(disk) error) int {
	t.Helper()
	steps := 0
	if err := run(disk{unsynced: true, step: func(string) error { steps++; return nil }}); err != nil {
		t.Fatal(err)
	}
	return steps
}

// act is what is interrupted; each begins with volumes of its own.
type act struct {
	prepare func(t *testing.T, w world)
	run     func(w world, d disk) error
	// again completes what was interrupted; afterwards the volumes are new or old.
	again func(w world) error
	isNew bool
	// cancel says that what was interrupted can be undone as well.
	cancel bool
}

// world is all that a child process needs to know.
type world struct {
	Dir    string        `json:"dir"`
	Store  string        `json:"store"`
	Node   backup.Node   `json:"node"`
	Accept backup.Accept `json:"accept"`
}

func (w world) restore(d disk) error {
	task := RestoreTask{Key: "k1", Node: w.Node, Dir: w.Dir, Accept: w.Accept, disk: d}
	return task.restore(context.Background(), &dirStore{dir: w.Store})
}

func acts() map[string]act {
	restore := func(w world, d disk) error { return w.restore(d) }
	again := func(w world) error { return w.restore(fast) }
	restored := func(t *testing.T, w world) {
		if err := w.restore(fast); err != nil {
			t.Fatal(err)
		}
	}
	return map[string]act{
		"Restore": {run: restore, again: again, isNew: true, cancel: true},
		"Finish": {prepare: restored, run: func(w world, d disk) error { return finish(w.Dir, d) },
			again: func(w world) error { return finish(w.Dir, fast) }, isNew: true},
		"Undo": {prepare: restored, run: func(w world, d disk) error { return undo(w.Dir, d) },
			again: func(w world) error { return undo(w.Dir, fast) }, cancel: true},
		"RestoreAfterUndo": {prepare: restored, run: func(w world, d disk) error { return undo(w.Dir, d) },
			again: again, isNew: true, cancel: true},
		"RestoreAfterFinish": {prepare: restored, run: func(w world, d disk) error { return finish(w.Dir, d) },
			again: again, isNew: true},
	}
}

// saved is a backup; nobody changes it.
type saved struct {
	store *dirStore
	node  backup.Node
}

func tinyBackup(t *testing.T) saved {
	t.Helper()
	s := newStore(t)
	return saved{s, save(t, s, saveTask(peerNode("peer0"), tinyVolumes(t, 40), Data, CouchDB))}
}

// begin makes the volumes with 10 blocks and a backup with 40.
func begin(t *testing.T, a act, b saved) world {
	t.Helper()
	w := world{Dir: tinyVolumes(t, 10), Store: b.store.dir, Node: b.node}
	if a.prepare != nil {
		a.prepare(t, w)
	}
	return w
}

// TestInterrupted stops at every change to the disk in turn.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	older, newer, b := content(t, tinyVolumes(t, 10)), content(t, tinyVolumes(t, 40)), tinyBackup(t)
	for name, a := range acts() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			steps := countSteps(t, func(d disk) error { return a.run(begin(t, a, b), d) })
			if steps < 3 {
				t.Fatalf("only %d steps; the test stops nowhere", steps)
			}
			for i := range steps {
				w := begin(t, a, b)
				if err := a.run(w, stopAt(i)); !errors.Is(err, errPulled) {
					t.Fatalf("stopped at step %d: got %v", i, err)
				}
				checkHalf(t, w, older, newer)
				if name == "Restore" {
					half := tree(t, w.Dir)
					if finish(w.Dir, fast) == nil {
						same(t, "finished what had not begun", older, content(t, w.Dir))
					} else {
						same(t, "not finished", half, tree(t, w.Dir))
					}
				}
				if err := a.again(w); err != nil {
					t.Fatalf("after a stop at step %d: %v", i, err)
				}
				want := older
				if a.isNew {
					want = newer
				}
				same(t, fmt.Sprintf("after a stop at step %d", i), want, content(t, w.Dir))
				if !a.cancel {
					continue
				}
				w = begin(t, a, b)
				if err := a.run(w, stopAt(i)); !errors.Is(err, errPulled) {
					t.Fatalf("stopped at step %d: got %v", i, err)
				}
				if err := undo(w.Dir, fast); err != nil {
					t.Fatalf("undoing a stop at step %d: %v", i, err)
				}
				same(t, fmt.Sprintf("undoing a stop at step %d", i), older, content(t, w.Dir))
				leftovers(t, w.Dir)
			}
		})
	}
}

// checkHalf looks at each volume by itself: it has old data, or new ones, or says that it is
// moving.
func checkHalf(t *testing.T, w world, older, newer map[string]string) {
	t.Helper()
	for _, name := range []string{Data, CouchDB} {
		m, _, err := readMarker(filepath.Join(w.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if m.Phase.moving() {
			continue
		}
		got := content(t, filepath.Join(w.Dir, name))
		is := func(want map[string]string) bool {
			n := 0
			for path, data := range want {
				if rel, err := filepath.Rel(name, path); err == nil && filepath.IsLocal(rel) {
					n++
					if got[rel] != data {
						return false
					}
				}
			}
			return n == len(got)
		}
		if !is(older) && !is(newer) {
			t.Errorf("volume %s is neither old nor new, and says %q", name, m.Phase)
		}
	}
}

// TestInterruptedOverwrite has no old data to go back to, but still completes.
func TestInterruptedOverwrite(t *testing.T) {
	t.Parallel()
	newer, b := content(t, tinyVolumes(t, 40)), tinyBackup(t)
	run := func(w world, d disk) error {
		volumes, err := RestoreTask{Key: "k1", Node: w.Node, Dir: w.Dir, disk: d}.volumes()
		if err != nil {
			return err
		}
		for _, v := range volumes {
			// As room says when only one of the two fits.
			if err := v.mark(marker{Key: "k1", Phase: filling, Source: v.source, Gone: true, Channels: v.want}); err != nil {
				return err
			}
		}
		return w.restore(d)
	}
	steps := countSteps(t, func(d disk) error { return run(begin(t, act{}, b), d) })
	for i := range steps {
		w := begin(t, act{}, b)
		if err := run(w, stopAt(i)); !errors.Is(err, errPulled) {
			t.Fatalf("stopped at step %d: got %v", i, err)
		}
		var gone bool
		for _, name := range []string{Data, CouchDB} {
			m, _, err := readMarker(filepath.Join(w.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			gone = gone || m.Gone
		}
		if err := undo(w.Dir, fast); (err != nil) != gone {
			t.Errorf("step %d: old data are gone: %t; Undo says %v", i, gone, err)
		}
		if err := run(w, fast); err != nil {
			t.Fatalf("after a stop at step %d: %v", i, err)
		}
		same(t, fmt.Sprintf("after a stop at step %d", i), newer, content(t, w.Dir))
	}
}

// TestUndoInterruptedFinish: one volume's old data beside another's new ones would be a node that nobody has seen.
func TestUndoInterruptedFinish(t *testing.T) {
	t.Parallel()
	older, newer, b := content(t, tinyVolumes(t, 10)), content(t, tinyVolumes(t, 40)), tinyBackup(t)
	a := acts()["Finish"]
	steps := countSteps(t, func(d disk) error { return a.run(begin(t, a, b), d) })
	back := 0
	for i := range steps {
		w := begin(t, a, b)
		if err := a.run(w, stopAt(i)); !errors.Is(err, errPulled) {
			t.Fatalf("stopped at step %d: got %v", i, err)
		}
		err := undo(w.Dir, fast)
		got := content(t, w.Dir)
		if maps.Equal(got, newer) {
			continue
		}
		back++
		same(t, fmt.Sprintf("a stop at step %d, then undone (%v)", i, err), older, got)
	}
	if back == 0 || back == steps {
		t.Errorf("of %d stops %d could be undone; a finish that has not begun can be, one that has removed something cannot", steps, back)
	}
}

const (
	killEnv   = "PIVT_TEST_KILL"
	killAtEnv = "PIVT_TEST_KILL_AT"
	killInEnv = "PIVT_TEST_KILL_IN"
)

// TestKilled is no test by itself: TestSurvivesKill runs it in a process that kills itself on
// the way.
func TestKilled(t *testing.T) {
	if os.Getenv(killEnv) == "" {
		t.Skip("runs only as the child of TestSurvivesKill")
	}
	var w world
	if err := json.Unmarshal([]byte(os.Getenv(killInEnv)), &w); err != nil {
		t.Fatal(err)
	}
	left, err := strconv.Atoi(os.Getenv(killAtEnv))
	if err != nil {
		t.Fatal(err)
	}
	err = acts()[os.Getenv(killEnv)].run(w, disk{step: func(string) error {
		if left--; left < 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}})
	t.Fatalf("the process should be dead; it returned %v", err)
}

func TestSurvivesKill(t *testing.T) {
	t.Parallel()
	older, newer, b := content(t, tinyVolumes(t, 10)), content(t, tinyVolumes(t, 40)), tinyBackup(t)
	for _, name := range []string{"Restore", "Finish", "Undo"} {
		a := acts()[name]
		steps := countSteps(t, func(d disk) error { return a.run(begin(t, a, b), d) })
		for i := 0; i < steps; i += max(1, steps/8) {
			w := begin(t, a, b)
			data, err := json.Marshal(w)
			if err != nil {
				t.Fatal(err)
			}
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$", "-test.count=1")
			child.Env = append(os.Environ(), killEnv+"="+name, killAtEnv+"="+strconv.Itoa(i), killInEnv+"="+string(data))
			out, err := child.CombinedOutput()
			var exited *exec.ExitError
			if !errors.As(err, &exited) || exited.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("the child was to be killed at step %d: %v\n%s", i, err, out)
			}
			checkHalf(t, w, older, newer)
			if err := a.again(w); err != nil {
				t.Fatalf("%s after a kill at step %d: %v", name, i, err)
			}
			want := older
			if a.isNew {
				want = newer
			}
			same(t, fmt.Sprintf("%s after a kill at step %d", name, i), want, content(t, w.Dir))
		}
	}
}
