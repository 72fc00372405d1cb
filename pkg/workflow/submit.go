package workflow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/pkg/client/clientset/versioned"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/kube"
)

// Argo's own labels and annotations that are read here.
const (
	labelWorkflow  = "workflows.argoproj.io/workflow"
	labelCompleted = "workflows.argoproj.io/completed"
	annTitle       = "workflows.argoproj.io/title"
	annNodeName    = "workflows.argoproj.io/node-name"
)

// Run is a submitted workflow.
type Run struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
	Created   time.Time `json:"created"`
	// Adopted is set when the same workflow was already running and no second one was made:
	// an interrupted pivt goes on with what it had started.
	Adopted bool `json:"adopted,omitempty"`
}

const (
	submitFor   = 20 * time.Second // how long an unavailable API server is asked again
	submitEvery = time.Second
)

// Submit creates the workflow of a manifest, or adopts an identical one that is running.
func Submit(ctx context.Context, c Cluster, namespace string, manifest []byte) (*Run, error) {
	wf, err := Decode(manifest)
	if err != nil {
		return nil, err
	}
	content, err := contentOf(wf)
	if err != nil {
		return nil, err
	}
	if wf.Labels == nil {
		wf.Labels = map[string]string{}
	}
	wf.Labels[ContentLabel] = content
	argo, err := argoOf(c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, submitFor, fmt.Errorf("the API server has been unavailable for %s", submitFor))
	defer cancel()
	for {
		// After an unanswered create, the workflow may be there: so every attempt looks first.
		run, err := submitOnce(ctx, argo, namespace, wf, content)
		if err == nil {
			return run, nil
		}
		if !kube.IsUnavailable(err) {
			return nil, submitError(wf, namespace, err)
		}
		select {
		case <-ctx.Done():
			return nil, submitError(wf, namespace, fmt.Errorf("%w: %w", context.Cause(ctx), err))
		case <-time.After(submitEvery):
		}
	}
}

func submitOnce(ctx context.Context, argo versioned.Interface, namespace string, wf *wfv1.Workflow, content string) (*Run, error) {
	workflows := argo.ArgoprojV1alpha1().Workflows(namespace)
	same, err := workflows.List(ctx, metav1.ListOptions{LabelSelector: ContentLabel + "=" + content + "," + labelCompleted + "!=true"})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(same.Items, func(a, b wfv1.Workflow) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	for _, old := range same.Items {
		if adoptable(&old) {
			run := runOf(&old)
			run.Adopted = true
			return run, nil
		}
	}
	made, err := workflows.Create(ctx, wf, metav1.CreateOptions{FieldManager: kube.FieldManager})
	if err != nil {
		return nil, err
	}
	return runOf(made), nil
}

// adoptable reports whether a workflow is on its way to its end.
func adoptable(wf *wfv1.Workflow) bool {
	suspended := wf.Spec.Suspend != nil && *wf.Spec.Suspend
	return !wf.Status.Phase.Completed() && wf.DeletionTimestamp == nil && wf.Spec.Shutdown == "" && !suspended
}

func runOf(wf *wfv1.Workflow) *Run {
	return &Run{Namespace: wf.Namespace, Name: wf.Name, UID: wf.UID, Created: wf.CreationTimestamp.Time}
}

func submitError(wf *wfv1.Workflow, namespace string, err error) error {
	name := wf.GenerateName
	if name == "" {
		name = wf.Name
	}
	if apierrors.IsNotFound(err) && !isNamespace(err) {
		return exit.WithHint(exit.With(fmt.Errorf("submitting workflow %s: the cluster does not know Argo workflows", name), exit.NotReady),
			"install Argo Workflows 3.6 or later: https://argo-workflows.readthedocs.io/en/stable/installation/")
	}
	return kube.Explain(fmt.Errorf("submitting workflow %s to namespace %s: %w", name, namespace, err))
}

// isNamespace tells a missing namespace from a missing kind.
func isNamespace(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	return status.Status().Details.Kind == "namespaces"
}

// Stop ends a run's pods; the workflow stays, failed, for its logs.
func Stop(ctx context.Context, c Cluster, run *Run) error {
	argo, err := argoOf(c)
	if err != nil {
		return err
	}
	patch := fmt.Sprintf(`{"metadata":{"uid":%q},"spec":{"shutdown":%q}}`, run.UID, wfv1.ShutdownStrategyTerminate)
	_, err = argo.ArgoprojV1alpha1().Workflows(run.Namespace).Patch(ctx, run.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: kube.FieldManager})
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return kube.Explain(fmt.Errorf("stopping workflow %s: %w", run.Name, err))
}
