package keeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/few"
	"pivt.io/pivt/pkg/kube"
	"pivt.io/pivt/pkg/network"
)

const (
	kindCA     = "ca"
	dataVolume = "data" // the claim that every node needs
)

// target is a node as the keeper sees it.
type target struct {
	backup.Node
	node *network.Node // nil for a CA
}

func targetOf(n *network.Node) target {
	return target{backup.Node{Name: n.Name(), Kind: string(n.Org.Kind), Org: n.Org.Name, Hostname: n.Hostname}, n}
}

func (t target) orderer() bool { return t.node != nil && t.node.Org.Kind == network.Orderer }

func targetsOf(nodes []*network.Node) []target {
	var all []target
	for _, n := range nodes {
		all = append(all, targetOf(n))
	}
	return all
}

// cas lists the CAs of the namespace.
func (k *Keeper) cas(ctx context.Context) ([]target, error) {
	sets, err := k.sets(ctx)
	if err != nil {
		return nil, err
	}
	var all []target
	for _, set := range sets {
		if l := set.Labels; l["app.kubernetes.io/component"] == kindCA && l["app.kubernetes.io/part-of"] == "hlf-kube" {
			all = append(all, target{backup.Node{Name: set.Name, Kind: kindCA, Org: l["pivt.io/org"], Hostname: kindCA}, nil})
		}
	}
	slices.SortFunc(all, func(a, b target) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// pod is the name of the only pod of a StatefulSet.
func podOf(set string) string { return set + "-0" }

// claims are the names of a node's claims by volume.
func claims(set *appsv1.StatefulSet) map[string]string {
	all := map[string]string{}
	for _, c := range set.Spec.VolumeClaimTemplates {
		all[c.Name] = c.Name + "-" + podOf(set.Name)
	}
	return all
}

// persistent refuses a node whose data end with its pod.
func persistent(t target, set *appsv1.StatefulSet) error {
	if claims(set)[dataVolume] != "" {
		return nil
	}
	hint := fmt.Sprintf("set %s.persistence.enabled when the network is made, or leave its kind out with backup.parts.%ss", t.Kind, t.Kind)
	if t.Kind == kindCA {
		hint = `give its StatefulSet a volume claim named "data", or leave CAs out with backup.parts.cas`
	}
	return exit.With(exit.WithHint(fmt.Errorf("%s keeps its data in its pod: there is no volume to copy, and stopping it would lose them", t.Name),
		hint), exit.Invalid)
}

// ready says what keeps a node from being ready, "" if nothing does. Stuck is set for reasons
// that seldom cure themselves.
func (k *Keeper) ready(ctx context.Context, set *appsv1.StatefulSet) (reason string, stuck bool, err error) {
	if replicas(set) == 0 {
		return "it is scaled to zero", true, nil
	}
	if set.Status.ObservedGeneration < set.Generation {
		return "its change has not been seen by the controller manager yet", false, nil
	}
	pod, err := k.pod(ctx, podOf(set.Name))
	if err != nil {
		return "", false, err
	}
	if pod == nil {
		return "its pod has not been made yet", false, nil
	}
	if reason, stuck = kube.PodReason(pod); reason != "" {
		return reason, stuck, nil
	}
	if set.Status.ReadyReplicas == 0 {
		return "its pod is ready; the controller manager has not counted it yet", false, nil
	}
	return "", false, nil
}

// pod is nil if there is none of that name.
func (k *Keeper) pod(ctx context.Context, name string) (*corev1.Pod, error) {
	var pod *corev1.Pod
	err := k.call(ctx, func(ctx context.Context) (err error) {
		pod, err = k.Kube.CoreV1().Pods(k.Namespace).Get(ctx, name, metav1.GetOptions{})
		return err
	})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking at pod/%s: %w", name, err)
	}
	return pod, nil
}

// gone waits until the node's pod has ended and none can be made any more: the StatefulSet's
// controller has seen the scale of zero.
func (k *Keeper) gone(ctx context.Context, g *grip) error {
	grace := k.times.stop
	err := k.await(ctx, k.times.stop, g.log, func(ctx context.Context) (string, error) {
		set, err := k.set(ctx, g.t.Name)
		if err != nil {
			return "", err
		}
		if set.Status.ObservedGeneration < set.Generation {
			return "its scale of zero has not been seen by the controller manager yet", nil
		}
		return "", nil
	})
	if err == nil {
		err = k.await(ctx, 0, g.log, func(ctx context.Context) (string, error) {
			pod, err := k.pod(ctx, podOf(g.t.Name))
			if err != nil || pod == nil {
				return "", err
			}
			if pod.DeletionTimestamp == nil {
				return "pod " + pod.Name + " is about to be stopped", nil
			}
			waiting := fmt.Sprintf("pod %s is stopping on machine %s", pod.Name, pod.Spec.NodeName)
			// DeletionTimestamp is when it should have ended.
			if k.Now().Sub(pod.DeletionTimestamp.Time) > grace {
				return "", &lateError{waiting, grace + seconds(pod.DeletionGracePeriodSeconds)}
			}
			return waiting, nil
		})
	}
	var late *lateError
	if errors.As(err, &late) {
		return exit.WithHint(fmt.Errorf("%s does not stop: %w", g.t.Name, err),
			fmt.Sprintf(`does its machine answer ("kubectl get nodes")? "kubectl describe pod %s" says more`, podOf(g.t.Name)))
	}
	return err
}

// serving waits until a node that was started is ready, has caught up, and does its part.
func (k *Keeper) serving(ctx context.Context, t target, floor map[string]uint64, limit time.Duration) error {
	return k.back(ctx, t, limit, func(ctx context.Context) error { return k.serves(ctx, t, floor) })
}

// level waits until a node that was started is ready and has so many blocks. Whether it does its
// part is not asked: it may need others for that.
func (k *Keeper) level(ctx context.Context, t target, floor map[string]uint64, limit time.Duration) error {
	return k.back(ctx, t, limit, func(ctx context.Context) error {
		once, cancel := context.WithTimeout(ctx, k.times.call)
		defer cancel()
		heights, err := k.Nodes.Heights(once, t.node)
		if err != nil {
			return err
		}
		for _, channel := range slices.Sorted(maps.Keys(floor)) {
			if heights[channel] < floor[channel] {
				return fmt.Errorf("channel %q: it has %d of %d blocks", channel, heights[channel], floor[channel])
			}
		}
		return nil
	})
}

// back waits until a node that was started is ready and ask has nothing against it.
func (k *Keeper) back(ctx context.Context, t target, limit time.Duration, ask func(context.Context) error) error {
	var last error
	err := k.await(ctx, limit, k.Log.With(t.Kind, t.Name), func(ctx context.Context) (string, error) {
		last = nil
		set, err := k.set(ctx, t.Name)
		if err != nil {
			return "", err
		}
		if reason, _, err := k.ready(ctx, set); reason != "" || err != nil {
			return reason, err
		}
		if last = ask(ctx); last != nil {
			return last.Error(), nil
		}
		return "", nil
	})
	var late *lateError
	if errors.As(err, &late) {
		return exit.With(exit.WithHint(fmt.Errorf("%s was started but does not serve: %w", t.Name, err),
			fmt.Sprintf(`"kubectl describe pod %s" and "kubectl logs %s" say more`, podOf(t.Name), podOf(t.Name))), exit.TimedOut)
	}
	return err
}

// serves asks Fabric once, if the target is part of it. Without a floor, it is asked for the
// channels that it has.
func (k *Keeper) serves(ctx context.Context, t target, floor map[string]uint64) error {
	if t.node == nil {
		return nil
	}
	once, cancel := context.WithTimeout(ctx, k.times.call)
	defer cancel()
	if len(floor) == 0 {
		var err error
		if floor, err = k.Nodes.Heights(once, t.node); err != nil {
			return err
		}
	}
	return k.Nodes.Serving(once, t.node, floor)
}

// listed joins sentences of several nodes.
func listed(all []string) string { return few.Sentences(all, 5) }
