package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/kube"
)

// trouble is why chaincode pods do not start. A step that calls a chaincode learns of it only
// that no answer came, because the pod is the peer's; whoever watches sees the pod itself.
type trouble struct {
	cancel context.CancelFunc
	ended  chan struct{}

	mu   sync.Mutex
	text string
}

// followChaincodes tells every new reason until stop is called. Without the right to see pods
// nothing is told: it is only a help.
func (d *Deployment) followChaincodes(ctx context.Context, tell func(string)) *trouble {
	ctx, cancel := context.WithCancel(ctx)
	t := &trouble{cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(t.ended)
		_ = kube.Follow(ctx, kube.Pods(d.Kube.Core(), d.Kube.Namespace(), chaincodePods), kube.Follower{
			Update: func(pods map[string]metav1.Object) {
				text := stuckPod(pods)
				t.mu.Lock()
				news := text != t.text
				t.text = text
				t.mu.Unlock()
				if news && text != "" {
					tell(text)
				}
			},
		})
	}()
	return t
}

// stop ends it and adds the last reason to an error that it may explain.
func (t *trouble) stop(err error) error {
	t.cancel()
	<-t.ended
	if err == nil || t.text == "" || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w; %s", err, t.text)
}

// stuckPod is the first pod's reason that seldom cures itself.
func stuckPod(pods map[string]metav1.Object) string {
	var names []string
	for name := range pods {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		pod, ok := pods[name].(*corev1.Pod)
		if !ok {
			continue
		}
		if reason, stuck := kube.PodReason(pod); stuck {
			return fmt.Sprintf("pod/%s of %s: %s", name, pod.Labels[labelNode], reason)
		}
	}
	return ""
}
