package keeper

import (
	"context"
	"fmt"
	"slices"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
)

// Cancel puts back what was on the volumes before a restore and starts the nodes. It may be
// repeated, and does nothing if no node is held by the restore. Once all nodes have served and what was there
// before is being removed, it refuses.
func (k *Keeper) Cancel(ctx context.Context, key string) error {
	k.defaults()
	sets, err := k.sets(ctx)
	if err != nil {
		return err
	}
	var targets []target
	for _, h := range holds(sets) {
		if h.By == ByRestore && h.Key == key {
			if h.Stage == Finishing {
				return exit.With(exit.WithHint(fmt.Errorf("%s: what was there before the restore of backup %s is being removed already; it cannot be cancelled any more", h.Node, key), h.Cure()), exit.NotReady)
			}
			targets = append(targets, k.targetNamed(h.Node))
		}
	}
	if len(targets) == 0 {
		k.Log.Info("nothing is held by this restore", "key", key)
		return nil
	}
	slices.SortStableFunc(targets, func(a, b target) int { return rank(a) - rank(b) })
	grips, err := k.claimAll(ctx, targets, key, nil)
	if err != nil {
		return err
	}
	// What was only claimed still runs, and nothing was done to it.
	var touched, back []*grip
	for _, g := range grips {
		switch g.hold.Stage {
		case Claimed:
		case Returned:
			back = append(back, g)
		default:
			touched, back = append(touched, g), append(back, g)
		}
	}
	// What is still at work would take away what is to be put back.
	for _, g := range touched {
		for _, role := range []string{"restore", "finish"} {
			if err := k.halt(ctx, name(role, g.t.Name, key)); err != nil {
				return err
			}
		}
	}
	err = k.stopped(ctx, touched, func(ctx context.Context, g *grip) error {
		return k.onVolumes(ctx, g, plan{role: "undo", key: key, args: []string{"undo", "--node", g.t.Name, "--key", key}})
	})
	if err != nil {
		return fmt.Errorf(`putting back what was there: %w; the nodes stay stopped: repeat "pivt restore %s --cancel"`, err, key)
	}
	returned := func(_ *grip, h *Hold) { h.Stage, h.Shared = Returned, false }
	if err := k.startAll(ctx, back, returned, func(target) map[string]uint64 { return nil }); err != nil {
		return fmt.Errorf(`what was there is put back, but %w; repeat "pivt restore %s --cancel"`, err, key)
	}
	return k.letGo(ctx, grips, key, "")
}

// halt stops a pod that may still be at work on a node's volumes.
func (k *Keeper) halt(ctx context.Context, name string) error {
	pod, err := k.pod(ctx, name)
	if err != nil || pod == nil {
		return err
	}
	return k.remove(ctx, pod, k.times.stop)
}

// targetNamed is a node by its StatefulSet; what the network does not know is a CA.
func (k *Keeper) targetNamed(name string) target {
	for _, n := range k.Network.Nodes() {
		if n.Name() == name {
			return targetOf(n)
		}
	}
	return target{backup.Node{Name: name, Kind: kindCA, Hostname: kindCA}, nil}
}
