package keeper

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

// startAll starts nodes in the order of their ranks, waits for each rank, and keeps them in hand.
func (k *Keeper) startAll(ctx context.Context, grips []*grip, note func(*grip, *Hold), floor func(target) map[string]uint64) error {
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
			if err := g.start(ctx, note); err != nil {
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
func (g *grip) start(ctx context.Context, note func(*grip, *Hold)) error {
	set, err := g.k.change(ctx, g.t.Name, func(set *appsv1.StatefulSet, now *Hold) (*edit, error) {
		if err := g.mine(set, now); err != nil {
			return nil, err
		}
		hold := g.hold
		note(g, &hold)
		if now.Stage == hold.Stage && now.Shared == hold.Shared && replicas(set) == 1 {
			g.hold = hold
			return nil, nil
		}
		hold.Beat = g.k.Now().UTC()
		g.hold = hold
		return &edit{hold: &hold, replicas: 1}, nil
	})
	if err != nil {
		return err
	}
	g.generation = set.Generation
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
