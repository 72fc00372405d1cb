package runtime

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8slabels "k8s.io/apimachinery/pkg/labels"
)

// sweep deletes this peer's pods that have no future, and reports whether there were any:
// earlier ones of the same package, since the peer would not launch it again while one is
// connected, and those of processes that are gone, since nobody else will. The Secrets
// follow their pods. It is best effort: a leftover harms less than a chaincode that does
// not start.
func (r *run) sweep(ctx context.Context) bool {
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
		if p.Labels[labelPackage] != labels(&r.peer, &r.chaincode)[labelPackage] {
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
		if err := deleted(ctx, r.deletePod, p.Name); err != nil {
			r.report("deleting pod %s: %v", p.Name, err)
		}
	}
	return found
}

// others lists the chaincode pods of the peer but for this run's.
func (r *run) others(ctx context.Context) ([]corev1.Pod, error) {
	list, err := r.pods.List(ctx, metav1.ListOptions{LabelSelector: k8slabels.Set{
		labelComponent: "chaincode",
		labelManagedBy: "pivt",
		labelNode:      r.peer.Node,
	}.String()})
	if err != nil {
		return nil, err
	}
	others := list.Items[:0]
	for i := range list.Items {
		if list.Items[i].Name != r.name {
			others = append(others, list.Items[i])
		}
	}
	return others, nil
}

// awaitSwept waits for the pods that sweep deleted, but not for long.
func (r *run) awaitSwept(ctx context.Context) {
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
