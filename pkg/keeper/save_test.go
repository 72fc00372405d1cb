package keeper

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

func orderers(w *world) []*network.Node { return w.net.OrdererOrgs[0].Nodes }
func peersA(w *world) []*network.Node   { return w.net.PeerOrgs[0].Nodes }

func TestSave(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.keeper(nil)
	for _, nodes := range [][]*network.Node{peersA(w), w.net.PeerOrgs[1].Nodes, orderers(w)} {
		if err := k.Save(t.Context(), key, nodes, nil); err != nil {
			t.Fatal(err)
		}
	}
	w.sound()
	if diff := cmp.Diff(names(w.net.Nodes()), w.savedNames()); diff != "" {
		t.Errorf("saved: -want, +got:\n%s", diff)
	}
	for name, n := range w.saved {
		if n.Stopped.IsZero() {
			t.Errorf("%s does not say when it was stopped", name)
		}
		if w.starts[name] != 2 {
			t.Errorf("%s was started %d times, want 2: before and after its copy", name, w.starts[name])
		}
	}
	if !strings.Contains(w.told(), "nobody serves in its place") {
		t.Error("a lonely peer was stopped without a word")
	}
	if err := k.End(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	w.eventually("nothing is left", func() bool { return len(w.left()) == 0 })
}

// Between two orderers there is time for what waits to be ordered.
func TestSaveBreathes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.keeper(nil)
	k.times.breath = 300 * time.Millisecond
	if err := k.Save(t.Context(), key, orderers(w), nil); err != nil {
		t.Fatal(err)
	}
	w.sound()
	var last time.Time
	for _, n := range orderers(w) {
		stopped := w.saved[n.Name()].Stopped
		if since := stopped.Sub(last); since < k.times.breath {
			t.Errorf("%s was stopped %s after the one before", n.Name(), since)
		}
		last = stopped
	}
}

func TestSaveSkipsWhatIsSaved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := peersA(w)
	if err := w.keeper(nil).Save(t.Context(), key, n, map[string]bool{n[0].Name(): true}); err != nil {
		t.Fatal(err)
	}
	w.sound()
	if diff := cmp.Diff([]string{n[1].Name()}, w.savedNames()); diff != "" {
		t.Errorf("saved: -want, +got:\n%s", diff)
	}
}

// A keeper that dies after any of its calls leaves something that the same task, repeated, ends well.
func TestSaveSurvivesItsKeeper(t *testing.T) {
	t.Parallel()
	for _, class := range []string{"", "fast"} {
		for died, n := true, 0; died; n++ {
			w := newWorld(t)
			l := &lives{left: n}
			k := w.keeper(l)
			k.Settings.SnapshotClass = class
			k.times.beat = time.Hour // which makes the calls countable
			err := k.Save(t.Context(), key, peersA(w), nil)
			if died = errors.Is(err, errKilled); !died && err != nil {
				t.Fatalf("after %d calls: %v", n, err)
			}
			again := w.keeper(nil)
			again.Settings.SnapshotClass = class
			saved := map[string]bool{}
			for _, name := range w.savedNames() {
				saved[name] = true
			}
			if err := again.Save(t.Context(), key, peersA(w), saved); err != nil {
				t.Fatalf("killed before call %d, %s, then repeated: %v\n%s", n, last(l.calls), err, w.told())
			}
			w.sound()
			if diff := cmp.Diff(names(peersA(w)), w.savedNames()); diff != "" {
				t.Errorf("killed before call %d, %s: saved: -want, +got:\n%s", n, last(l.calls), diff)
			}
			if err := again.End(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			w.eventually("nothing is left", func() bool { return len(w.left()) == 0 })
			w.stop()
			w.done.Wait()
			if n > 500 {
				t.Fatal("it never ends")
			}
		}
	}
}

func last(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// Dead or alive, after the exit handler nothing is stopped.
func TestEndAfterAnyDeath(t *testing.T) {
	t.Parallel()
	for died, n := true, 0; died; n += 3 {
		w := newWorld(t)
		k := w.keeper(&lives{left: n})
		k.times.beat = time.Hour
		died = errors.Is(k.Save(t.Context(), key, peersA(w), nil), errKilled)
		if err := w.keeper(nil).End(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		w.sound()
		w.eventually("nothing is left", func() bool { return len(w.left()) == 0 })
		w.stop()
		w.done.Wait()
	}
}

func TestSaveFails(t *testing.T) {
	t.Parallel()
	save := func(o outcome) func(*world) {
		return func(w *world) { w.end = func(*corev1.Pod) outcome { return o } }
	}
	cases := map[string]struct {
		reason  string
		prepare func(*world)
		change  func(*Keeper)
		want    string
		hint    string
		code    exit.Code
		stopped bool // whether a node may have been stopped for it
	}{
		"CopyFails": {
			reason:  "What the program in the pod says is the error, with its hint.",
			prepare: save(outcome{code: 1, message: "Error: bucket \"x\" is full\nHint: make room\n"}),
			want:    `bucket "x" is full`, hint: "make room", code: exit.Failed, stopped: true,
		},
		"CopyAsksAgain": {
			reason:  "Code 75 is the program's wish to be called again.",
			prepare: save(outcome{code: 75, message: "s3:9000 does not answer"}),
			want:    "s3:9000 does not answer", code: exit.TryAgain, stopped: true,
		},
		"OutOfMemory": {
			reason:  "Another try would need as much memory.",
			prepare: save(outcome{code: 137, reason: "OOMKilled"}),
			want:    "more memory than its limit", hint: "backup.resources.limits.memory", code: exit.Failed, stopped: true,
		},
		"Evicted": {
			reason:  "Another machine may have room.",
			prepare: save(outcome{code: 137, evicted: "The node was low on resource: memory."}),
			want:    "low on resource", code: exit.TryAgain, stopped: true,
		},
		"Unschedulable": {
			reason:  "The scheduler's words say what the pod lacks.",
			prepare: save(outcome{pending: "0/1 nodes are available: 1 Insufficient memory."}),
			want:    "Insufficient memory", code: exit.Failed, stopped: true,
		},
		"ImageVanished": {
			reason:  "The kubelet's words say which image is missing.",
			prepare: save(outcome{waiting: "image is gone"}),
			want:    "image is gone", code: exit.Failed, stopped: true,
		},
		"NoMount": {
			reason:  "A volume that hangs on another machine is only in events.",
			prepare: save(outcome{mount: "Multi-Attach error for volume"}),
			change:  func(k *Keeper) { k.times.start = time.Second },
			want:    "Multi-Attach error for volume", hint: "kubectl describe pod", code: exit.Failed, stopped: true,
		},
		"NoServiceAccount": {
			reason: "A network of an earlier version lacks what this one makes.",
			prepare: func(w *world) {
				w.trouble = func(verb, what, _ string) error {
					if verb == "create" && what == "pods" {
						return apierrors.NewForbidden(podsResource.GroupResource(), "x", errors.New("error looking up service account fabric/hlf-backup"))
					}
					return nil
				}
			},
			want: "error looking up service account", hint: "pivt install", code: exit.Failed, stopped: true,
		},
		"GuardRefused": {
			reason: "Why a Job has no pod is only in events.",
			prepare: func(w *world) {
				w.images = false
				w.mu.Lock()
				w.warn(guardName(key), "exceeded quota: pods=10")
				w.mu.Unlock()
			},
			want: "exceeded quota", hint: "kubectl describe job", code: exit.Failed,
		},
		"NoGuard": {
			reason:  "An image that is missing shows by the guard, before a node is stopped.",
			prepare: func(w *world) { w.images = false },
			want:    "the guard of backup", hint: "kubectl describe job", code: exit.Failed,
		},
		"NodeIsDown": {
			reason: "A backup must not make a bad day worse.",
			prepare: func(w *world) {
				w.edit(peersA(w)[1].Name(), func(s *appsv1.StatefulSet) { s.Spec.Replicas = new(int32(0)) })
			},
			want: "hlf-peer--a--peer1: it is scaled to zero", code: exit.NotReady,
		},
		"NoVolume": {
			reason: "Stopping a node whose data are in its pod would lose them.",
			prepare: func(w *world) {
				w.edit(peersA(w)[1].Name(), func(s *appsv1.StatefulSet) { s.Spec.VolumeClaimTemplates = nil })
			},
			want: "no volume to copy", hint: "peer.persistence.enabled", code: exit.Invalid,
		},
		"HeldByRestore": {
			reason: "Nobody but the restore may start such a node.",
			prepare: func(w *world) {
				w.edit(peersA(w)[1].Name(), func(s *appsv1.StatefulSet) {
					s.Annotations = map[string]string{HeldAnnotation: `{"by":"restore","key":"old","since":"2026-11-21T11:00:00Z"}`}
				})
			},
			want: "is held by restore old since 2026-11-21T11:00:00Z", hint: "pivt restore old --cancel", code: exit.NotReady,
		},
		"TooLong": {
			reason:  "After maxDowntime the node is started, whatever becomes of the backup.",
			prepare: func(w *world) { w.slow = time.Second },
			change:  func(k *Keeper) { k.Settings.MaxDowntime = "100ms" },
			want:    "longer than backup.maxDowntime (100ms)", hint: "backup.snapshotClass", code: exit.TimedOut, stopped: true,
		},
		"StuckTerminating": {
			reason:  "A machine that does not answer keeps its pod listed; nothing can be copied beside it.",
			prepare: func(w *world) { w.stuck[peersA(w)[0].Pod()] = true },
			change:  func(k *Keeper) { k.times.stop = 50 * time.Millisecond },
			want:    "does not stop: pod hlf-peer--a--peer0-0 is stopping on machine machine1", hint: "kubectl get nodes", code: exit.Failed, stopped: true,
		},
		"NeverReadyAgain": {
			reason: "The error says which node; no other one is stopped.",
			prepare: func(w *world) {
				w.before = func(w *world, p *corev1.Pod) { w.mu.Lock(); w.unready[p.Labels[NodeLabel]] = true; w.mu.Unlock() }
			},
			change: func(k *Keeper) { k.times.ready = time.Second },
			want:   "hlf-peer--a--peer0 was started but does not serve: container peer runs, not ready yet", code: exit.TimedOut, stopped: true,
		},
		"SnapshotNeverCut": {
			reason:  "A driver that does not snapshot must not keep a node stopped.",
			prepare: func(w *world) { w.uncut = true },
			change:  func(k *Keeper) { k.Settings.SnapshotClass, k.times.cut = "fast", 50*time.Millisecond },
			want:    "is being made", hint: "backup.snapshotClass", code: exit.Failed, stopped: true,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tc.prepare(w)
			down := w.up(peersA(w)[1].Name())
			k := w.keeper(nil)
			if tc.change != nil {
				tc.change(k)
			}
			err := k.Save(t.Context(), key, peersA(w), nil)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%s\ngot %v\nwant one line with %q", tc.reason, err, tc.want)
			}
			if !strings.Contains(exit.HintOf(err), tc.hint) {
				t.Errorf("%s\nhint %q, want %q", tc.reason, exit.HintOf(err), tc.hint)
			}
			if exit.CodeOf(err) != tc.code {
				t.Errorf("%s\ncode %d, want %d", tc.reason, exit.CodeOf(err), tc.code)
			}
			if len(w.savedNames()) > 0 && name != "NeverReadyAgain" {
				t.Errorf("%s\n%v counts as saved", tc.reason, w.savedNames())
			}
			first, second := peersA(w)[0].Name(), peersA(w)[1].Name()
			if !tc.stopped && w.starts[first] != 1 {
				t.Errorf("%s\n%s was stopped", tc.reason, first)
			}
			if w.starts[second] > 1 {
				t.Errorf("%s\n%s was stopped too", tc.reason, second)
			}
			if name != "NodeIsDown" && name != "HeldByRestore" {
				w.sound()
			}
			_ = down
		})
	}
}

// Two peers of an organisation, three orderers: what is needed must be there before one goes.
func TestSaveSpares(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		nodes  func(*world) []*network.Node
		broken int // which of them is ready and does not serve
		want   string
	}{
		"SecondOrderer": {"A quorum of three bears one that is away.", orderers, 2, "hlf-orderer--ord--o0 was not stopped, because it would be the second orderer"},
		"OtherPeer":     {"Clients of the organisation need one of its peers.", peersA, 1, "hlf-peer--a--peer0 was not stopped, because no other peer"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			k := w.keeper(nil)
			k.times.settle = 50 * time.Millisecond
			k.Nodes = broken{Nodes: k.Nodes, name: tc.nodes(w)[tc.broken].Name()}
			err := k.Save(t.Context(), key, tc.nodes(w), nil)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\ngot %v\nwant %q", tc.reason, err, tc.want)
			}
			w.sound()
			if w.away != 0 {
				t.Errorf("%s\na node was stopped", tc.reason)
			}
		})
	}
}

type broken struct {
	Nodes
	name string
}

func (b broken) Serving(ctx context.Context, n *network.Node, floor map[string]uint64) error {
	if n.Name() == b.name {
		return errors.New("it has no leader")
	}
	return b.Nodes.Serving(ctx, n, floor)
}

// What other people and programs do meanwhile must not let a copy count that is torn.
func TestSaveIsDisturbed(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		do     func(w *world, node string)
		want   string
	}{
		"Install": {
			reason: "Helm sets replicas back; the annotation, which is not Helm's, stays.",
			do: func(w *world, node string) {
				w.edit(node, func(s *appsv1.StatefulSet) { s.Spec.Replicas = new(int32(1)) })
			},
			want: "changed its StatefulSet",
		},
		"InstallAndBack": {
			reason: "The node may have run for a moment, and nobody would see it by its scale.",
			do: func(w *world, node string) {
				w.edit(node, func(s *appsv1.StatefulSet) { s.Spec.Replicas = new(int32(1)) })
				w.edit(node, func(s *appsv1.StatefulSet) { s.Spec.Replicas = new(int32(0)) })
			},
			want: "changed its StatefulSet",
		},
		"Guard": {
			reason: "The guard thought the keeper dead.",
			do: func(w *world, node string) {
				w.edit(node, func(s *appsv1.StatefulSet) { s.Spec.Replicas, s.Annotations = new(int32(1)), nil })
			},
			want: "somebody let it go",
		},
		"OtherRun": {
			reason: "A repeated task whose first pod was only thought dead.",
			do: func(w *world, node string) {
				k := w.keeper(nil)
				if _, err := k.defaults().claim(context.Background(), targetOf(peersA(w)[0]), ByBackup, key, nil); err != nil {
					w.t.Error(err)
				}
			},
			want: "by another run",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var once bool
			w.before = func(w *world, p *corev1.Pod) {
				if !once {
					once = true
					tc.do(w, p.Labels[NodeLabel])
				}
			}
			err := w.keeper(nil).Save(t.Context(), key, peersA(w), nil)
			if !errors.Is(err, errLost) || !strings.Contains(err.Error(), tc.want) || !exit.IsTransient(err) {
				t.Fatalf("%s\ngot %v\nwant %q, to be tried again", tc.reason, err, tc.want)
			}
			if len(w.savedNames()) > 0 {
				t.Fatalf("%s\nits copy counts", tc.reason)
			}
			if err := w.keeper(nil).Save(t.Context(), key, peersA(w), nil); err != nil {
				t.Fatalf("%s\nrepeated: %v", tc.reason, err)
			}
			w.sound()
			if diff := cmp.Diff(names(peersA(w)), w.savedNames()); diff != "" {
				t.Errorf("%s\nsaved: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestSaveOutlivesTheAPIServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	outages := 0
	w.before = func(w *world, _ *corev1.Pod) {
		outages++
		w.mu.Lock()
		w.down = true
		w.mu.Unlock()
		time.AfterFunc(100*time.Millisecond, func() { w.mu.Lock(); w.down = false; w.mu.Unlock() })
	}
	if err := w.keeper(nil).Save(t.Context(), key, peersA(w), nil); err != nil {
		t.Fatal(err)
	}
	w.sound()
	if len(w.savedNames()) != 2 || outages != 2 {
		t.Errorf("saved %v in %d outages", w.savedNames(), outages)
	}
}

// An API server that has just started refuses what it allows a moment later.
func TestSaveOutlivesRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var until time.Time
	w.before = func(w *world, _ *corev1.Pod) {
		w.mu.Lock()
		defer w.mu.Unlock()
		until = time.Now().Add(50 * time.Millisecond)
		w.trouble = func(verb, what, _ string) error {
			if time.Now().Before(until) {
				return apierrors.NewForbidden(podsResource.GroupResource(), "", fmt.Errorf("hlf-backup cannot %s %s", verb, what))
			}
			return nil
		}
	}
	if err := w.keeper(nil).Save(t.Context(), key, peersA(w), nil); err != nil {
		t.Fatal(err)
	}
	w.sound()
}

// Being asked to end is no reason to leave a node stopped.
func TestSaveIsCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.before = func(*world, *corev1.Pod) { cancel() }
	w.slow = time.Second
	err := w.keeper(nil).Save(ctx, key, peersA(w), nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want a cancelled context", err)
	}
	w.sound()
}

// Two backups that know nothing of each other never stop two nodes of one group.
func TestTwoBackups(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.slow = 5 * time.Millisecond
	done := make(chan error, 2)
	for _, backup := range []string{"one", "two"} {
		go func() {
			nodes := orderers(w)
			if backup == "two" {
				nodes = []*network.Node{nodes[2], nodes[1], nodes[0]}
			}
			for {
				err := w.keeper(nil).Save(t.Context(), backup, nodes, nil)
				if !exit.IsTransient(err) {
					done <- err
					return
				}
				select {
				case <-t.Context().Done():
					done <- err
					return
				case <-time.After(time.Millisecond):
				}
			}
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	w.sound()
}
