package runtime

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sweep deletes this peer's pods that have no future: those of processes that are gone, since
// nobody else will. It notes earlier launches of the same chaincode, see retire, and reports whether
// there were pods of either kind. The Secrets follow their pods. It is best effort: a leftover
// harms less than a chaincode that does not start.
func (r *job) sweep(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	old, err := r.others(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.report("looking for leftovers: %v", err)
		}
		return false
	}
	found := false
	for i := range old {
		p := &old[i]
		alive, former := Alive(p.Annotations[annotationLauncher]), r.replaces(p)
		if alive && !former {
			continue
		}
		found = true
		switch {
		case p.DeletionTimestamp != nil:
		case alive:
			r.former = append(r.former, *p)
		default:
			r.dismiss(ctx, p, "its launcher is gone")
		}
	}
	return found
}

// formerTime is how long an earlier launch of a chaincode may take to see for itself that its
// pod has ended, and to say why, once the peer has asked for another.
const formerTime = 2 * time.Second

// retire deletes what sweep has found of earlier launches of the chaincode whose launchers live:
// the peer has lost them, so nobody will ever ask them to stop. They get a moment first, since a
// chaincode that was killed for its memory is known to its launcher only a second later. The
// returned function waits no longer.
func (r *job) retire() (now func()) {
	if len(r.former) == 0 {
		return func() {}
	}
	hurry, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTimer(r.o.formerTime)
		defer t.Stop()
		select {
		case <-t.C:
		case <-hurry:
		}
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
		defer cancel()
		r.dismissFormer(ctx)
	}()
	return func() { close(hurry); <-done }
}

func (r *job) dismissFormer(ctx context.Context) {
	for i := range r.former {
		r.dismiss(ctx, &r.former[i], "an earlier launch of this chaincode")
	}
	r.former = nil
}

func (r *job) dismiss(ctx context.Context, p *corev1.Pod, why string) {
	err := deleted(ctx, func(ctx context.Context) error {
		err := r.deletePod(ctx, p.Name, p.UID)
		if err == nil {
			r.report("pod %s deleted: %s", p.Name, why)
		}
		return err
	})
	if err != nil {
		r.report("deleting pod %s: %v", p.Name, err)
	}
}

// replaces reports whether the job takes the place of another pod of its peer. Builds do
// not: one of a living process is either for somebody else or about to be followed.
func (r *job) replaces(p *corev1.Pod) bool {
	return r.main == containerName && p.Labels[labelComponent] == componentChaincode && p.Labels[labelPackage] == r.marks[labelPackage]
}

// others lists the pods made here for the peer. This job's is not yet among them; one that
// has its name is a leftover.
func (r *job) others(ctx context.Context) ([]corev1.Pod, error) {
	list, err := r.pods.List(ctx, metav1.ListOptions{LabelSelector: fmt.Sprintf("%s in (%s, %s), %s=pivt, %s=%s",
		labelComponent, componentChaincode, componentBuild, labelManagedBy, labelNode, r.peer.Node)})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// awaitSwept waits for the pods that sweep deleted, but not for long.
func (r *job) awaitSwept(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	for wait := (pause{}); ; {
		old, err := r.others(ctx)
		leaving := false
		for i := range old {
			leaving = leaving || old[i].DeletionTimestamp != nil
		}
		if err == nil && !leaving || wait.sleep(ctx) != nil {
			return
		}
	}
}
