package kube

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Workloads is the State that WaitReady would see now, without waiting.
func (c *Client) Workloads(ctx context.Context, selector string) (State, error) {
	w := &readiness{client: c, sets: map[string]*appsv1.StatefulSet{}, changed: make(chan struct{}, 1), events: map[string]string{}}
	err := retry(ctx, func() error {
		sets, err := c.core.AppsV1().StatefulSets(c.namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return err
		}
		pods, err := c.core.CoreV1().Pods(c.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		w.updateSets(byName(sets.Items))
		w.updatePods(byName(pods.Items))
		return nil
	})
	if err != nil {
		return State{}, wrap(err, "listing StatefulSets with labels %s", selector)
	}
	state, _ := w.state(ctx)
	return state, nil
}

// byName points at the elements of a list, as the API of metav1.Object wants it.
func byName[T any, P interface {
	*T
	metav1.Object
}](items []T) map[string]metav1.Object {
	out := make(map[string]metav1.Object, len(items))
	for i := range items {
		p := P(&items[i])
		out[p.GetName()] = p
	}
	return out
}
