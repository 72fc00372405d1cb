package runtime

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/transfer"
)

const (
	// silence is how long a peer that builds for others may not answer them.
	silence = 10 * time.Second
	// rounds is how often a build is tried to be shared, before the peer builds for itself.
	rounds = 3
)

// errAgain says that the peer that was building is gone, and its name free.
var errAgain = errors.New("the other build is gone")

// build shares the build if it can. The name of the pod is the lock: the API server gives
// it to one peer, and the others ask that one, whose address is on the pod.
func (b *builder) build(ctx context.Context) error {
	if b.peer.Org == "" || b.peer.TLS.Cert == "" || b.peer.TLS.Key == "" || b.peer.TLS.Roots == "" {
		return b.alone(ctx)
	}
	for range rounds {
		if err := b.shared(ctx); !errors.Is(err, errAgain) {
			return err
		}
	}
	b.report("no peer of the organisation keeps up a build of this package; building without them")
	return b.alone(ctx)
}

func (b *builder) shared(ctx context.Context) error {
	sharing, err := transfer.Share(newJob(b.client, b.peer, b.o).hosts, transfer.Identity(b.peer.TLS), b.source.Hash)
	if err != nil {
		b.report("other peers cannot share this build: %v", err)
		return b.alone(ctx)
	}
	defer sharing.Close()
	err = b.once(ctx, sharing.Address())
	var taken *takenError
	var ended *EndedError
	switch {
	case errors.As(err, &taken):
		_ = sharing.Close() // nobody will ask us
		return b.follow(ctx, taken.pod)
	case err == nil:
		sharing.Finish(ctx, b.source.Output)
	case ctx.Err() != nil:
		// The others are better off with a build of their own.
	case errors.As(err, &ended) && ended.Deleted:
		b.report("%v; building again", err)
		_ = sharing.Close()
		return b.alone(ctx)
	default:
		sharing.Fail(ctx, err.Error())
	}
	return err
}

// follow waits for the result of the peer that builds in pod.
func (b *builder) follow(ctx context.Context, pod *corev1.Pod) error {
	from := transfer.Shared{Address: pod.Annotations[annotationResult], Name: pod.Labels[labelNode], Key: b.source.Hash}
	if from.Address == "" || from.Name == "" || pod.Annotations[annotationHash] != b.source.Hash {
		b.report("pod %s has the name of this build and is another's; building without it", pod.Name)
		return b.alone(ctx)
	}
	b.report("%s builds this package already, in pod %s; waiting for its result", from.Name, pod.Name)
	heard := time.Now()
	for wait := (pause{}); ; {
		err := transfer.Collect(ctx, transfer.Identity(b.peer.TLS), from, b.source.Output, b.source.Limits)
		var failed *transfer.FailedError
		switch {
		case err == nil:
			b.report("%s has built it", from.Name)
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &failed):
			return &BuildError{Text: failed.Text}
		case transfer.IsFinal(err):
			return err
		case errors.Is(err, transfer.ErrPending):
			heard, wait = time.Now(), pause{}
			continue
		case errors.Is(err, transfer.ErrStranger):
			// Wrong certificates on either side are no reason to end its build.
			b.report("%s cannot share its build: %v; building without it", from.Name, err)
			return b.alone(ctx)
		case errors.Is(err, transfer.ErrGone):
			b.report("%s does not build it any more: %v", from.Name, err)
			return b.takeOver(ctx, pod)
		case time.Since(heard) > b.o.silence:
			b.report("%s does not answer: %v", from.Name, err)
			return b.takeOver(ctx, pod)
		case b.replaced(ctx, pod):
			b.report("pod %s is gone", pod.Name)
			return errAgain
		}
		if wait.sleep(ctx) != nil {
			return ctx.Err()
		}
	}
}

// takeOver makes room for a build of our own. If the other peer lives after all, it sees
// its pod go and builds again, for itself.
func (b *builder) takeOver(ctx context.Context, pod *corev1.Pod) error {
	j := newJob(b.client, b.peer, b.o)
	err := retry(ctx, func(ctx context.Context) error {
		err := j.deletePod(ctx, pod.Name, pod.UID)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
	if err != nil {
		b.report("deleting pod %s: %v", pod.Name, err)
		return b.alone(ctx)
	}
	ctx2, cancel := context.WithTimeout(ctx, lostAfter)
	defer cancel()
	for wait := (pause{}); !b.replaced(ctx2, pod); {
		if wait.sleep(ctx2) == nil {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return b.alone(ctx) // its node does not answer
	}
	return errAgain
}

// replaced reports whether the pod is known to be no more.
func (b *builder) replaced(ctx context.Context, pod *corev1.Pod) bool {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	now, err := b.client.Pods(b.peer.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
	return apierrors.IsNotFound(err) || err == nil && now.UID != pod.UID
}
