package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"pivt.io/pivt/pkg/exit"
)

// Action is what happened, or in a dry run would happen, to an object.
type Action string

// The actions. Their words are what kubectl prints.
const (
	Created    Action = "created"
	Configured Action = "configured"
	Unchanged  Action = "unchanged"
	Deleted    Action = "deleted"
)

// Change is one object and what happened to it.
type Change struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Action    Action `json:"action"`
	// Fields are the paths that differ, in dry runs only. Values of Secrets are never shown.
	Fields []Field `json:"fields,omitempty"`
}

func (c Change) String() string {
	return fmt.Sprintf("%s/%s %s", strings.ToLower(c.Kind), c.Name, c.Action)
}

// ApplyOptions modify Apply.
type ApplyOptions struct {
	// DryRun asks the API server what would happen and changes nothing.
	DryRun bool
	// FieldManager defaults to "pivt".
	FieldManager string
}

// Requests in flight at a time. The API server is the one that does the work, and in the
// smallest clusters it has a core at most.
const applyWidth = 8

// Apply makes the objects so, by server-side apply, taking over fields that others had set
// differently. It goes by kind (namespaces first, workloads last) and, within a kind, by name; the
// changes are in that order. When something fails, the changes made until then are returned, too.
func (c *Client) Apply(ctx context.Context, objs []*unstructured.Unstructured, o ApplyOptions) ([]Change, error) {
	if o.FieldManager == "" {
		o.FieldManager = FieldManager
	}
	targets := make([]target, 0, len(objs))
	for _, obj := range objs {
		t, err := c.target(ctx, obj)
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	slices.SortStableFunc(targets, compareTargets)

	changes := make([]Change, 0, len(targets))
	for len(targets) > 0 {
		n := 1 // objects of the same rank do not depend on each other
		for n < len(targets) && targets[n].rank == targets[0].rank {
			n++
		}
		done, err := applyAll(ctx, targets[:n], o)
		changes = append(changes, done...)
		if err != nil {
			return changes, err
		}
		targets = targets[n:]
	}
	return changes, nil
}

// Diff is Apply's dry run: what would change, field by field, leaving out what would not.
func (c *Client) Diff(ctx context.Context, objs []*unstructured.Unstructured) ([]Change, error) {
	changes, err := c.Apply(ctx, objs, ApplyOptions{DryRun: true})
	return slices.DeleteFunc(changes, func(ch Change) bool { return ch.Action == Unchanged }), err
}

// target is an object and the place it belongs to.
type target struct {
	obj      *unstructured.Unstructured
	resource dynamic.ResourceInterface
	rank     int
}

func (c *Client) target(ctx context.Context, obj *unstructured.Unstructured) (target, error) {
	gvk := obj.GroupVersionKind()
	if obj.GetName() == "" || gvk.Kind == "" {
		return target{}, fmt.Errorf("object of kind %q has no name, or no kind", gvk.Kind)
	}
	var m *meta.RESTMapping
	err := retry(ctx, func() (err error) {
		m, err = c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		return err
	})
	if meta.IsNoMatchError(err) {
		return target{}, exit.With(fmt.Errorf("%s: the cluster does not know kind %q of %s", subject(obj), gvk.Kind, gvk.GroupVersion()), exit.NotReady)
	}
	if err != nil {
		return target{}, Explain(fmt.Errorf("%s: asking for kind %q: %w", subject(obj), gvk.Kind, err))
	}
	obj = obj.DeepCopy() // the caller's objects stay as they are
	resource := dynamic.ResourceInterface(c.dynamic.Resource(m.Resource))
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		if obj.GetNamespace() == "" {
			obj.SetNamespace(c.namespace)
		}
		resource = c.dynamic.Resource(m.Resource).Namespace(obj.GetNamespace())
	}
	return target{obj: obj, resource: resource, rank: rank(gvk.Kind)}, nil
}

func applyAll(ctx context.Context, targets []target, o ApplyOptions) ([]Change, error) {
	results := make([]*Change, len(targets))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(applyWidth)
	for i, t := range targets {
		g.Go(func() error {
			change, err := applyOne(gctx, t, o)
			if err != nil {
				return Explain(fmt.Errorf("applying %s: %w", subject(t.obj), withoutSecrets(t.obj, err)))
			}
			results[i] = &change
			return nil
		})
	}
	err := g.Wait()
	var changes []Change
	for _, r := range results {
		if r != nil {
			changes = append(changes, *r)
		}
	}
	return changes, err
}

func applyOne(ctx context.Context, t target, o ApplyOptions) (Change, error) {
	change := Change{Kind: t.obj.GetKind(), Namespace: t.obj.GetNamespace(), Name: t.obj.GetName(), Action: Created}
	var live, applied *unstructured.Unstructured
	err := retry(ctx, func() (err error) {
		live, err = t.resource.Get(ctx, t.obj.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			live, err = nil, nil
		}
		return err
	})
	if err != nil {
		return Change{}, err
	}
	options := metav1.ApplyOptions{FieldManager: o.FieldManager, Force: true}
	if o.DryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	err = retry(ctx, func() (err error) {
		applied, err = t.resource.Apply(ctx, t.obj.GetName(), t.obj, options)
		return err
	})
	switch {
	case o.DryRun && live == nil && apierrors.IsNotFound(err):
		return change, nil // its namespace would only be created by the same run
	case err != nil:
		return Change{}, err
	case live == nil:
		return change, nil
	}

	change.Action = Configured
	if o.DryRun {
		change.Fields = compare(live, applied)
		if len(change.Fields) == 0 {
			change.Action = Unchanged
		}
	}
	if live.GetResourceVersion() == applied.GetResourceVersion() && !o.DryRun {
		change.Action = Unchanged // the API server writes nothing when nothing changed
	}
	return change, nil
}

func subject(obj *unstructured.Unstructured) string {
	return strings.ToLower(obj.GetKind()) + "/" + obj.GetName()
}

// withoutSecrets keeps the API server from quoting a Secret's content in an error: its
// messages about values it cannot read print them.
func withoutSecrets(obj *unstructured.Unstructured, err error) error {
	if obj.GetKind() != "Secret" {
		return err
	}
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) {
		return err
	}
	switch status.Status().Reason {
	case metav1.StatusReasonInvalid, metav1.StatusReasonBadRequest, metav1.StatusReasonInternalError, metav1.StatusReasonUnknown:
	default:
		return err
	}
	text := "the API server does not accept it"
	if d := status.Status().Details; d != nil {
		for _, cause := range d.Causes {
			text += fmt.Sprintf("; field %s: %s", cause.Field, cause.Type)
		}
	}
	return errors.New(text)
}
