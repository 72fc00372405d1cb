package kube

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// StuckPod is a pod that does not run and will hardly do so by itself.
type StuckPod struct {
	Name   string
	Labels map[string]string
	Reason string
}

// Stuck chooses the stuck ones of some pods, as Follow hands them to its follower. They come
// sorted by name.
func Stuck(pods map[string]metav1.Object) []StuckPod {
	var all []StuckPod
	for name, o := range pods {
		pod, ok := o.(*corev1.Pod)
		if !ok {
			continue
		}
		if reason, stuck := PodReason(pod); stuck {
			all = append(all, StuckPod{name, pod.Labels, reason})
		}
	}
	slices.SortFunc(all, func(a, b StuckPod) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// StuckPods looks for them in the client's namespace.
func (c *Client) StuckPods(ctx context.Context, selector string) ([]StuckPod, error) {
	pods, err := Look(ctx, Pods(c.core, c.namespace, selector))
	if err != nil {
		return nil, wrap(err, "listing pods with labels %s", selector)
	}
	return Stuck(pods), nil
}
