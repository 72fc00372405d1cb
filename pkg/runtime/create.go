package runtime

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// callTime bounds every single call: an API server that takes a request and does not
// answer is as much away as one that refuses it.
const callTime = 10 * time.Second

// create makes the pod and then the Secret that belongs to it, so that whatever deletes
// the pod deletes the keys too. The kubelet waits for the Secret, should it be faster.
func (r *run) create(ctx context.Context, swept bool) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, r.o.Patience.Start)
	defer cancel()
	made, err := r.createPod(ctx, swept)
	if err != nil {
		return nil, fmt.Errorf("creating pod %s: %w", r.name, err)
	}
	if !r.chaincode.TLS() {
		return made, nil
	}
	keys := secret(&r.peer, &r.chaincode, made)
	err = retry(ctx, func(ctx context.Context) error {
		_, err := r.secrets.Create(ctx, keys, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) { // an earlier attempt whose answer was lost
			return nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("creating secret %s: %w", r.name, err)
	}
	return made, nil
}

func (r *run) createPod(ctx context.Context, swept bool) (made *corev1.Pod, err error) {
	want := pod(&r.peer, &r.chaincode, r.name, &r.o)
	err = retry(ctx, func(ctx context.Context) error {
		made, err = r.pods.Create(ctx, want, metav1.CreateOptions{})
		switch {
		case apierrors.IsAlreadyExists(err): // an earlier attempt whose answer was lost
			made, err = r.pods.Get(ctx, r.name, metav1.GetOptions{})
		case swept && apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota"):
			// The pods just deleted still count. They are gone in moments.
			swept = false
			r.awaitSwept(ctx)
			made, err = r.pods.Create(ctx, want, metav1.CreateOptions{})
		}
		return err
	})
	return made, err
}

// retry repeats a call while the API server is away.
func retry(ctx context.Context, call func(context.Context) error) error {
	wait := pause{}
	for {
		// Not cancelled with ctx: an object whose creation was cut off on the way might
		// appear after it has been deleted.
		once, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
		result := make(chan error, 1)
		go func() { result <- call(once) }()
		var err error
		select {
		case err = <-result:
		case <-ctx.Done():
			select {
			case err = <-result:
			case <-time.After(cleanupTime / 3):
				err = ctx.Err()
			}
		}
		cancel()
		if err == nil || !away(err) {
			return err
		}
		if wait.sleep(ctx) != nil {
			return err
		}
	}
}

// away tells an API server that cannot answer from one that has decided.
func away(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return !errors.Is(err, context.Canceled) // no answer in HTTP at all
	}
	switch code := status.Status().Code; {
	case code == http.StatusTooManyRequests, code >= http.StatusInternalServerError:
		return true
	}
	return apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err)
}

// pause grows with every sleep, from a fifth of a second to five.
type pause struct{ last time.Duration }

func (p *pause) sleep(ctx context.Context) error { return p.sleepUntil(ctx, nil) }

// sleepUntil also ends, without an error, when early is closed.
func (p *pause) sleepUntil(ctx context.Context, early <-chan struct{}) error {
	p.last = min(max(2*p.last, 200*time.Millisecond), 5*time.Second)
	t := time.NewTimer(p.last)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-early:
		return nil
	case <-t.C:
		return nil
	}
}

// cleanUp deletes the pod and the Secret, whatever became of them, within cleanupTime.
// It starts a context of its own: it is needed most when the caller's is over.
func (r *run) cleanUp() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
	defer cancel()
	pod, keys := make(chan error, 1), make(chan error, 1)
	go func() { pod <- deleted(ctx, r.deletePod, r.name) }()
	go func() {
		if !r.chaincode.TLS() {
			keys <- nil
			return
		}
		keys <- deleted(ctx, r.deleteSecret, r.name)
	}()
	var err error
	if e := <-pod; e != nil {
		err = fmt.Errorf("deleting pod %s: %w", r.name, e)
	}
	if e := <-keys; e != nil && err == nil {
		err = fmt.Errorf("deleting secret %s: %w", r.name, e)
	}
	return err
}

func (r *run) deletePod(ctx context.Context, name string) error {
	grace := int64(deleteGrace)
	return r.pods.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &grace})
}

func (r *run) deleteSecret(ctx context.Context, name string) error {
	return r.secrets.Delete(ctx, name, metav1.DeleteOptions{})
}

func deleted(ctx context.Context, remove func(context.Context, string) error, name string) error {
	var wait pause
	for {
		err := remove(ctx, name)
		if err == nil || apierrors.IsNotFound(err) {
			return nil
		}
		if !away(err) || wait.sleep(ctx) != nil {
			return err
		}
	}
}

// lastWarning is the newest warning about the pod, as the only trace of a network or a
// volume that cannot be set up. Best effort: it only makes a message better.
func (r *run) lastWarning() string {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTime/3)
	defer cancel()
	list, err := r.events.List(ctx, metav1.ListOptions{
		FieldSelector: fields.Set{"involvedObject.kind": "Pod", "involvedObject.name": r.name, "type": corev1.EventTypeWarning}.String(),
	})
	if err != nil {
		return ""
	}
	var newest *corev1.Event
	for i := range list.Items {
		if e := &list.Items[i]; newest == nil || when(newest).Before(when(e)) {
			newest = e
		}
	}
	if newest == nil {
		return ""
	}
	return ": " + said(newest.Reason, newest.Message)
}

func when(e *corev1.Event) time.Time {
	if !e.LastTimestamp.IsZero() {
		return e.LastTimestamp.Time
	}
	return e.EventTime.Time
}
