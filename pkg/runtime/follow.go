package runtime

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
)

// follow sends every state of the pod that it gets to see, and closes the channel when
// the pod is gone or ctx over. While the API server is away nothing is sent; afterwards it goes on
// with the state of that time. It is one watch on one object: an informer would hold
// every pod of the namespace in each of these processes.
func (r *job) follow(ctx context.Context, made *corev1.Pod) <-chan *corev1.Pod {
	out := make(chan *corev1.Pod)
	go func() {
		defer close(out)
		version := made.ResourceVersion
		var wait pause
		silent := false
		for ctx.Err() == nil {
			begun := time.Now()
			next, gone, err := r.watch(ctx, version, made, out)
			if gone || ctx.Err() != nil {
				return
			}
			version = next
			if err == nil && time.Since(begun) < time.Second {
				_ = wait.sleep(ctx) // a server that hangs up at once must not be asked in a loop
				continue
			}
			if err == nil {
				if silent {
					r.report("the API server answers again")
				}
				wait, silent = pause{}, false
				continue
			}
			// A version that is too old is only to be asked for anew.
			if !silent && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
				r.report("watching pod %s: %v; the %s goes on, trying again", r.name, err, r.noun)
				silent = true
			}
			if wait.sleep(ctx) != nil {
				return
			}
		}
	}()
	return out
}

// watch follows the pod from a version on until the watch ends. An empty version means to
// look first. It returns where to go on.
func (r *job) watch(ctx context.Context, version string, made *corev1.Pod, out chan<- *corev1.Pod) (next string, gone bool, err error) {
	if version == "" {
		once, cancel := context.WithTimeout(ctx, callTime)
		defer cancel()
		now, err := r.pods.Get(once, r.name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && now.UID != made.UID {
			return "", true, nil
		}
		if err != nil {
			return "", false, err
		}
		if !send(ctx, out, now) {
			return "", false, ctx.Err()
		}
		version = now.ResourceVersion
	}
	seconds := int64((5 * time.Minute).Seconds())
	w, err := r.pods.Watch(ctx, metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector("metadata.name", r.name).String(),
		ResourceVersion: version,
		TimeoutSeconds:  &seconds,
	})
	if err != nil {
		return "", false, err
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return "", false, ctx.Err()
		case e, open := <-w.ResultChan():
			if !open {
				return "", false, nil // look again: between two watches anything may have happened
			}
			now, isPod := e.Object.(*corev1.Pod)
			switch {
			case e.Type == watch.Error || !isPod:
				return "", false, apierrors.FromObject(e.Object)
			case e.Type == watch.Deleted:
				send(ctx, out, now) // its last state may say how it ended
				return "", true, nil
			}
			if !send(ctx, out, now) {
				return "", false, ctx.Err()
			}
		}
	}
}

func send(ctx context.Context, out chan<- *corev1.Pod, pod *corev1.Pod) bool {
	select {
	case <-ctx.Done():
		return false
	case out <- pod:
		return true
	}
}
