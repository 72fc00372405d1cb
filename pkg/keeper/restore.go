package keeper

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// together is how many nodes are restored at a time: the repository is one, and so is its network.
const together = 4

// Restore puts a backup's data onto the selected nodes. All of them stop before the first is
// touched, and start when the last is done. A failure leaves them stopped, and says how to go on; everything
// may be repeated at any time.
func (k *Keeper) Restore(ctx context.Context, m backup.Manifest, sel backup.Selection, accept backup.Accept) error {
	asked := flags(sel)
	if done, err := k.defaults().conclude(ctx, m.Key, asked); done || err != nil {
		return err
	}
	targets, err := k.chosen(ctx, m, sel)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return exit.With(fmt.Errorf("backup %s has nothing of the selected nodes", m.Key), exit.NotReady)
	}
	if done, err := k.concluded(ctx, targets, m.Key); done || err != nil {
		return err
	}
	grips, err := k.claimAll(ctx, targets, m.Key, func(h *Hold) { h.Asked = asked })
	if err != nil {
		return err
	}
	quorum := k.wholeQuorum(targets)
	if err := k.refill(ctx, grips, m, quorum, accept); err != nil {
		return unfinished(err, m.Key, asked)
	}
	if err := k.relearn(ctx, grips, quorum); err != nil {
		return again(fmt.Errorf("the data are restored, but %w", err), m.Key+asked)
	}
	restored := func(g *grip, h *Hold) { h.Stage, h.Shared = Started, shares(g.t, quorum) }
	if err := k.startAll(ctx, grips, restored, func(t target) map[string]uint64 { return floorOf(m, t, quorum) }); err != nil {
		return again(fmt.Errorf("the data are restored, but %w", err), m.Key+asked)
	}
	return k.tidy(ctx, grips, m.Key)
}

// flags spell a selection as the command line does.
func flags(sel backup.Selection) string {
	var b strings.Builder
	for _, org := range slices.Sorted(slices.Values(sel.Orgs)) {
		b.WriteString(" --org " + org)
	}
	for _, node := range slices.Sorted(slices.Values(sel.Nodes)) {
		b.WriteString(" --node " + node)
	}
	return b.String()
}

// shares reports whether a node goes on from the one copy that all orderers share.
func shares(t target, quorum bool) bool { return quorum && t.Kind == string(network.Orderer) }

// What to do next is in the text: a hint from the pod that failed comes first.
func unfinished(err error, key, asked string) error {
	return fmt.Errorf(`%w; the nodes stay stopped: repeat "pivt restore %s%s", or put back what was there with "pivt restore %s --cancel"`, err, key, asked, key)
}

func again(err error, what string) error {
	return fmt.Errorf(`%w; repeat "pivt restore %s", it goes on from here`, err, what)
}

// chosen are the selected nodes that the backup has: orderers first, then CAs, then peers. Check has asked
// whether others may be missing.
func (k *Keeper) chosen(ctx context.Context, m backup.Manifest, sel backup.Selection) ([]target, error) {
	nodes, err := sel.Of(k.Network)
	if err != nil {
		return nil, err
	}
	all := targetsOf(nodes)
	if sel.All() {
		cas, err := k.cas(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, cas...)
		for _, n := range m.Nodes {
			if n.Kind == kindCA && !slices.ContainsFunc(cas, func(t target) bool { return t.Name == n.Name }) {
				k.Log.Warn("left out: the namespace has no such CA", kindCA, n.Name)
			}
		}
	}
	var chosen []target
	for _, t := range all {
		saved, ok := m.Node(t.Name)
		if !ok {
			k.Log.Info("not in the backup", t.Kind, t.Name)
			continue
		}
		saved.Kind = t.Kind
		chosen = append(chosen, target{saved, t.node})
	}
	slices.SortStableFunc(chosen, func(a, b target) int { return rank(a) - rank(b) })
	return chosen, nil
}

// rank is when a node starts: orderers need nobody.
func rank(t target) int {
	return slices.Index([]string{string(network.Orderer), kindCA, string(network.Peer)}, t.Kind)
}

// wholeQuorum reports whether all orderers are restored, so that none is left to learn from.
func (k *Keeper) wholeQuorum(targets []target) bool {
	for _, o := range k.Network.OrdererOrgs {
		for _, n := range o.Nodes {
			if !slices.ContainsFunc(targets, func(t target) bool { return t.Name == n.Name() }) {
				return false
			}
		}
	}
	return true
}

// floorOf is what a restored node must have before it counts as back.
func floorOf(m backup.Manifest, t target, quorum bool) map[string]uint64 {
	floor := map[string]uint64{}
	for _, c := range t.Channels {
		floor[c.Name] = c.Height
	}
	if quorum && t.Kind == string(network.Orderer) {
		for _, r := range backup.Replacements(m, t.Name) {
			if c, ok := r.From.Channel(r.Channel); ok {
				floor[r.Channel] = c.Height
			}
		}
	}
	return floor
}

// claimAll takes all nodes or none.
func (k *Keeper) claimAll(ctx context.Context, targets []target, key string, note func(*Hold)) ([]*grip, error) {
	var all []*grip
	for _, t := range targets {
		g, err := k.claim(ctx, t, ByRestore, key, note)
		if err == nil {
			all = append(all, g)
			continue
		}
		for _, had := range all {
			if !had.resumed {
				err = also(err, had.release(ctx))
			}
		}
		return nil, err
	}
	return all, nil
}

// refill stops the nodes that no earlier run has started with these very data, and has pods put those onto their volumes.
func (k *Keeper) refill(ctx context.Context, grips []*grip, m backup.Manifest, quorum bool, accept backup.Accept) error {
	var todo []*grip
	for _, g := range grips {
		if g.hold.Stage != Started || g.hold.Shared != shares(g.t, quorum) {
			todo = append(todo, g)
		}
	}
	var risks []string
	for _, r := range accept {
		risks = append(risks, string(r))
	}
	return k.stopped(ctx, todo, func(ctx context.Context, g *grip) error {
		args := []string{"restore", "--node", g.t.Name, "--key", m.Key}
		if shares(g.t, quorum) {
			args = append(args, "--quorum")
		}
		if len(risks) > 0 {
			args = append(args, "--accept", strings.Join(risks, ","))
		}
		return k.onVolumes(ctx, g, plan{role: "restore", key: m.Key, args: args, network: true})
	})
}

// stopped stops nodes, does something with the volumes of each, and checks that nobody started one meanwhile.
func (k *Keeper) stopped(ctx context.Context, grips []*grip, do func(context.Context, *grip) error) error {
	for _, g := range grips {
		if err := k.locate(ctx, g); err != nil {
			return err
		}
		g.log.Info("stopping", "key", g.hold.Key)
		if err := g.stop(ctx); err != nil {
			return err
		}
	}
	held := ctx
	for _, g := range grips {
		var end func()
		held, end = g.keep(held, 0)
		defer end()
	}
	for _, g := range grips {
		if err := k.gone(held, g); err != nil {
			return err
		}
	}
	if err := each(grips, func(g *grip) error { return do(held, g) }); err != nil {
		if held.Err() != nil {
			return context.Cause(held)
		}
		return err
	}
	for _, g := range grips {
		if err := g.check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// roles are those of pods on nodes' own volumes.
func roles() []string { return []string{"restore", "finish", "undo"} }

// onVolumes runs a pod on a node's own volumes. What pods of other roles did does not count any more. The StatefulSet
// is its owner: a network that is uninstalled takes it along, and nothing else does.
func (k *Keeper) onVolumes(ctx context.Context, g *grip, p plan) error {
	set, err := k.set(ctx, g.t.Name)
	if err != nil {
		return err
	}
	for _, role := range roles() {
		if role == p.role {
			continue
		}
		if err := k.halt(ctx, name(role, g.t.Name, p.key)); err != nil {
			return err
		}
	}
	p.name, p.node, p.claims, p.writable, p.hold = name(p.role, g.t.Name, p.key), &g.t.Node, claims(set), true, g
	if p.machine == "" {
		p.machine = g.hold.Machine
	}
	p.owners = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: set.Name, UID: set.UID}}
	_, err = k.run(ctx, p, g.log)
	return err
}

// each does the same with some at a time, and reports all failures, those that will not pass first.
func each(grips []*grip, do func(*grip) error) error {
	errs := make([]error, len(grips))
	room := make(chan struct{}, together)
	var wg sync.WaitGroup
	for i, g := range grips {
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			if err := do(g); err != nil {
				errs[i] = fmt.Errorf("%s: %w", g.t.Name, err)
			}
		})
	}
	wg.Wait()
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) == 0 {
		return nil
	}
	slices.SortStableFunc(errs, func(a, b error) int { return order(a) - order(b) })
	var more []string
	for _, err := range errs[1:] {
		more = append(more, err.Error())
	}
	if len(more) == 0 {
		return errs[0]
	}
	// The code and the hint are those of the first, and one that is final must not look transient.
	return fmt.Errorf("%w; %s", exit.With(errs[0], exit.CodeOf(errs[0])), listed(more))
}

func order(err error) int {
	if exit.IsTransient(err) {
		return 1
	}
	return 0
}
