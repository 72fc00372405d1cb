package keeper

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// manifest is a backup of the whole network.
func manifest(w *world) backup.Manifest {
	m := backup.Manifest{Key: key, Parts: backup.AllParts()}
	for i, n := range w.net.Nodes() {
		height := uint64(5)
		if i == 0 {
			height = 4 // the first orderer's copy is the earliest
		}
		node := targetOf(n).Node
		node.Channels = []backup.Channel{{Name: "common", Height: height}}
		node.Volumes = []backup.Volume{{Name: "data", Snapshot: "s-" + n.Name()}}
		m.Nodes = append(m.Nodes, node)
	}
	return m
}

func TestRestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.all = names(w.net.Nodes())
	var args []string
	w.end = func(p *corev1.Pod) outcome {
		if p.Labels[RoleLabel] == "restore" {
			args = append(args, strings.Join(p.Spec.Containers[0].Args, " "))
		}
		return outcome{}
	}
	if err := w.keeper(nil).Restore(t.Context(), manifest(w), backup.Selection{}, backup.Accept{backup.NewerData, backup.Overwrite}); err != nil {
		t.Fatal(err)
	}
	for _, n := range w.net.Nodes() {
		w.eventually(n.Name()+" runs and is free", func() bool { return w.hold(n.Name()) == nil })
		if w.started(n.Name()) != 2 {
			t.Errorf("%s was started %d times, want 2", n.Name(), w.started(n.Name()))
		}
		want := "restore --node " + n.Name() + " --key " + key
		if n.Org.Kind == "orderer" {
			want += " --quorum"
		}
		if want += " --accept newer-data,overwrite"; !slices.Contains(args, want) {
			t.Errorf("no pod ran %q, but %q", want, args)
		}
	}
	verbs := map[string]int{}
	for _, done := range w.restored {
		verb, _, _ := strings.Cut(done, " ")
		verbs[verb]++
	}
	if diff := cmp.Diff(map[string]int{"restore": 6, "finish": 6}, verbs); diff != "" {
		t.Errorf("pods: -want, +got:\n%s", diff)
	}
	w.eventually("nothing is left", func() bool { return len(w.left()) == 0 })
	if _, err := w.tracker.Get(mapsResource, ns, RecoveryConfigMap); err == nil {
		t.Error("the recovery is still on")
	}
}

// Peers must find orderers when they start, and wait no minute for data that nobody has.
func TestRestoreOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.keeper(nil)
	k.times.recover = 3 * time.Second
	k.Nodes = broken{Nodes: k.Nodes, name: orderers(w)[1].Name()}
	err := k.Restore(t.Context(), manifest(w), backup.Selection{}, nil)
	if err == nil || !strings.Contains(err.Error(), "the data are restored, but hlf-orderer--ord--o1 was started but does not serve") || !strings.Contains(err.Error(), `repeat "pivt restore `+key) {
		t.Fatalf("got %v", err)
	}
	if h := w.hold(peersA(w)[0].Name()); h == nil || h.Running {
		t.Error("a peer was started before all orderers served")
	}
	if _, err := w.tracker.Get(mapsResource, ns, RecoveryConfigMap); err != nil {
		t.Errorf("peers would start without recovery: %v", err)
	}
	// Cured, and repeated: what serves already is not stopped again.
	before := w.started(orderers(w)[0].Name())
	if err := w.keeper(nil).Restore(t.Context(), manifest(w), backup.Selection{}, nil); err != nil {
		t.Fatal(err)
	}
	if w.started(orderers(w)[0].Name()) != before {
		t.Error("an orderer that served was stopped again")
	}
	for _, n := range w.net.Nodes() {
		w.eventually(n.Name()+" runs and is free", func() bool { return w.hold(n.Name()) == nil && w.up(n.Name()) })
	}
}

// One node, while the rest serves: no other is touched if it is a peer. If it is an orderer, which keeps
// its own copy, the other orderers are started anew before it, one at a time, so that no
// leader remembers what it has forgotten.
func TestRestoreOneNode(t *testing.T) {
	t.Parallel()
	for _, kind := range []network.Kind{network.Peer, network.Orderer} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			one := orderers(w)[1]
			if kind == network.Peer {
				one = w.net.Org("A").Nodes[1]
			}
			w.end = func(p *corev1.Pod) outcome {
				if slices.Contains(p.Spec.Containers[0].Args, "--quorum") {
					t.Error("it would not learn from the others")
				}
				return outcome{}
			}
			if err := w.keeper(nil).Restore(t.Context(), manifest(w), backup.Selection{Nodes: []string{one.Name()}}, nil); err != nil {
				t.Fatal(err)
			}
			w.sound()
			for _, n := range w.net.Nodes() {
				want := 1
				if n == one || kind == network.Orderer && n.Org.Kind == network.Orderer {
					want = 2
				}
				if got := w.started(n.Name()); got != want {
					t.Errorf("%s was started %d times, want %d", n.Name(), got, want)
				}
			}
		})
	}
}

// Killed after any call, a restore that is repeated ends well, and one that is cancelled
// leaves a network that runs.
func TestRestoreSurvives(t *testing.T) {
	t.Parallel()
	for _, then := range []string{"repeated", "cancelled"} {
		t.Run(then, func(t *testing.T) {
			t.Parallel()
			for died, n := true, 0; died; n++ {
				w := newWorld(t)
				sel := backup.Selection{Orgs: []string{"A"}}
				l := &lives{left: n}
				k := w.keeper(l)
				k.times.beat = time.Hour
				err := k.Restore(t.Context(), manifest(w), sel, nil)
				if died = errors.Is(err, errKilled); !died && err != nil {
					t.Fatalf("after %d calls: %v", n, err)
				}
				again := w.keeper(nil)
				if then == "repeated" {
					err = again.Restore(t.Context(), manifest(w), sel, nil)
				} else if err = again.Cancel(t.Context(), key); exit.CodeOf(err) == exit.NotReady {
					// What was there is being removed: only the restore itself helps, as it says.
					if !strings.Contains(exit.HintOf(err), `"pivt restore `+key+` --org A"`) {
						t.Errorf("hint %q", exit.HintOf(err))
					}
					err = again.Restore(t.Context(), manifest(w), sel, nil)
				}
				if err != nil {
					t.Fatalf("killed before call %d, %s, then %s: %v\n%s", n, last(l.calls), then, err, w.told())
				}
				for _, n := range w.net.Nodes() {
					w.eventually(n.Name()+" runs and is free", func() bool {
						w.mu.Lock()
						defer w.mu.Unlock()
						o, err := w.tracker.Get(setsResource, ns, n.Name())
						w.must(err)
						set := o.(*appsv1.StatefulSet)
						return replicas(set) == 1 && holdOf(set) == nil && w.up(n.Name())
					})
				}
				want := "own, own"
				if then == "cancelled" && w.disksOf(peersA(w)) != want {
					want = "old, old"
				}
				if got := w.disksOf(peersA(w)); got != want {
					t.Errorf("killed before call %d, %s, then %s: the nodes run on %s", n, last(l.calls), then, got)
				}
				// A process that died after all had been let go leaves nothing that another could find.
				if then == "repeated" || died {
					w.eventually("nothing is left", func() bool { return len(w.left()) == 0 })
				}
				w.stop()
				w.done.Wait()
			}
		})
	}
}

func TestRestoreFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fails := true
	w.end = func(p *corev1.Pod) outcome {
		if p.Labels[RoleLabel] == "restore" && p.Labels[NodeLabel] == peersA(w)[1].Name() && fails {
			return outcome{code: 1, message: "there is no room for both\nHint: --accept overwrite"}
		}
		return outcome{}
	}
	sel := backup.Selection{Orgs: []string{"A"}}
	err := w.keeper(nil).Restore(t.Context(), manifest(w), sel, nil)
	if err == nil || !strings.Contains(err.Error(), "there is no room for both") || !strings.Contains(err.Error(), "--cancel") || !strings.Contains(err.Error(), `repeat "pivt restore `+key+` --org A"`) || exit.HintOf(err) != "--accept overwrite" {
		t.Fatalf("got %v, hint %q", err, exit.HintOf(err))
	}
	for _, n := range peersA(w) {
		if h := w.hold(n.Name()); h == nil || h.Running || h.By != ByRestore {
			t.Errorf("%s is not held by the restore: %+v", n.Name(), h)
		}
	}
	// A backup in between keeps away, and says why.
	if err := w.keeper(nil).Save(t.Context(), "other", peersA(w), nil); err == nil || !strings.Contains(err.Error(), "is held by restore") {
		t.Errorf("a backup of half restored nodes: %v", err)
	}
	fails = false
	if err := w.keeper(nil).Restore(t.Context(), manifest(w), sel, nil); err != nil {
		t.Fatal(err)
	}
	w.eventually("all is well", func() bool { return w.hold(peersA(w)[0].Name()) == nil && w.hold(peersA(w)[1].Name()) == nil })
	if n := len(slices.DeleteFunc(slices.Clone(w.restored), func(s string) bool { return !strings.HasPrefix(s, "restore") })); n != 2 {
		t.Errorf("%d restores, want 2: what had succeeded is not done again", n)
	}
}

// Somebody who starts a node while others are still being restored must be noticed.
func TestRestoreIsDisturbed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	once := false
	w.before = func(w *world, p *corev1.Pod) {
		if !once {
			once = true
			w.edit(p.Labels[NodeLabel], func(s *appsv1.StatefulSet) { s.Spec.Replicas = new(int32(1)) })
		}
	}
	w.slow = 20 * time.Millisecond
	sel := backup.Selection{Nodes: []string{peersA(w)[0].Name()}}
	err := w.keeper(nil).Restore(t.Context(), manifest(w), sel, nil)
	if !errors.Is(err, errLost) || !exit.IsTransient(err) {
		t.Fatalf("got %v, want a lost hold", err)
	}
	if err := w.keeper(nil).Restore(t.Context(), manifest(w), sel, nil); err != nil {
		t.Fatal(err)
	}
	w.sound()
}

func TestCancelNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.keeper(nil).Cancel(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	w.sound()
	if w.away != 0 {
		t.Error("a node was stopped")
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.keeper(nil)
	now := time.Now()
	if err := k.Check(t.Context(), manifest(w), &now, backup.Identity{}, backup.Selection{}, backup.Accept{backup.NewerData}); err != nil {
		t.Errorf("nothing speaks against it, but: %v", err)
	}
	w.edit(peersA(w)[0].Name(), func(s *appsv1.StatefulSet) {
		s.Annotations = map[string]string{HeldAnnotation: `{"by":"restore","key":"other","since":"2026-11-21T11:00:00Z"}`}
	})
	w.edit(peersA(w)[1].Name(), func(s *appsv1.StatefulSet) { s.Spec.VolumeClaimTemplates = nil })
	w.must(w.tracker.Delete(setsResource, ns, orderers(w)[2].Name()))
	w.must(w.tracker.Delete(claimsResource, ns, "data-"+orderers(w)[1].Pod()))
	err := k.Check(t.Context(), manifest(w), nil, backup.Identity{}, backup.Selection{}, nil)
	for _, reason := range []string{
		"it has not been verified", "runs with newer data", "is held by restore other", "no volume to copy",
		"statefulset/hlf-orderer--ord--o2 does not exist", "persistentvolumeclaim/data-hlf-orderer--ord--o1-0 does not exist",
	} {
		if err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("not among the reasons: %s\n%v", reason, err)
		}
	}
	if exit.CodeOf(err) != exit.NotReady {
		t.Errorf("code %d", exit.CodeOf(err))
	}
	if err := k.Check(t.Context(), manifest(w), &now, backup.Identity{}, backup.Selection{Orgs: []string{"Z"}}, nil); exit.CodeOf(err) != exit.Invalid {
		t.Errorf("an org that does not exist: %v", err)
	}
}

// A restore under way has started a node that goes on: that is no newer data.
func TestCheckGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.keeper(nil).defaults()
	g, err := k.claim(t.Context(), targetOf(peersA(w)[0]), ByRestore, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.start(t.Context(), func(_ *grip, h *Hold) { h.Stage = Started }); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	sel := backup.Selection{Nodes: []string{g.t.Name}}
	if err := k.Check(t.Context(), manifest(w), &now, backup.Identity{}, sel, nil); err != nil {
		t.Error(err)
	}
	if err := k.Check(t.Context(), manifest(w), &now, backup.Identity{}, backup.Selection{Nodes: []string{peersA(w)[1].Name()}}, nil); err == nil || !strings.Contains(err.Error(), "newer data") {
		t.Errorf("a node of nobody's that is ahead: %v", err)
	}
}
