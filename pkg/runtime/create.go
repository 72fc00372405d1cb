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
	"k8s.io/apimachinery/pkg/types"
)

// callTime bounds every single call: an API server that takes a request and does not
// answer is as much away as one that refuses it.
const callTime = 10 * time.Second

// create makes the pod and then the Secret that belongs to it, so that whatever deletes
// the pod deletes the keys too. The kubelet waits for the Secret, should it be faster.
func (r *job) create(ctx context.Context, swept bool) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, r.o.Patience.Start)
	defer cancel()
	made, err := r.createPod(ctx, swept)
	if err != nil {
		return nil, fmt.Errorf("creating pod %s: %w", r.name, err)
	}
	r.uid = made.UID
	if len(r.data) == 0 {
		return made, nil
	}
	keys := secret(made, r.keys, r.marks, r.data)
	err = retry(ctx, func(ctx context.Context) error {
		_, err := r.secrets.Create(ctx, keys, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) { // an earlier attempt whose answer was lost
			return nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("creating secret %s: %w", r.keys, err)
	}
	return made, nil
}

func (r *job) createPod(ctx context.Context, swept bool) (made *corev1.Pod, err error) {
	err = retry(ctx, func(ctx context.Context) error {
		made, err = r.pods.Create(ctx, r.want, metav1.CreateOptions{})
		switch {
		case apierrors.IsAlreadyExists(err):
			made, err = r.pods.Get(ctx, r.name, metav1.GetOptions{})
			switch {
			case apierrors.IsNotFound(err):
				err = errVanished
			case err == nil && !r.made(made):
				made, err = nil, &takenError{made}
			}
		case swept && apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota"):
			// The pods just deleted still count, and so do earlier launches. They are gone in moments.
			swept = false
			r.dismissFormer(ctx)
			r.awaitSwept(ctx)
			made, err = r.pods.Create(ctx, r.want, metav1.CreateOptions{})
		}
		return err
	})
	return made, err
}

// made reports whether a pod is the one that this job wants: an earlier attempt of it whose
// answer was lost.
func (r *job) made(p *corev1.Pod) bool {
	for _, a := range []string{annotationLauncher, annotationResult} {
		if p.Annotations[a] != r.want.Annotations[a] {
			return false
		}
	}
	return p.DeletionTimestamp == nil && p.Labels[labelNode] == r.peer.Node
}

// errVanished is a pod that had the name a moment ago: reason enough to try again.
var errVanished = errors.New("the pod of this name is gone")

// takenError is a name that another pod has.
type takenError struct{ pod *corev1.Pod }

func (e *takenError) Error() string { return "there is a pod of this name" }

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
	var taken *takenError
	if errors.As(err, &taken) {
		return false
	}
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
func (r *job) cleanUp() error { return r.cleanUpWithin(context.Background(), cleanupTime) }

// cleanUpWithin is cleanUp with more patience, of which cleanupTime is left once stop is over.
func (r *job) cleanUpWithin(stop context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	unhook := context.AfterFunc(stop, func() {
		t := time.AfterFunc(cleanupTime, cancel)
		context.AfterFunc(ctx, func() { t.Stop() })
	})
	defer unhook()
	pod, keys := make(chan error, 1), make(chan error, 1)
	go func() {
		pod <- deleted(ctx, r.deleteOwn)
	}()
	go func() {
		if len(r.data) == 0 {
			keys <- nil
			return
		}
		keys <- deleted(ctx, func(ctx context.Context) error {
			return r.secrets.Delete(ctx, r.keys, metav1.DeleteOptions{})
		})
	}()
	var err error
	if e := <-pod; e != nil {
		err = fmt.Errorf("deleting pod %s: %w", r.name, e)
	}
	if e := <-keys; e != nil && err == nil {
		err = fmt.Errorf("deleting secret %s: %w", r.keys, e)
	}
	return err
}

// deleteOwn deletes the job's pod. Whether there is one may not be known, and of a name that
// peers share it may be another's.
func (r *job) deleteOwn(ctx context.Context) error {
	if r.uid == "" && r.want.Annotations[annotationResult] != "" {
		now, err := r.pods.Get(ctx, r.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !r.made(now) {
			return nil
		}
		r.uid = now.UID
	}
	return r.deletePod(ctx, r.name, r.uid)
}

// deletePod deletes a pod if it is still the one with the uid; "" means any.
func (r *job) deletePod(ctx context.Context, name string, uid types.UID) error {
	grace := int64(deleteGrace)
	o := metav1.DeleteOptions{GracePeriodSeconds: &grace}
	if uid != "" {
		o.Preconditions = &metav1.Preconditions{UID: &uid}
	}
	err := r.pods.Delete(ctx, name, o)
	if apierrors.IsConflict(err) {
		return nil // it is gone, and another has its name
	}
	return err
}

func deleted(ctx context.Context, remove func(context.Context) error) error {
	var wait pause
	for {
		once, cancel := context.WithTimeout(ctx, callTime)
		err := remove(once)
		cancel()
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
func (r *job) lastWarning() string {
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
