package runtime

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sweep deletes this peer's pods that have no future, and reports whether there were any:
// earlier ones of the same package, since the peer would not launch it again while one is
// connected, and those of processes that are gone, since nobody else will. The Secrets
// follow their pods. It is best effort: a leftover harms less than a chaincode that does
// not start.
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
		why := "an earlier launch of this chaincode"
		if !r.replaces(p) {
			if Alive(p.Annotations[annotationLauncher]) {
				continue
			}
			why = "its launcher is gone"
		}
		found = true
		if p.DeletionTimestamp != nil {
			continue
		}
		r.report("deleting pod %s: %s", p.Name, why)
		if err := deleted(ctx, func(ctx context.Context) error { return r.deletePod(ctx, p.Name, p.UID) }); err != nil {
			r.report("deleting pod %s: %v", p.Name, err)
		}
	}
	return found
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
