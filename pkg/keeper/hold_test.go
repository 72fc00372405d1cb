package keeper

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/exit"
)

// Of two that see a free node at the same time, one gets it.
func TestClaimIsExclusive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	name := peersA(w)[0].Name()
	looks := 0
	_, err := w.keeper(nil).defaults().change(t.Context(), name, func(set *appsv1.StatefulSet, now *Hold) (*edit, error) {
		if looks++; looks == 1 {
			if _, err := w.keeper(nil).defaults().claim(t.Context(), targetOf(peersA(w)[0]), ByBackup, "faster", nil); err != nil {
				t.Error(err)
			}
		}
		if now != nil {
			return nil, taken(*now)
		}
		return &edit{hold: &Hold{By: ByBackup, Key: "slower"}}, nil
	})
	if !exit.IsTransient(err) {
		t.Errorf("got %v, want to be told that another was faster", err)
	}
	if h := w.hold(name); h == nil || h.Key != "faster" || !h.Running {
		t.Errorf("the node is held by %+v", h)
	}
}

// A copy that was made under a hold that is over must not count for a later one: the node
// has served in between.
func TestLeftoverCopyIsNotTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.keeper(nil)
	if err := k.EnsureGuard(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	g := held(t, w, ByBackup)
	if err := g.k.gone(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	stale, err := g.k.copy(t.Context(), g.t, key, g, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.start(t.Context(), *w.hold(g.t.Name), "the test says so"); err != nil {
		t.Fatal(err)
	}
	w.eventually("it has served", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.up(g.t.Name) })
	if err := k.Save(t.Context(), key, peersA(w)[:1], nil); err != nil {
		t.Fatal(err)
	}
	if w.saved[g.t.Name].Hostname == stale.Hostname {
		t.Error("the stale copy counts")
	}
}

// One that was made under the hold that goes on need not be made again.
func TestCopyOfDeadKeeperIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.keeper(nil)
	if err := k.EnsureGuard(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	g := held(t, w, ByBackup)
	if err := g.k.gone(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	made, err := g.k.copy(t.Context(), g.t, key, g, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Save(t.Context(), key, peersA(w)[:1], nil); err != nil {
		t.Fatal(err)
	}
	if w.saved[g.t.Name].Hostname != made.Hostname {
		t.Error("it was copied twice")
	}
	w.sound()
}

// Clones of two moments are no copy of a peer: its state would not match its ledger.
func TestClonesOfTwoMoments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	node := peersA(w)[0]
	w.edit(node.Name(), func(s *appsv1.StatefulSet) {
		s.Spec.VolumeClaimTemplates = append(s.Spec.VolumeClaimTemplates, corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "couchdb"}})
	})
	clone := func(volume, token string) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
			Name: cloneName(node.Name(), volume, key), Namespace: ns,
			Annotations: map[string]string{tokenAnnotation: token, stoppedAnnotation: time.Now().Format(time.RFC3339Nano)},
		}}
	}
	k := w.keeper(nil).defaults()
	for _, tc := range []struct {
		volume, token string
		want          bool
	}{{"data", "a", false}, {"couchdb", "b", false}, {"couchdb", "a", true}} {
		if err := k.makeClone(t.Context(), clone(tc.volume, tc.token)); err != nil {
			t.Fatal(err)
		}
		if _, all, err := k.cloned(t.Context(), targetOf(node), key); err != nil || all != tc.want {
			t.Errorf("after the clone of %s under hold %s: complete: %v, %v", tc.volume, tc.token, all, err)
		}
	}
}
