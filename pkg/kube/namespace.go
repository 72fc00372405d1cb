package kube

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pivt.io/pivt/pkg/exit"
)

// managedBy marks what pivt made itself.
const managedBy = "app.kubernetes.io/managed-by"

// EnsureNamespace makes the namespace if it is missing. The labels of a namespace that
// someone else made are left alone: it may hold more than ours, and a Pod Security label
// would shut that out.
func (c *Client) EnsureNamespace(ctx context.Context, name string, labels map[string]string) (Change, error) {
	change := Change{Kind: "Namespace", Name: name, Action: Unchanged}
	namespaces := c.core.CoreV1().Namespaces()
	var live *corev1.Namespace
	err := retry(ctx, func() (err error) {
		live, err = namespaces.Get(ctx, name, metav1.GetOptions{})
		return err
	})
	switch {
	case apierrors.IsForbidden(err):
		return change, nil // users of one namespace often may not look at it; what follows will tell
	case apierrors.IsNotFound(err):
		own := map[string]string{managedBy: FieldManager}
		for k, v := range labels {
			own[k] = v
		}
		_, err = namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: own}}, metav1.CreateOptions{FieldManager: FieldManager})
		if apierrors.IsAlreadyExists(err) { // another run was faster
			return change, nil
		}
		change.Action = Created
		return change, wrap(err, "creating namespace %s", name)
	case err != nil:
		return change, wrap(err, "reading namespace %s", name)
	case live.DeletionTimestamp != nil:
		return change, exit.WithHint(exit.Transient(fmt.Errorf("namespace %s is being deleted", name)),
			fmt.Sprintf(`wait until "kubectl get namespace %s" no longer finds it, then repeat this command`, name))
	case live.Labels[managedBy] != FieldManager || contains(live.Labels, labels):
		return change, nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels}})
	if err != nil {
		return change, err
	}
	_, err = namespaces.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
	change.Action = Configured
	return change, wrap(err, "labelling namespace %s", name)
}

func contains(all, some map[string]string) bool {
	for k, v := range some {
		if got, ok := all[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// wrap says what was being done, and what a person can do about it.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return Explain(fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err))
}
