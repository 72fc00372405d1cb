package keeper

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// survey looks at nodes before any of them is stopped. All must be up, except those that an
// earlier run of this backup holds; they come first in what is left to do, since they are down.
func (k *Keeper) survey(ctx context.Context, key string, all []target, saved map[string]bool) (todo []target, err error) {
	var first, then []target
	for _, t := range all {
		set, err := k.freed(ctx, key, t, saved[t.Name])
		if err != nil {
			return nil, err
		}
		if saved[t.Name] {
			k.Log.Info("saved already", t.Kind, t.Name)
			continue
		}
		if err := persistent(t, set); err != nil {
			return nil, err
		}
		if holdOf(set) != nil {
			first = append(first, t)
		} else {
			then = append(then, t)
		}
	}
	if len(then) > 0 {
		if err := k.up(ctx, then); err != nil {
			return nil, err
		}
	}
	return append(first, then...), nil
}

// freed is a node's StatefulSet as it is when dead holds have been removed: our own on a node
// that was saved, and those of backups of which not even the guard is left.
func (k *Keeper) freed(ctx context.Context, key string, t target, saved bool) (*appsv1.StatefulSet, error) {
	return k.change(ctx, t.Name, func(set *appsv1.StatefulSet, now *Hold) (*edit, error) {
		switch {
		case now == nil:
			return nil, nil
		case now.By != ByBackup:
			return nil, taken(*now)
		case now.Key == key && saved:
			return &edit{replicas: 1}, nil
		case now.Key == key:
			return nil, nil
		case k.Now().Sub(now.Beat) > k.times.dead:
			k.Log.Warn("starting a node that a dead backup held", t.Kind, t.Name, "key", now.Key, "beat", now.Beat)
			return &edit{replicas: 1}, nil
		}
		return nil, taken(*now)
	})
}

// up waits a moment until all are ready.
func (k *Keeper) up(ctx context.Context, all []target) error {
	var down []string
	err := k.await(ctx, k.times.settle, k.Log, func(ctx context.Context) (string, error) {
		down = nil
		hopeless := false
		for _, t := range all {
			set, err := k.set(ctx, t.Name)
			if err != nil {
				return "", err
			}
			if h := holdOf(set); h != nil {
				return "", taken(*h) // since we looked first
			}
			reason, _, err := k.ready(ctx, set)
			if err != nil {
				return "", err
			}
			if reason != "" {
				down = append(down, t.Name+": "+reason)
				hopeless = hopeless || replicas(set) == 0
			}
		}
		if hopeless {
			return "", &lateError{listed(down), 0}
		}
		return listed(down), nil
	})
	var late *lateError
	if errors.As(err, &late) {
		return exit.With(exit.WithHint(fmt.Errorf("nodes are down before anything was stopped for the backup: %s", listed(down)),
			"cure that first: a backup takes each node away for a while, and its copies should be of a network that works"), exit.NotReady)
	}
	return err
}

// group are the nodes of which only one may be away: all orderers, which are one quorum, or
// the peers of an organisation.
func (k *Keeper) group(t target) []target {
	switch {
	case t.node == nil:
		return nil
	case t.node.Org.Kind == network.Peer:
		return targetsOf(t.node.Org.Nodes)
	}
	var all []target
	for _, o := range k.Network.OrdererOrgs {
		all = append(all, targetsOf(o.Nodes)...)
	}
	return all
}

// alone refuses to go on if another node of the group is in somebody's hand. Everybody
// claims first and looks then, so of two at least one sees the other.
func (k *Keeper) alone(ctx context.Context, g *grip) error {
	sets, err := k.sets(ctx)
	if err != nil {
		return err
	}
	group := k.group(g.t)
	for _, h := range holds(sets) {
		in := slices.ContainsFunc(group, func(t target) bool { return t.Name == h.Node })
		if in && h.Node != g.t.Name && h.Holder != k.identity {
			return exit.Transient(fmt.Errorf("%s was not stopped: %s", g.t.Name, h))
		}
	}
	return nil
}

// spared waits until the node can be away: all other orderers serve, or another peer of its
// organisation if it has one.
func (k *Keeper) spared(ctx context.Context, g *grip) error {
	group := k.group(g.t)
	if len(group) == 0 {
		return nil
	}
	if len(group) == 1 {
		g.log.Info("nobody serves in its place while it is copied", "org", g.t.Org)
		return nil
	}
	quorum := g.t.orderer()
	err := k.await(ctx, k.times.settle, g.log, func(ctx context.Context) (string, error) {
		var not []string
		for _, other := range group {
			if other.Name == g.t.Name {
				continue
			}
			err := k.serves(ctx, other, nil)
			if err == nil && !quorum {
				return "", nil
			}
			if err != nil {
				not = append(not, fmt.Sprintf("%s does not serve: %v", other.Name, err))
			}
		}
		return listed(not), nil
	})
	var late *lateError
	if errors.As(err, &late) {
		rest := "no other peer of its organisation serves"
		if quorum {
			rest = "it would be the second orderer that is away"
		}
		return exit.With(fmt.Errorf("%s was not stopped, because %s: %w", g.t.Name, rest, err), exit.NotReady)
	}
	return err
}
