package kube

import (
	"context"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// DeleteOptions modify Delete.
type DeleteOptions struct {
	DryRun bool
	// Wait returns only when the objects are gone, finalizers and all.
	Wait bool
}

// Delete removes the objects of the given resources that a label selector matches in the
// client's namespace. Resources that the cluster does not know are passed over: nothing of
// them can be there.
func (c *Client) Delete(ctx context.Context, selector string, resources []schema.GroupVersionResource, o DeleteOptions) ([]Change, error) {
	var changes []Change
	for _, gvr := range resources {
		done, err := c.deleteAll(ctx, selector, gvr, o)
		changes = append(changes, done...)
		if err != nil {
			return changes, wrap(err, "deleting %s with labels %s", gvr.Resource, selector)
		}
	}
	if !o.Wait || o.DryRun {
		return changes, nil
	}
	for _, gvr := range resources {
		if err := c.waitGone(ctx, selector, gvr); err != nil {
			return changes, wrap(err, "waiting until the %s with labels %s are gone", gvr.Resource, selector)
		}
	}
	return changes, nil
}

func (c *Client) deleteAll(ctx context.Context, selector string, gvr schema.GroupVersionResource, o DeleteOptions) ([]Change, error) {
	objects, err := c.selected(ctx, selector, gvr)
	if err != nil {
		return nil, err
	}
	background := metav1.DeletePropagationBackground
	options := metav1.DeleteOptions{PropagationPolicy: &background}
	if o.DryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	var changes []Change
	for _, obj := range objects {
		uid := obj.UID
		options.Preconditions = &metav1.Preconditions{UID: &uid} // not one of the same name that came since
		err := retry(ctx, func() error {
			return c.dynamic.Resource(gvr).Namespace(c.namespace).Delete(ctx, obj.Name, options)
		})
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			continue
		}
		if err != nil {
			return changes, err
		}
		changes = append(changes, Change{Kind: obj.Kind, Namespace: c.namespace, Name: obj.Name, Action: Deleted})
	}
	return changes, nil
}

func (c *Client) selected(ctx context.Context, selector string, gvr schema.GroupVersionResource) ([]metav1.PartialObjectMetadata, error) {
	var objects []metav1.PartialObjectMetadata
	err := retry(ctx, func() error {
		list, err := c.dynamic.Resource(gvr).Namespace(c.namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		objects = nil
		for _, item := range list.Items {
			objects = append(objects, metav1.PartialObjectMetadata{
				TypeMeta:   metav1.TypeMeta{Kind: item.GetKind()},
				ObjectMeta: metav1.ObjectMeta{Name: item.GetName(), UID: item.GetUID()},
			})
		}
		return nil
	})
	slices.SortFunc(objects, func(a, b metav1.PartialObjectMetadata) int { return strings.Compare(a.Name, b.Name) })
	return objects, err
}

func (c *Client) waitGone(ctx context.Context, selector string, gvr schema.GroupVersionResource) error {
	for {
		left, err := c.selected(ctx, selector, gvr)
		if err != nil || len(left) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(retryEvery):
		}
	}
}
