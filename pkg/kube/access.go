package kube

import (
	"context"
	"fmt"

	authv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
)

// Access is something a user may or may not do.
type Access struct {
	Verb        string // "create"
	Group       string // "" for the core group
	Resource    string // "pods"
	Subresource string // "portforward"
	Name        string // "" for any
	// ClusterWide asks beyond the client's namespace.
	ClusterWide bool
}

func (a Access) String() string {
	r := a.Resource
	if a.Group != "" {
		r += "." + a.Group
	}
	if a.Subresource != "" {
		r += "/" + a.Subresource
	}
	return a.Verb + " " + r
}

// Can asks whether the client's user may do something.
func (c *Client) Can(ctx context.Context, a Access) (bool, error) {
	namespace := c.namespace
	if a.ClusterWide {
		namespace = metav1.NamespaceAll
	}
	review := &authv1.SelfSubjectAccessReview{Spec: authv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authv1.ResourceAttributes{
			Namespace: namespace, Verb: a.Verb, Group: a.Group, Resource: a.Resource, Subresource: a.Subresource, Name: a.Name,
		},
	}}
	var answer *authv1.SelfSubjectAccessReview
	err := retry(ctx, func() (err error) {
		answer, err = c.core.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return false, wrap(err, "asking for the right to %s", a)
	}
	return answer.Status.Allowed, nil
}

// ServerVersion asks the API server which version it is. It does not retry: it is the
// first question, and a wrong kubeconfig should be told at once.
func (c *Client) ServerVersion(ctx context.Context) (*version.Info, error) {
	type answer struct {
		info *version.Info
		err  error
	}
	done := make(chan answer, 1) // the discovery client takes no context
	go func() {
		info, err := c.core.Discovery().ServerVersion()
		done <- answer{info, err}
	}()
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("asking %s for its version: %w", c.Server(), context.Cause(ctx))
	case a := <-done:
		return a.info, wrap(a.err, "asking %s for its version", c.Server())
	}
}

// Serves reports whether the API server knows a resource, say "workflows" of
// "argoproj.io/v1alpha1": whether its CRD is there.
func (c *Client) Serves(_ context.Context, gv schema.GroupVersion, resource string) (bool, error) {
	list, err := c.core.Discovery().ServerResourcesForGroupVersion(gv.String())
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, wrap(err, "asking for the resources of %s", gv)
	}
	for _, r := range list.APIResources {
		if r.Name == resource {
			return true, nil
		}
	}
	return false, nil
}
