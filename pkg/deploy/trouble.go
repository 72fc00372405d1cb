package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/kube"
)

// trouble is why chaincode pods do not start. A step that calls a chaincode learns of it only
// that no answer came, because the pod is the peer's; whoever watches sees the pod itself.
type trouble struct {
	cancel context.CancelFunc
	ended  chan struct{}
	look   func(context.Context) string
	builds *builds

	mu   sync.Mutex
	text string
}

// followChaincodes tells every new reason until stop is called. Without the right to see pods
// nothing is told: it is only a help.
func (d *Deployment) followChaincodes(ctx context.Context, tell func(string)) *trouble {
	builds := d.followBuilds(ctx)
	ctx, cancel := context.WithCancel(ctx)
	t := &trouble{cancel: cancel, ended: make(chan struct{}), look: d.stuckChaincode, builds: builds}
	go func() {
		defer close(t.ended)
		_ = kube.Follow(ctx, kube.Pods(d.Kube.Core(), d.Kube.Namespace(), allChaincodePods), kube.Follower{
			Update: func(pods map[string]metav1.Object) {
				text := firstStuck(kube.Stuck(pods))
				t.mu.Lock()
				news := text != "" && text != t.text
				if news { // kept when the launcher takes the pod away, which it soon does
					t.text = text
				}
				t.mu.Unlock()
				if news {
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
	if told := t.builds.stop(err); told != err {
		return told // a chaincode that was not built is not looked for among those that run
	}
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if t.text == "" { // a flow may end before the first look
		ctx, cancel := context.WithTimeout(context.Background(), lastLook)
		defer cancel()
		t.text = t.look(ctx)
	}
	if t.text == "" {
		return err
	}
	return fmt.Errorf("%w; %s", err, t.text)
}

// allChaincodePods selects what launchers make, and chaincode servers.
const allChaincodePods = "app.kubernetes.io/component in (chaincode, chaincode-server)"

// lastLook bounds the look of a flow that has ended.
const lastLook = 5 * time.Second

// stuckChaincode looks once.
func (d *Deployment) stuckChaincode(ctx context.Context) string {
	stuck, err := d.Kube.StuckPods(ctx, allChaincodePods)
	if err != nil {
		return ""
	}
	return firstStuck(stuck)
}

// firstStuck is the first pod's reason that seldom cures itself.
func firstStuck(stuck []kube.StuckPod) string {
	if len(stuck) == 0 {
		return ""
	}
	pod := stuck[0]
	whose := cmp.Or(pod.Labels[labelNode], pod.Labels[labelOrg]) // a server answers all peers of its organisation
	return fmt.Sprintf("pod/%s of %s: %s", pod.Name, whose, pod.Reason)
}
