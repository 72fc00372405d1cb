package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/kube"
)

// labelRehearsal marks a namespace that may be removed with all that is in it; its value is
// the namespace of the network that is rehearsed.
const labelRehearsal = "pivt.io/rehearsal"

const (
	removeFor  = 5 * time.Minute // how long a namespace may take to go
	removeLook = time.Second
	lookFor    = 10 * time.Second // after an answer that got lost
)

// CheckStage refuses a namespace for a rehearsal that has another purpose.
func CheckStage(ctx context.Context, k *kube.Client, of string) error {
	_, err := stage(ctx, k, of)
	return err
}

// stage looks at the namespace of the client, nil if there is none.
func stage(ctx context.Context, k *kube.Client, of string) (*corev1.Namespace, error) {
	name := k.Namespace()
	live, err := k.Core().CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, kube.Explain(fmt.Errorf("reading namespace %s: %w", name, err))
	case live.Labels[labelRehearsal] != of:
		return nil, exit.WithHint(exit.With(fmt.Errorf("namespace %s exists and is not left from a rehearsal of %s; nothing was changed", name, of), exit.Invalid),
			"name another one with --rehearsal-namespace; it is removed when the rehearsal is over")
	}
	return live, nil
}

// OpenStage makes the namespace of d for a rehearsal of the network in another one, with the
// Secrets that the backup's pods need, and nothing of an earlier rehearsal in it. When that fails,
// what was made of it is gone again.
func (d *Deployment) OpenStage(ctx context.Context, of *kube.Client, s backup.Settings) error {
	live, err := stage(ctx, d.Kube, of.Namespace())
	if err != nil {
		return err
	}
	if live != nil {
		if err := d.removeStage(ctx); err != nil {
			return err
		}
	}
	step := d.Report.Start("namespace " + d.Kube.Namespace())
	_, err = d.Kube.Core().CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: d.Kube.Namespace(), Labels: map[string]string{
		labelRehearsal: of.Namespace(), labelManagedBy: managedBy, "pod-security.kubernetes.io/enforce": "restricted",
	}}}, metav1.CreateOptions{FieldManager: kube.FieldManager})
	if err != nil {
		step.Fail(err)
		return d.unmade(ctx, of.Namespace(), kube.Explain(fmt.Errorf("creating namespace %s: %w", d.Kube.Namespace(), err)))
	}
	names := []string{s.SecretName}
	for _, pull := range s.Pod.ImagePullSecrets {
		names = append(names, pull.Name)
	}
	for _, name := range names {
		if err := d.copySecret(ctx, of, name); err != nil {
			step.Fail(err)
			return d.CloseStage(ctx, err)
		}
	}
	step.Done("made for the rehearsal")
	return nil
}

// unmade closes a stage of which nobody knows whether it was made: there was none before, and an
// answer can get lost, by Ctrl-C for one.
func (d *Deployment) unmade(ctx context.Context, of string, err error) error {
	if apierrors.IsAlreadyExists(err) { // somebody else was quicker
		return err
	}
	looking, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookFor)
	defer cancel()
	if live, lerr := stage(looking, d.Kube, of); lerr != nil || live == nil {
		return err
	}
	return d.CloseStage(ctx, err)
}

func (d *Deployment) copySecret(ctx context.Context, from *kube.Client, name string) error {
	secret, err := from.Core().CoreV1().Secrets(from.Namespace()).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return kube.Explain(fmt.Errorf("reading secret/%s: %w", name, err))
	}
	_, err = d.Kube.Core().CoreV1().Secrets(d.Kube.Namespace()).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels(nil, nil)}, Type: secret.Type, Data: secret.Data,
	}, metav1.CreateOptions{FieldManager: kube.FieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return kube.Explain(fmt.Errorf("copying secret/%s to namespace %s: %w", name, d.Kube.Namespace(), err))
	}
	return nil
}

// CloseStage removes the namespace after a rehearsal, whatever came of that: after an interrupt, too,
// which the context tells of. It returns the rehearsal's error, and says if the namespace stays.
func (d *Deployment) CloseStage(ctx context.Context, rehearsed error) error {
	name := d.Kube.Namespace()
	err := d.removeStage(context.WithoutCancel(ctx))
	if err == nil {
		return rehearsed
	}
	text := fmt.Sprintf("namespace %s stays, with the credentials of the repository in it: %v", name, err)
	hint, code := "kubectl delete namespace "+name, exit.CodeOf(err)
	if rehearsed != nil {
		text, code = rehearsed.Error()+"; "+text, exit.CodeOf(rehearsed)
		if inner := exit.HintOf(rehearsed); inner != "" {
			hint = inner + "; " + hint
		}
	}
	return exit.WithHint(exit.With(errors.New(text), code), hint)
}

// removeStage removes the namespace of a rehearsal, with its volumes, and waits until it is gone.
func (d *Deployment) removeStage(ctx context.Context) error {
	name := d.Kube.Namespace()
	step := d.Report.Start("removal of namespace " + name)
	ctx, cancel := context.WithTimeoutCause(ctx, removeFor, fmt.Errorf("it is still there after %s", removeFor))
	defer cancel()
	namespaces := d.Kube.Core().CoreV1().Namespaces()
	tick := time.NewTicker(removeLook)
	defer tick.Stop()
	for {
		live, err := namespaces.Get(ctx, name, metav1.GetOptions{})
		if err == nil && live.DeletionTimestamp == nil {
			uid := live.UID
			err = namespaces.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		}
		switch {
		case apierrors.IsNotFound(err):
			step.Done("")
			return nil
		case err != nil && ctx.Err() == nil && !kube.IsUnavailable(err) && !apierrors.IsConflict(err):
			err = kube.Explain(fmt.Errorf("deleting namespace %s: %w", name, err))
			step.Fail(err)
			return err
		}
		select {
		case <-ctx.Done():
			err := exit.WithHint(fmt.Errorf("deleting namespace %s: %w", name, context.Cause(ctx)), "kubectl delete namespace "+name)
			step.Fail(err)
			return err
		case <-tick.C:
		}
	}
}
