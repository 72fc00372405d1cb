package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"pivt.io/pivt/pkg/backup"
)

// held stops a node as a backup does, with a keeper that then is as good as dead.
func held(t *testing.T, w *world, by By) *grip {
	t.Helper()
	k := w.keeper(nil).defaults()
	g, err := k.claim(t.Context(), targetOf(peersA(w)[0]), by, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGuard(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		by     By
		// life is what happens beside the guard.
		life   func(t *testing.T, w *world, g *grip)
		change func(*Keeper)
		starts bool // before the workflow is over
		ends   bool // by itself
	}{
		"WorkflowFails": {
			reason: "A terminated workflow has no exit handler that could start nodes.",
			life:   func(_ *testing.T, w *world, _ *grip) { w.setPhase("Failed") }, starts: true, ends: true,
		},
		"WorkflowGone": {
			reason: "Somebody deleted it with all its pods.",
			life:   func(_ *testing.T, w *world, _ *grip) { w.setPhase("") }, starts: true, ends: true,
		},
		"KeeperDead": {
			reason: "Argo's controller may be dead as well; only the signs of life tell.",
			change: func(k *Keeper) { k.times.silence = 500 * time.Millisecond }, starts: true,
		},
		"KeeperAlive": {
			reason: "A copy that takes its time is no reason to spoil it.",
			life: func(t *testing.T, _ *world, g *grip) {
				_, end := g.keep(t.Context(), time.Hour)
				t.Cleanup(end)
			},
			change: func(k *Keeper) { k.times.silence = time.Second },
		},
		"HeldTooLong": {
			reason: "A keeper that lives and does not let go is broken.",
			change: func(k *Keeper) { k.Settings.MaxDowntime, k.times.grace = "20ms", 20*time.Millisecond }, starts: true,
		},
		"Restore": {
			reason: "A node that may be half restored must not be started by a machine.",
			by:     ByRestore,
			change: func(k *Keeper) { k.times.silence = 20 * time.Millisecond },
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			by := ByBackup
			if tc.by != "" {
				by = tc.by
			}
			g := held(t, w, by)
			if tc.life != nil {
				tc.life(t, w, g)
			}
			guard := w.keeper(nil)
			if tc.change != nil {
				tc.change(guard)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- guard.Guard(ctx, key) }()
			if tc.starts {
				w.eventually(tc.reason, func() bool { return w.hold(g.t.Name) == nil })
				w.sound()
			} else {
				time.Sleep(200 * time.Millisecond)
				if h := w.hold(g.t.Name); h == nil || h.Running {
					t.Fatalf("%s\nthe node was started:\n%s", tc.reason, w.told())
				}
			}
			if !tc.ends {
				select {
				case err := <-done:
					t.Fatalf("%s\nthe guard ended: %v", tc.reason, err)
				default:
				}
				cancel()
			}
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("%s\n%v", tc.reason, err)
			}
		})
	}
}

// A guard that could not look for longer than its patience must first see whether the keeper
// is back as well.
func TestGuardForgivesOutages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := held(t, w, ByBackup)
	guard := w.keeper(nil)
	guard.times.silence = time.Second
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- guard.Guard(ctx, key) }()
	down := func(b bool) { w.mu.Lock(); w.down = b; w.mu.Unlock() }
	time.Sleep(50 * time.Millisecond)
	down(true)
	time.Sleep(1500 * time.Millisecond)
	down(false)
	time.Sleep(100 * time.Millisecond) // the keeper is slower to come back
	if err := g.beat(t.Context()); err != nil {
		t.Errorf("the guard was faster: %v", err)
	}
	cancel()
	<-done
}

// A later attempt with the same key has a guard of its own: the former one looks at a workflow
// that is over.
func TestEnsureGuard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.keeper(nil)
	k.Workflow = "former"
	if err := k.EnsureGuard(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	former, err := k.guard(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	k = w.keeper(nil)
	for range 2 {
		if err := k.EnsureGuard(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	now, err := k.guard(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if now.UID == former.UID || now.Annotations[workflowAnnotation] != workflow {
		t.Errorf("the guard is still that of workflow %q", now.Annotations[workflowAnnotation])
	}
	spec := now.Spec.Template.Spec
	if !*spec.AutomountServiceAccountToken {
		t.Error("a guard without a token can start nothing")
	}
	for _, v := range spec.Volumes {
		if v.Secret != nil {
			t.Error("the guard has the repository's credentials, and no use for them")
		}
	}
}

// End is for backups; what a restore holds is nobody else's.
func TestEndLeavesRestores(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := held(t, w, ByRestore)
	if err := w.keeper(nil).End(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if h := w.hold(g.t.Name); h == nil || h.Running {
		t.Error("the node was started")
	}
}

// Nobody is left of a backup that somebody deleted with its guard; the next one cures that.
func TestSaveFreesTheDead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dead, err := json.Marshal(Hold{By: ByBackup, Key: "dead", Stage: Stopped, Beat: time.Now().Add(-time.Hour), Since: time.Now().Add(-2 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	w.edit(peersA(w)[1].Name(), func(s *appsv1.StatefulSet) {
		s.Annotations, s.Spec.Replicas = map[string]string{HeldAnnotation: string(dead)}, new(int32(0))
	})
	k := w.keeper(nil)
	k.times.dead = time.Minute
	if err := k.Save(t.Context(), key, peersA(w), nil); err != nil {
		t.Fatal(err)
	}
	w.sound()
}

func TestHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := held(t, w, ByRestore)
	all, err := Held(t.Context(), w.keeper(nil).Kube, ns)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || all[0].Node != g.t.Name || all[0].Running || all[0].Key != key || !strings.Contains(all[0].String(), "held by restore "+key) {
		t.Errorf("held: %+v", all)
	}
}

func TestAsk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.end = func(p *corev1.Pod) outcome {
		if p.Spec.Containers[0].Args[0] != "list" {
			return outcome{code: 3, message: "there is no repository\nHint: make one"}
		}
		var line strings.Builder
		if err := WriteAnswer(&line, []backup.Summary{{Key: key}}); err != nil {
			t.Error(err)
		}
		return outcome{log: `{"level":"INFO","msg":"opened"}` + "\n" + line.String() + "goodbye\n"}
	}
	k := w.keeper(nil)
	data, err := k.defaults().ask(t.Context(), []string{"list"})
	if err != nil {
		t.Fatal(err)
	}
	var got []backup.Summary
	if err := json.Unmarshal(data, &got); err != nil || len(got) != 1 || got[0].Key != key {
		t.Errorf("answer %s: %v", data, err)
	}
	if _, err := k.ask(t.Context(), []string{"show"}); err == nil || !strings.Contains(err.Error(), "there is no repository") {
		t.Errorf("got %v, want the termination message", err)
	}
	w.images = false
	if _, err := k.ask(t.Context(), []string{"list"}); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("got %v, want the kubelet's reason", err)
	}
	if left := w.left(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.keeper(nil)
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, news := range []backup.Status{
		{Last: &backup.Event{Key: "b", Time: at.Add(time.Hour)}},
		{Last: &backup.Event{Key: "a", Time: at}, LastFailure: &backup.Event{Key: "c", Time: at, Message: "no"}},
	} {
		if err := k.Record(t.Context(), news); err != nil {
			t.Fatal(err)
		}
	}
	s, err := ReadStatus(t.Context(), k.Kube, ns)
	if err != nil {
		t.Fatal(err)
	}
	if s.Last == nil || s.Last.Key != "b" || s.LastFailure == nil || s.LastFailure.Message != "no" {
		t.Errorf("status: %+v", s)
	}
}
