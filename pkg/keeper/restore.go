package keeper

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// RecoveryConfigMap is environment for peers that start after a restore; charts/hlf-kube
// mentions it as optional.
const RecoveryConfigMap = "hlf-recovery"

// recovery keeps peers from waiting a minute for private data of each block between the
// peers' and the orderers' copies: it may be that nobody has them any more.
func recovery() map[string]string {
	return map[string]string{"CORE_PEER_GOSSIP_PVTDATA_PULLRETRYTHRESHOLD": "1s"}
}

// together is how many nodes are restored at a time: the repository is one, and so is its network.
const together = 4

// Restore puts a backup's data onto the selected nodes. All of them stop before the first is
// touched, and start when the last is done. A failure leaves them stopped, and says how to go on; everything
// may be repeated at any time.
func (k *Keeper) Restore(ctx context.Context, m backup.Manifest, sel backup.Selection, accept backup.Accept) error {
	k.defaults()
	targets, err := k.chosen(ctx, m, sel)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return exit.With(fmt.Errorf("backup %s has nothing of the selected nodes", m.Key), exit.NotReady)
	}
	grips, err := k.claimAll(ctx, targets, m.Key)
	if err != nil {
		return err
	}
	quorum := k.wholeQuorum(targets)
	if err := k.refill(ctx, grips, m, quorum, accept); err != nil {
		return unfinished(err, m.Key)
	}
	if err := k.relearn(ctx, grips, quorum); err != nil {
		return again(fmt.Errorf("the data are restored, but %w", err), m.Key)
	}
	if err := k.startAll(ctx, grips, func(t target) map[string]uint64 { return floorOf(m, t, quorum) }); err != nil {
		return again(fmt.Errorf("the data are restored, but %w", err), m.Key)
	}
	if err := k.tidy(ctx, grips, m.Key); err != nil {
		return again(fmt.Errorf("the nodes are restored and serve, but what was there before is still on their volumes: %w", err), m.Key)
	}
	k.Log.Info("restored", "key", m.Key, "nodes", len(grips))
	return nil
}

// What to do next is in the text: a hint from the pod that failed comes first.
func unfinished(err error, key string) error {
	return fmt.Errorf(`%w; the nodes stay stopped: repeat "pivt restore %s", or put back what was there with "pivt restore %s --cancel"`, err, key, key)
}

func again(err error, key string) error {
	return fmt.Errorf(`%w; repeat "pivt restore %s", it goes on from here`, err, key)
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
func (k *Keeper) claimAll(ctx context.Context, targets []target, key string) ([]*grip, error) {
	var all []*grip
	for _, t := range targets {
		g, err := k.claim(ctx, t, ByRestore, key)
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

// refill stops the nodes that no earlier run has started again, and has pods put the data onto their volumes.
func (k *Keeper) refill(ctx context.Context, grips []*grip, m backup.Manifest, quorum bool, accept backup.Accept) error {
	var todo []*grip
	for _, g := range grips {
		if g.hold.Stage != Started {
			todo = append(todo, g)
		}
	}
	var risks []string
	for _, r := range accept {
		risks = append(risks, string(r))
	}
	return k.stopped(ctx, todo, func(ctx context.Context, g *grip) error {
		args := []string{"restore", "--node", g.t.Name, "--key", m.Key}
		if quorum && g.t.Kind == string(network.Orderer) {
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

// onVolumes runs a pod on a node's own volumes. The StatefulSet is its owner: a network that is
// uninstalled takes it along, and nothing else does.
func (k *Keeper) onVolumes(ctx context.Context, g *grip, p plan) error {
	set, err := k.set(ctx, g.t.Name)
	if err != nil {
		return err
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

// startAll starts nodes in the order of their ranks, waits for each rank, and keeps them in hand.
func (k *Keeper) startAll(ctx context.Context, grips []*grip, floor func(target) map[string]uint64) error {
	if slices.ContainsFunc(grips, func(g *grip) bool { return g.t.Kind == string(network.Peer) }) {
		if err := k.makeRecovery(ctx); err != nil {
			return err
		}
	}
	for r := range 3 {
		var now []*grip
		for _, g := range grips {
			if rank(g.t) == r {
				now = append(now, g)
			}
		}
		for _, g := range now {
			if err := g.start(ctx); err != nil {
				return err
			}
		}
		for _, g := range now {
			if err := k.serving(ctx, g.t, floor(g.t), k.times.recover); err != nil {
				return err
			}
			g.log.Info("serves again", "key", g.hold.Key)
		}
	}
	return nil
}

// start scales the node to one and keeps it held: a repeated restore must not stop it again.
func (g *grip) start(ctx context.Context) error {
	set, err := g.k.change(ctx, g.t.Name, func(set *appsv1.StatefulSet, now *Hold) (*edit, error) {
		if err := g.mine(set, now); err != nil {
			return nil, err
		}
		if now.Stage == Started && replicas(set) == 1 {
			return nil, nil
		}
		g.hold.Stage, g.hold.Beat = Started, g.k.Now().UTC()
		hold := g.hold
		return &edit{&hold, 1}, nil
	})
	if err != nil {
		return err
	}
	g.generation = set.Generation
	return nil
}

// tidy removes what was replaced, on the machines where the nodes run now: their volumes
// may be mounted on one machine only. Then it lets the nodes go.
func (k *Keeper) tidy(ctx context.Context, grips []*grip, key string) error {
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
	if err != nil {
		return err
	}
	return k.letGo(ctx, grips, key)
}

// letGo ends the holds of nodes that run, and removes what the restore made.
func (k *Keeper) letGo(ctx context.Context, grips []*grip, key string) error {
	if err := k.dropRecovery(ctx); err != nil {
		return err
	}
	for _, g := range grips {
		for _, role := range []string{"restore", "finish", "undo"} {
			if err := k.drop(ctx, name(role, g.t.Name, key), ""); err != nil {
				return err
			}
		}
	}
	for _, g := range grips {
		if err := g.release(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (k *Keeper) makeRecovery(ctx context.Context) error {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: RecoveryConfigMap, Namespace: k.Namespace, Labels: k.labels("restore", "", "")}, Data: recovery()}
	err := k.call(ctx, func(ctx context.Context) error {
		_, err := k.Kube.CoreV1().ConfigMaps(k.Namespace).Create(ctx, m, metav1.CreateOptions{FieldManager: fieldManager})
		return err
	})
	if err == nil || apierrors.IsAlreadyExists(err) {
		return nil
	}
	return fmt.Errorf("making configmap/%s: %w", RecoveryConfigMap, err)
}

func (k *Keeper) dropRecovery(ctx context.Context) error {
	err := k.call(ctx, func(ctx context.Context) error {
		return k.Kube.CoreV1().ConfigMaps(k.Namespace).Delete(ctx, RecoveryConfigMap, metav1.DeleteOptions{})
	})
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("deleting configmap/%s: %w", RecoveryConfigMap, err)
}
