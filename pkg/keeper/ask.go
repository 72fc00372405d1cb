package keeper

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"pivt.io/pivt/pkg/backup"
)

const (
	askPoll  = 300 * time.Millisecond
	askLimit = time.Hour // an asking pod ends by itself if who asked cannot remove it
)

// Ask runs the backup program in a pod of the namespace, where the repository's credentials are,
// and returns what it answers. The pod is gone afterwards.
func Ask(ctx context.Context, core kubernetes.Interface, namespace string, s backup.Settings, args []string) ([]byte, error) {
	k := &Keeper{Kube: core, Namespace: namespace, Settings: s, Poll: askPoll}
	return k.defaults().ask(ctx, args)
}

func (k *Keeper) ask(ctx context.Context, args []string) (answer []byte, err error) {
	k.forget(ctx)
	pod := plan{name: "hlf-ask--" + random(), role: roleAsk, args: args, limit: askLimit}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), k.times.parting)
		defer cancel()
		if e := k.drop(end, pod.name, ""); e != nil && err == nil {
			err = e
		}
	}()
	ended, err := k.run(ctx, pod, k.Log)
	if err != nil {
		return nil, err
	}
	return k.answer(ctx, ended)
}

// forget removes what earlier calls left that were killed. Not being able to does no harm.
func (k *Keeper) forget(ctx context.Context) {
	pods, err := k.pods(ctx, RoleLabel+"="+roleAsk)
	if err != nil {
		return
	}
	for _, p := range pods {
		if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			_ = k.drop(ctx, p.Name, p.UID)
		}
	}
}
