package keeper

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// failing lets the pods of a role fail at one node, until it is told otherwise.
func (w *world) failing(role string, n *network.Node) (cure func()) {
	broken := true
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end = func(p *corev1.Pod) outcome {
		if broken && p.Labels[RoleLabel] == role && p.Labels[NodeLabel] == n.Name() {
			return outcome{code: 1, message: "broken"}
		}
		return outcome{}
	}
	return func() { w.mu.Lock(); defer w.mu.Unlock(); broken = false }
}

func (w *world) allFree() {
	w.t.Helper()
	for _, n := range w.net.Nodes() {
		w.eventually(n.Name()+" runs and is free", func() bool { return w.hold(n.Name()) == nil && w.up(n.Name()) })
	}
}

// allFreeOn also tells what some of them run on.
func (w *world) allFreeOn(want string, nodes []*network.Node) {
	w.t.Helper()
	w.allFree()
	if got := w.disksOf(nodes); got != want {
		w.t.Errorf("the nodes run on %s, want %s", got, want)
	}
}

// One orderer gets its own copy, all of them get one between them. What the first restore did must
// not count for the second, whether its node was started or not: the channel would fork.
func TestRestoreOfOneThenOfAll(t *testing.T) {
	t.Parallel()
	for _, stage := range []string{"stopped", "started"} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			one := orderers(w)[1]
			k := w.keeper(nil)
			k.times.recover, k.times.ready = 200*time.Millisecond, 200*time.Millisecond
			if stage == "started" {
				k.Nodes = broken{Nodes: k.Nodes, name: one.Name()}
			} else {
				k.Nodes = broken{Nodes: k.Nodes, name: orderers(w)[0].Name()} // which is restarted before
			}
			if err := k.Restore(t.Context(), manifest(w), backup.Selection{Nodes: []string{one.Name()}}, nil); err == nil {
				t.Fatal("nothing was broken")
			}
			if err := w.keeper(nil).Restore(t.Context(), manifest(w), backup.Selection{}, nil); err != nil {
				t.Fatal(err)
			}
			w.allFreeOn("quorum, quorum, quorum", orderers(w))
		})
	}
}

// Restores and cancels may follow each other in any order, each broken half way.
func TestCancelTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sel := backup.Selection{Orgs: []string{"A"}}
	b := peersA(w)[1]
	restore := func() error { return w.keeper(nil).Restore(t.Context(), manifest(w), sel, nil) }
	cancel := func() error { return w.keeper(nil).Cancel(t.Context(), key) }
	w.failing("restore", b)
	if restore() == nil {
		t.Fatal("nothing was broken")
	}
	w.failing("undo", b)
	if cancel() == nil {
		t.Fatal("nothing was broken")
	}
	w.failing("restore", b)
	if restore() == nil {
		t.Fatal("nothing was broken")
	}
	if got := w.disksOf(peersA(w)); got != "own and old, old" {
		t.Fatalf("the volumes have %s", got)
	}
	w.failing("", b)
	if err := cancel(); err != nil {
		t.Fatal(err)
	}
	w.allFreeOn("old, old", peersA(w))
}

// Once what was there before is being removed there is no way back, for none of the nodes.
func TestCancelTooLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sel := backup.Selection{Orgs: []string{"A"}}
	cure := w.failing("finish", peersA(w)[1])
	err := w.keeper(nil).Restore(t.Context(), manifest(w), sel, nil)
	if err == nil || !strings.Contains(err.Error(), "still on their volumes") {
		t.Fatalf("got %v", err)
	}
	err = w.keeper(nil).Cancel(t.Context(), key)
	if exit.CodeOf(err) != exit.NotReady || !strings.Contains(exit.HintOf(err), "pivt restore "+key+" --org A") {
		t.Errorf("got %v, hint %q", err, exit.HintOf(err))
	}
	if got := w.disksOf(peersA(w)); got != "own, own and old" {
		t.Errorf("the volumes have %s", got)
	}
	// Another selection is no repeat: it would stop what is there already.
	err = w.keeper(nil).Restore(t.Context(), manifest(w), backup.Selection{}, nil)
	if exit.CodeOf(err) != exit.NotReady {
		t.Errorf("got %v", err)
	}
	cure()
	if err := w.keeper(nil).Restore(t.Context(), manifest(w), sel, nil); err != nil {
		t.Fatal(err)
	}
	w.allFreeOn("own, own", peersA(w))
	for _, n := range peersA(w) {
		if w.started(n.Name()) != 2 {
			t.Errorf("%s was started %d times, want 2", n.Name(), w.started(n.Name()))
		}
	}
}

// What a cancel has started has its former data: a restore must not take it for restored.
func TestRestoreAfterUnfinishedCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sel := backup.Selection{Orgs: []string{"A"}}
	cure := w.failing("restore", peersA(w)[1])
	if err := w.keeper(nil).Restore(t.Context(), manifest(w), sel, nil); err == nil {
		t.Fatal("nothing was broken")
	}
	k := w.keeper(nil)
	k.times.recover = 100 * time.Millisecond
	k.Nodes = broken{Nodes: k.Nodes, name: peersA(w)[1].Name()}
	if err := k.Cancel(t.Context(), key); err == nil {
		t.Fatal("nothing was broken")
	}
	cure()
	if err := w.keeper(nil).Restore(t.Context(), manifest(w), sel, nil); err != nil {
		t.Fatal(err)
	}
	w.allFreeOn("own, own", peersA(w))
}

// A step that is retried after it let some nodes go must not restore these again: they may have gone on.
func TestRestoreIsNotDoneTwice(t *testing.T) {
	t.Parallel()
	sel := backup.Selection{Orgs: []string{"A"}}
	for died, n := true, 0; died; n++ {
		w := newWorld(t)
		l := &lives{left: n}
		k := w.keeper(l)
		k.times.beat = time.Hour
		err := k.Restore(t.Context(), manifest(w), sel, nil)
		if died = errors.Is(err, errKilled); !died && err != nil {
			t.Fatal(err)
		}
		var free []string
		for _, p := range peersA(w) {
			if w.started(p.Name()) == 2 && w.hold(p.Name()) == nil {
				free = append(free, p.Name())
			}
		}
		if err := w.keeper(nil).Restore(t.Context(), manifest(w), sel, nil); err != nil {
			t.Fatalf("killed before call %d, %s, then repeated: %v", n, last(l.calls), err)
		}
		for _, p := range peersA(w) {
			if slices.Contains(free, p.Name()) && w.started(p.Name()) != 2 {
				t.Errorf("killed before call %d, %s: %s had been let go, and was stopped again", n, last(l.calls), p.Name())
			}
		}
		w.stop()
		w.done.Wait()
	}
}

// Raft counts votes: orderers that have forgotten must never be enough to elect one of them.
func TestCheckMajority(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Now()
	accept := backup.Accept{backup.NewerData, backup.MissingParts}
	o := orderers(w)
	two := backup.Selection{Nodes: []string{o[0].Name(), o[1].Name()}}
	check := func(m backup.Manifest, sel backup.Selection) error {
		return w.keeper(nil).Check(t.Context(), m, &now, backup.Identity{}, sel, accept)
	}
	m := manifest(w)
	for _, sel := range []backup.Selection{{}, {Nodes: []string{o[2].Name()}}, {Orgs: []string{"Ord"}}, {Orgs: []string{"A", "B"}}} {
		if err := check(m, sel); err != nil {
			t.Errorf("%+v: %v", sel, err)
		}
	}
	const want = `2 of the 3 orderers of channel "common" would outvote hlf-orderer--ord--o2, which may have more blocks`
	if err := check(m, two); exit.CodeOf(err) != exit.NotReady || !strings.Contains(err.Error(), want) || !strings.Contains(exit.HintOf(err), "--node") {
		t.Errorf("got %v, hint %q", err, exit.HintOf(err))
	}
	// A backup without the third comes to the same, whatever is accepted.
	m.Nodes = slices.DeleteFunc(m.Nodes, func(n backup.Node) bool { return n.Name == o[2].Name() })
	if err := check(m, backup.Selection{}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
	// One that runs and was never joined to the channel has nothing to be outvoted.
	w.mu.Lock()
	w.unjoined = o[2].Name()
	w.mu.Unlock()
	if err := check(m, backup.Selection{}); err != nil {
		t.Error(err)
	}
}

// Two of three orderers are lost. The one that is left cannot order alone, and must not be waited for
// until it does; but it must have every block that any peer has before another may come back.
func TestRestoreWithoutMajority(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := orderers(w)
	w.mu.Lock()
	w.quorum = 2
	w.mu.Unlock()
	for _, n := range []*network.Node{o[0], o[1]} {
		w.edit(n.Name(), func(s *appsv1.StatefulSet) { s.Spec.Replicas = new(int32(0)) })
		w.eventually(n.Name()+" is away", func() bool { return !w.up(n.Name()) })
	}
	if err := w.keeper(nil).Restore(t.Context(), manifest(w), backup.Selection{Nodes: []string{o[0].Name()}}, nil); err != nil {
		t.Fatal(err)
	}
	if w.started(o[2].Name()) != 2 {
		t.Errorf("the orderer that remembers was started %d times, want 2", w.started(o[2].Name()))
	}
	if got := w.disksOf(o[:1]); got != "own" {
		t.Errorf("it runs on %s", got)
	}
}

// What only peers still have would be ordered anew by orderers that have never seen it.
func TestRestoreKnowsPeers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := orderers(w)
	w.mu.Lock()
	w.ahead = map[string]uint64{peersA(w)[0].Name(): 9}
	w.mu.Unlock()
	k := w.keeper(nil)
	k.times.ready = time.Second
	err := k.Restore(t.Context(), manifest(w), backup.Selection{Nodes: []string{o[0].Name()}}, nil)
	if err == nil || !strings.Contains(err.Error(), "7 of 9 blocks") {
		t.Errorf("got %v", err)
	}
	if w.started(o[0].Name()) != 1 {
		t.Error("the restored orderer was started")
	}
}
