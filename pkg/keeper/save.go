package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// Save copies nodes one after the other, except those that are saved already. Whatever goes
// wrong, no node stays stopped; the first failure ends it, and no further node is stopped. It
// may be repeated, and goes on with what an earlier run left.
func (k *Keeper) Save(ctx context.Context, key string, nodes []*network.Node, saved map[string]bool) error {
	return k.defaults().save(ctx, key, targetsOf(nodes), saved)
}

// SaveCAs copies the CAs of the namespace, if there are any.
func (k *Keeper) SaveCAs(ctx context.Context, key string, saved map[string]bool) error {
	all, err := k.defaults().cas(ctx)
	if err != nil {
		return err
	}
	return k.save(ctx, key, all, saved)
}

func (k *Keeper) save(ctx context.Context, key string, all []target, saved map[string]bool) error {
	if err := backup.CheckKey(key); err != nil {
		return err
	}
	todo, err := k.survey(ctx, key, all, saved)
	if err != nil {
		return err
	}
	for i, t := range todo {
		if i > 0 && t.orderer() {
			if err := k.breathe(ctx); err != nil {
				return err
			}
		}
		if err := k.saveNode(ctx, key, t); err != nil {
			return err
		}
	}
	return nil
}

// breathe lets transactions through between two orderers. Each of them may cost an election, because
// the next one leads by then or because a leader is blocked for 5 s by the connection to one whose
// pod is gone. Clients would wait for all elections together.
func (k *Keeper) breathe(ctx context.Context) error {
	k.Log.Info("letting through what waits to be ordered", "for", k.times.breath)
	return sleep(ctx, k.times.breath)
}

// saveNode stops one node, has it copied, and starts it.
func (k *Keeper) saveNode(ctx context.Context, key string, t target) error {
	if err := k.EnsureGuard(ctx, key); err != nil {
		return fmt.Errorf("%s was not stopped: %w", t.Name, err)
	}
	if k.Settings.SnapshotClass != "" {
		if stopped, all, err := k.cloned(ctx, t, key); err != nil {
			return err
		} else if all {
			k.Log.Info("its volumes are cloned already", t.Kind, t.Name)
			t.Stopped = stopped
			if _, err := k.freed(ctx, key, t, true); err != nil {
				return err
			}
			if err := k.serving(ctx, t, nil, k.times.ready); err != nil {
				return fmt.Errorf("%w; no other node was stopped", err)
			}
			return k.saveClones(ctx, t, key)
		}
	}
	g, err := k.claim(ctx, t, ByBackup, key, nil)
	if err != nil {
		return err
	}
	copied, floor, err := k.held(ctx, g, key)
	if err != nil && !errors.Is(err, errOther) {
		// Its copy must not keep a volume that the node wants on another machine.
		err = also(err, k.discard(ctx, t.Name, key))
	}
	if e := g.release(ctx); e != nil {
		return exit.Transient(also(err, e))
	}
	if err != nil {
		return err
	}
	clones := k.Settings.SnapshotClass != ""
	if !clones {
		if err := k.put(ctx, g.t, key, copied); err != nil {
			return err
		}
	}
	if err := k.serving(ctx, g.t, k.caughtUp(ctx, g.t, copied, floor), k.times.ready); err != nil {
		return fmt.Errorf("%w; no other node was stopped", err)
	}
	if clones {
		return k.saveClones(ctx, g.t, key)
	}
	return nil
}

// also is two errors in one line.
func also(err, other error) error {
	switch {
	case err == nil:
		return other
	case other == nil:
		return err
	}
	return fmt.Errorf("%w; and %w", err, other)
}

// held is what is done while the node is in our hand. The result is empty if clones are copied,
// which is done later; heights are those before the node was stopped, as far as they are known.
func (k *Keeper) held(ctx context.Context, g *grip, key string) (copied backup.Node, heights map[string]uint64, err error) {
	limit := k.Settings.Downtime()
	if g.hold.Stage != Stopped {
		if err := k.alone(ctx, g); err != nil {
			return copied, nil, err
		}
		if err := k.spared(ctx, g); err != nil {
			return copied, nil, err
		}
		heights = k.heights(ctx, g.t)
		if err := k.locate(ctx, g); err != nil {
			return copied, nil, err
		}
		g.log.Info("stopping", "key", key)
		if err := g.stop(ctx); err != nil {
			return copied, nil, err
		}
	}
	g.t.Stopped = g.hold.Since
	held, end := g.keep(ctx, limit)
	defer end()
	if err := k.gone(held, g); err != nil {
		return copied, heights, err
	}
	if k.Settings.SnapshotClass != "" {
		if err := k.cut(held, g, key); err != nil {
			return copied, heights, err
		}
		if err := g.check(held); err != nil {
			return copied, heights, err
		}
		return copied, heights, k.clone(held, g, key)
	}
	if copied, err = k.copy(held, g.t, key, g, nil); err != nil {
		return copied, heights, err
	}
	return copied, heights, g.check(held)
}

// locate notes on which machine the node runs.
func (k *Keeper) locate(ctx context.Context, g *grip) error {
	pod, err := k.pod(ctx, podOf(g.t.Name))
	if err != nil {
		return err
	}
	if pod != nil {
		g.hold.Machine = pod.Spec.NodeName
	}
	return nil
}

func saveName(node, key string) string { return name("save", node, key) }

// copy has a pod copy a node's volumes: its claims while it is held, or clones of them.
func (k *Keeper) copy(ctx context.Context, t target, key string, g *grip, clones map[string]string) (backup.Node, error) {
	var none backup.Node
	owners, err := k.guarded(ctx, key)
	if err != nil {
		return none, err
	}
	p := plan{
		name: saveName(t.Name, key), role: "save", key: key, args: []string{"save", "--node", t.Name, "--key", key},
		node: &t.Node, claims: clones, network: true, owners: owners, hold: g,
	}
	if g != nil {
		set, err := k.set(ctx, t.Name)
		if err != nil {
			return none, err
		}
		p.claims, p.machine, p.limit = claims(set), g.hold.Machine, k.Settings.Downtime()+k.times.grace
	}
	pod, err := k.run(ctx, p, k.Log.With(t.Kind, t.Name))
	if err != nil {
		return none, fmt.Errorf("copying %s: %w", t.Name, err)
	}
	data, err := k.answer(ctx, pod)
	if err != nil {
		return none, fmt.Errorf("copying %s: %w", t.Name, err)
	}
	var saved backup.Node
	if err := json.Unmarshal(data, &saved); err != nil {
		return none, fmt.Errorf("copying %s: reading what pod %s answered: %w", t.Name, pod.Name, err)
	}
	if saved.Name != t.Name {
		return none, fmt.Errorf("copying %s: pod %s answered for %q", t.Name, pod.Name, saved.Name)
	}
	return saved, nil
}

// put keeps the result and forgets its pod.
func (k *Keeper) put(ctx context.Context, t target, key string, n backup.Node) error {
	if err := k.Put(ctx, key, n); err != nil {
		return fmt.Errorf("keeping what was saved of %s: %w", n.Name, err)
	}
	k.Log.Info("saved", t.Kind, t.Name, "key", key, "bytes", bytesOf(n), "stopped", t.Stopped)
	return k.discard(ctx, t.Name, key)
}

// discard removes the copy pod of a node and what it copied from, if they exist. It is done even if
// ctx is over.
func (k *Keeper) discard(ctx context.Context, node, key string) error {
	if ctx.Err() != nil {
		var cancel func()
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), k.times.parting/4)
		defer cancel()
	}
	err := k.drop(ctx, saveName(node, key), "")
	if k.Settings.SnapshotClass != "" {
		err = errors.Join(err, k.discardClones(ctx, node, key))
	}
	return err
}

// heights of a node, nil if it does not tell: they only make waiting more exact.
func (k *Keeper) heights(ctx context.Context, t target) map[string]uint64 {
	if t.node == nil {
		return nil
	}
	once, cancel := context.WithTimeout(ctx, k.times.call)
	defer cancel()
	h, err := k.Nodes.Heights(once, t.node)
	if err != nil {
		k.Log.Info("its heights are not known", t.Kind, t.Name, "error", err)
	}
	return h
}

// caughtUp is what a node must have before the next one is stopped: on its channels, what others
// of its group have by now, and no less than it had itself.
func (k *Keeper) caughtUp(ctx context.Context, t target, copied backup.Node, before map[string]uint64) map[string]uint64 {
	floor := maps.Clone(before)
	if floor == nil {
		floor = map[string]uint64{}
	}
	for _, c := range copied.Channels {
		floor[c.Name] = max(floor[c.Name], c.Height)
	}
	for _, other := range k.group(t) {
		if other.Name == t.Name {
			continue
		}
		for channel, height := range k.heights(ctx, other) {
			if _, on := floor[channel]; on {
				floor[channel] = max(floor[channel], height)
			}
		}
	}
	return floor
}

func bytesOf(n backup.Node) int64 {
	var sum int64
	for _, v := range n.Volumes {
		sum += v.Bytes
	}
	return sum
}

// guarded makes the guard the owner of what is made for a backup: a copy outlives the task that
// asked for it, so that a repeated task finds it, but not the backup. With the task's pod as its
// owner, every retry would begin anew.
func (k *Keeper) guarded(ctx context.Context, key string) ([]metav1.OwnerReference, error) {
	job, err := k.guard(ctx, key)
	if err != nil {
		return nil, err
	}
	if job == nil {
		return nil, exit.Transient(fmt.Errorf("the guard of backup %s was deleted", key))
	}
	return []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: job.Name, UID: job.UID}}, nil
}
