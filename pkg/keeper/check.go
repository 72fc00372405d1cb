package keeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// Check refuses a restore that would do harm or could not be done, for all its reasons at
// once. The identity is that of the network in the namespace. Nothing is changed.
func (k *Keeper) Check(ctx context.Context, m backup.Manifest, verified *time.Time, identity backup.Identity, sel backup.Selection, accept backup.Accept) error {
	k.defaults()
	nodes, err := sel.Of(k.Network)
	if err != nil {
		return err
	}
	list, err := k.sets(ctx)
	if err != nil {
		return err
	}
	sets := map[string]*appsv1.StatefulSet{}
	for i := range list {
		sets[list[i].Name] = &list[i]
	}
	present := backup.Present{Identity: identity, Heights: k.present(ctx, sets, m.Key)}
	refused := backup.Admit(m, verified, nodes, present, accept)
	cannot, err := k.obstacles(ctx, m, nodes, sets)
	if err != nil {
		return err
	}
	if sel.All() && !accept.Has(backup.MissingParts) {
		for _, n := range m.Nodes {
			if n.Kind == kindCA && sets[n.Name] == nil {
				cannot.add(exit.WithHint(fmt.Errorf("statefulset/%s, a CA that was saved, does not exist", n.Name),
					"deploy it first, or leave it out with --accept "+string(backup.MissingParts)))
			}
		}
	}
	for _, ch := range k.Network.Channels {
		if reason := outvoted(ch, m, nodes, sets, present); reason != "" {
			cannot.add(exit.WithHint(errors.New(reason), "restore orderers one after the other with --node, or all of them from a backup that has all"))
			break
		}
	}
	switch {
	case len(cannot.all) == 0:
		return refused
	case refused != nil:
		return exit.With(fmt.Errorf("%w; and whatever is accepted: %s", refused, listed(cannot.all)), exit.NotReady)
	}
	err = exit.With(fmt.Errorf("backup %s cannot be restored: %s; nothing was changed", m.Key, listed(cannot.all)), exit.NotReady)
	if len(cannot.hints) > 0 {
		err = exit.WithHint(err, strings.Join(cannot.hints, "; "))
	}
	return err
}

// reasons are what speaks against a restore, and what cures it, each cure once.
type reasons struct{ all, hints []string }

func (r *reasons) add(err error) {
	r.all = append(r.all, err.Error())
	if hint := exit.HintOf(err); hint != "" && !slices.Contains(r.hints, hint) {
		r.hints = append(r.hints, hint)
	}
}

// obstacles are reasons that are not the backup's: there is nothing to restore onto, or somebody
// else has the node.
func (k *Keeper) obstacles(ctx context.Context, m backup.Manifest, nodes []*network.Node, sets map[string]*appsv1.StatefulSet) (r reasons, err error) {
	for _, n := range nodes {
		t := targetOf(n)
		if _, saved := m.Node(t.Name); !saved {
			continue
		}
		set := sets[t.Name]
		if set == nil {
			r.add(exit.WithHint(fmt.Errorf("statefulset/%s does not exist", t.Name), `"pivt install" makes it`))
			continue
		}
		if err := persistent(t, set); err != nil {
			r.add(err)
			continue
		}
		if h := holdOf(set); h != nil && (h.By != ByRestore || h.Key != m.Key) {
			r.add(exit.WithHint(errors.New(h.String()), h.Cure()))
		}
		for _, claim := range claims(set) {
			c, err := k.claimOf(ctx, claim)
			if err != nil {
				return r, err
			}
			if c == nil {
				r.add(exit.WithHint(fmt.Errorf("persistentvolumeclaim/%s does not exist", claim), "it is made when the node is started for the first time"))
			}
		}
	}
	return r, nil
}

// outvoted says which orderers of a Raft channel would be outvoted by those that are restored, each from its own
// copy: a majority that has forgotten what it acknowledged elects one of its own, and the channel forks. It does
// not matter if all are restored, or if the others have nothing to lose.
func outvoted(ch *network.Channel, m backup.Manifest, nodes []*network.Node, sets map[string]*appsv1.StatefulSet, present backup.Present) string {
	if ch.Consensus == network.BFT {
		return ""
	}
	restored := 0
	var others []string
	for _, o := range ch.Orderers() {
		if _, saved := m.Node(o.Name()); saved && slices.Contains(nodes, o) {
			restored++
			continue
		}
		heights, asked := present.Heights[o.Name()]
		if _, joined := heights[ch.Name]; sets[o.Name()] != nil && (joined || !asked) {
			others = append(others, o.Name())
		}
	}
	if len(others) == 0 || restored <= len(ch.Orderers())/2 {
		return ""
	}
	return fmt.Sprintf("%d of the %d orderers of channel %q would outvote %s, which may have more blocks", restored, len(ch.Orderers()), ch.Name, strings.Join(others, ", "))
}

// present are the heights of nodes that run. What a restore of the same backup has started
// already is not asked: it may have gone on since.
func (k *Keeper) present(ctx context.Context, sets map[string]*appsv1.StatefulSet, key string) map[string]map[string]uint64 {
	heights := map[string]map[string]uint64{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, n := range k.Network.Nodes() {
		set := sets[n.Name()]
		if set == nil || set.Status.ReadyReplicas == 0 {
			continue
		}
		if h := holdOf(set); h != nil && h.By == ByRestore && h.Key == key && h.Stage != Returned {
			continue
		}
		wg.Go(func() {
			h := k.heights(ctx, targetOf(n))
			mu.Lock()
			defer mu.Unlock()
			if h != nil {
				heights[n.Name()] = h
			}
		})
	}
	wg.Wait()
	return heights
}
