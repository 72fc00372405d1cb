package keeper

import (
	"context"
	"errors"
	"fmt"

	"pivt.io/pivt/pkg/exit"
)

// tidy removes what was replaced, on the machines where the nodes run now: their volumes
// may be mounted on one machine only. Then it lets the nodes go. Before the first is touched all are
// marked, because from then on none can go back.
func (k *Keeper) tidy(ctx context.Context, grips []*grip, key string) error {
	for _, g := range grips {
		if err := g.start(ctx, func(_ *grip, h *Hold) { h.Stage = Finishing }); err != nil {
			return k.untidy(grips, err)
		}
	}
	err := each(grips, func(g *grip) error {
		pod, err := k.pod(ctx, podOf(g.t.Name))
		if err != nil {
			return err
		}
		machine := ""
		if pod != nil {
			machine = pod.Spec.NodeName
		}
		return k.onVolumes(ctx, g, plan{role: "finish", key: key, args: []string{"finish", "--node", g.t.Name, "--key", key}, machine: machine, pinned: true})
	})
	if err == nil {
		err = k.letGo(ctx, grips, key, k.mark(key))
	}
	if err != nil {
		return k.untidy(grips, err)
	}
	k.Log.Info("restored", "key", key, "nodes", len(grips))
	return nil
}

func (k *Keeper) untidy(grips []*grip, err error) error {
	h := grips[0].hold
	return again(fmt.Errorf("the nodes are restored and serve, but what was there before is still on their volumes: %w", err), h.Key+h.Asked)
}

// conclude goes on where an earlier run of the same restore had all nodes serve: those are not stopped
// again. It reports whether there was such a run.
func (k *Keeper) conclude(ctx context.Context, key, asked string) (done bool, err error) {
	sets, err := k.sets(ctx)
	if err != nil {
		return false, err
	}
	var targets []target
	finishing := false
	for _, h := range holds(sets) {
		if h.By != ByRestore || h.Key != key {
			continue
		}
		switch {
		case h.Stage == Finishing && h.Asked != asked:
			return false, exit.With(exit.WithHint(errors.New(h.String()+", which serves already"), h.Cure()), exit.NotReady)
		case h.Stage == Finishing:
			finishing = true
			targets = append(targets, k.targetNamed(h.Node))
		case h.Stage == Started && h.Asked == asked: // not marked yet
			targets = append(targets, k.targetNamed(h.Node))
		}
	}
	if !finishing {
		return false, nil
	}
	k.Log.Info("the nodes are restored already; what they had before is removed", "key", key)
	grips, err := k.claimAll(ctx, targets, key, nil)
	if err != nil {
		return false, err
	}
	return true, k.tidy(ctx, grips, key)
}

// mark is what a node remembers of the restore that let it go.
func (k *Keeper) mark(key string) string { return key + " " + k.Workflow }

// concluded reports whether an earlier run in the same workflow has let all nodes go: it was only not
// there any more to say so, and the nodes have gone on since.
func (k *Keeper) concluded(ctx context.Context, targets []target, key string) (bool, error) {
	if k.Workflow == "" {
		return false, nil
	}
	for _, t := range targets {
		set, err := k.set(ctx, t.Name)
		if err != nil {
			return false, err
		}
		if holdOf(set) != nil || set.Annotations[RestoredAnnotation] != k.mark(key) {
			return false, nil
		}
	}
	k.Log.Info("an earlier run has restored all nodes", "key", key)
	return true, nil
}

// letGo ends the holds of nodes that run, and removes what the restore made.
func (k *Keeper) letGo(ctx context.Context, grips []*grip, key, mark string) error {
	if err := k.dropRecovery(ctx); err != nil {
		return err
	}
	for _, g := range grips {
		for _, role := range roles() {
			if err := k.drop(ctx, name(role, g.t.Name, key), ""); err != nil {
				return err
			}
		}
	}
	for _, g := range grips {
		if err := g.releaseAs(ctx, mark); err != nil {
			return err
		}
	}
	return nil
}
