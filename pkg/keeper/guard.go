package keeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/kube"
	"pivt.io/pivt/pkg/network"
)

const (
	workflowAnnotation = "pivt.io/workflow"
	guardRestarts      = 1000 // a guard that fails is started again, for as long as its backup lasts
	guardStays         = 300  // seconds after its end, if nobody removed it before
)

func guardName(key string) string { return network.Shorten("hlf-guard--"+key, maxName) }

// EnsureGuard makes the Job that starts nodes when nobody else is left to, and waits until it runs.
// No node is stopped before: an image that is missing, or a namespace without room, shows here.
func (k *Keeper) EnsureGuard(ctx context.Context, key string) error {
	k.defaults()
	begun := time.Now()
	err := k.await(ctx, k.times.start, k.Log, func(ctx context.Context) (string, error) {
		job, err := k.guard(ctx, key)
		switch {
		case err != nil:
			return "", err
		case job == nil:
			return "the guard is made", k.makeGuard(ctx, key)
		case job.DeletionTimestamp != nil:
			return "the guard of an earlier attempt is removed", nil
		case job.Annotations[workflowAnnotation] != k.Workflow || over(job):
			return "the guard of an earlier attempt is removed", k.removeGuard(ctx, key)
		}
		pods, err := k.pods(ctx, KeyLabel+"="+key+","+RoleLabel+"="+roleGuard)
		if err != nil {
			return "", err
		}
		reason := "its pod has not been made yet"
		for _, p := range pods {
			if !metav1.IsControlledBy(&p, job) {
				continue
			}
			if p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning && running(&p) {
				return "", nil
			}
			why, stuck := kube.PodReason(&p)
			if reason = why; stuck && time.Since(begun) > k.times.stuck {
				return "", &lateError{"pod " + p.Name + ": " + reason, k.times.stuck}
			}
		}
		return "the guard is not running: " + reason, nil
	})
	var late *lateError
	if errors.As(err, &late) {
		if why := k.warning(ctx, guardName(key)); why != "" { // a quota, Pod Security
			err = errors.New(why)
		}
		return exit.WithHint(fmt.Errorf("the guard of backup %s, which starts nodes should the backup die, does not run: %w", key, err),
			fmt.Sprintf(`"kubectl describe job %s" says more; it has the image, the resources and the place of all pods of the flow`, guardName(key)))
	}
	return err
}

func over(job *batchv1.Job) bool {
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

// guard is the Job of a key, nil if there is none.
func (k *Keeper) guard(ctx context.Context, key string) (*batchv1.Job, error) {
	var job *batchv1.Job
	err := k.call(ctx, func(ctx context.Context) (err error) {
		job, err = k.Kube.BatchV1().Jobs(k.Namespace).Get(ctx, guardName(key), metav1.GetOptions{})
		return err
	})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking at job/%s: %w", guardName(key), err)
	}
	return job, nil
}

func (k *Keeper) makeGuard(ctx context.Context, key string) error {
	pod, err := k.build(plan{role: roleGuard, key: key, args: []string{"guard", "--key", key}, token: true})
	if err != nil {
		return err
	}
	pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: guardName(key), Namespace: k.Namespace, Labels: k.labels(roleGuard, key, ""),
			Annotations: map[string]string{workflowAnnotation: k.Workflow},
		},
		Spec: batchv1.JobSpec{
			BackoffLimit: new(int32(guardRestarts)), TTLSecondsAfterFinished: new(int32(guardStays)),
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels, Annotations: pod.Annotations}, Spec: pod.Spec},
		},
	}
	err = k.call(ctx, func(ctx context.Context) error {
		_, err := k.Kube.BatchV1().Jobs(k.Namespace).Create(ctx, job, metav1.CreateOptions{FieldManager: fieldManager})
		return err
	})
	if err == nil || apierrors.IsAlreadyExists(err) {
		return nil
	}
	return fmt.Errorf("making job/%s: %w", job.Name, err)
}

func (k *Keeper) removeGuard(ctx context.Context, key string) error {
	policy := metav1.DeletePropagationBackground // and with it go the copy pods that it owns
	err := k.call(ctx, func(ctx context.Context) error {
		return k.Kube.BatchV1().Jobs(k.Namespace).Delete(ctx, guardName(key), metav1.DeleteOptions{PropagationPolicy: &policy})
	})
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("deleting job/%s: %w", guardName(key), err)
}

func (k *Keeper) pods(ctx context.Context, selector string) ([]corev1.Pod, error) {
	var list *corev1.PodList
	err := k.call(ctx, func(ctx context.Context) (err error) {
		list, err = k.Kube.CoreV1().Pods(k.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing pods with labels %s: %w", selector, err)
	}
	return list.Items, nil
}

// sighting is since when a guard has seen the same sign of life. It is the guard's own clock that
// counts: those of two machines differ.
type sighting struct {
	beat  time.Time
	since time.Time
}

// Guard starts what a backup holds when the backup is over or gone, when its keeper shows no life,
// or when a node has been held for far too long. It ends when the backup is over.
func (k *Keeper) Guard(ctx context.Context, key string) error {
	k.defaults()
	seen := map[string]sighting{}
	looked := time.Now()
	for {
		over, why, err := k.finished(ctx)
		if err != nil {
			return err
		}
		sets, err := k.sets(ctx)
		if err != nil {
			return err
		}
		// While we could not look, the keeper may have been unable to show life.
		if time.Since(looked) > k.times.silence/3 {
			clear(seen)
		}
		looked = time.Now()
		for _, h := range holds(sets) {
			if h.By != ByBackup || h.Key != key {
				continue
			}
			s, ok := seen[h.Node]
			if !ok || !s.beat.Equal(h.Beat) {
				s = sighting{h.Beat, looked}
				seen[h.Node] = s
			}
			reason := ""
			switch {
			case over:
				reason = why
			case looked.Sub(s.since) > k.times.silence:
				reason = fmt.Sprintf("its keeper has shown no life for %s", k.times.silence)
			case k.Now().Sub(h.Since) > k.Settings.Downtime()+k.times.grace:
				reason = "it has been held for longer than " + (k.Settings.Downtime() + k.times.grace).String()
			default:
				continue
			}
			if err := k.start(ctx, h, reason); err != nil {
				return err
			}
		}
		if over {
			return k.sweep(ctx, key)
		}
		if err := k.pause(ctx); err != nil {
			return err
		}
	}
}

// start lets a node go that a backup holds, unless its keeper has shown life in the meantime.
func (k *Keeper) start(ctx context.Context, h Hold, reason string) error {
	_, err := k.change(ctx, h.Node, func(set *appsv1.StatefulSet, now *Hold) (*edit, error) {
		if now == nil || now.Token != h.Token || !now.Beat.Equal(h.Beat) {
			return nil, nil
		}
		k.Log.Info("starting a node", "node", h.Node, "key", h.Key, "because", reason)
		return &edit{replicas: 1}, nil
	})
	return err
}

func workflows() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "workflows"}
}

// finished asks whether the workflow is over. If it cannot be known, it is not: the keeper's
// signs of life decide.
func (k *Keeper) finished(ctx context.Context) (over bool, why string, err error) {
	if k.Workflow == "" {
		return false, "", nil
	}
	var w *unstructured.Unstructured
	err = k.call(ctx, func(ctx context.Context) (err error) {
		w, err = k.Dynamic.Resource(workflows()).Namespace(k.Namespace).Get(ctx, k.Workflow, metav1.GetOptions{})
		return err
	})
	switch {
	case apierrors.IsNotFound(err):
		return true, "workflow " + k.Workflow + " is gone", nil
	case apierrors.IsForbidden(err):
		return false, "", nil
	case err != nil:
		return false, "", fmt.Errorf("looking at workflow/%s: %w", k.Workflow, err)
	}
	phase, _, _ := unstructured.NestedString(w.Object, "status", "phase")
	switch phase {
	case "Succeeded", "Failed", "Error":
		return true, fmt.Sprintf("workflow %s is over (%s)", k.Workflow, phase), nil
	}
	return false, "", nil
}

// End starts what a backup holds, and removes its guard and its copy pods. What a restore
// holds stays.
func (k *Keeper) End(ctx context.Context, key string) error {
	k.defaults()
	sets, err := k.sets(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, h := range holds(sets) {
		if h.By == ByBackup && h.Key == key {
			_, err := k.change(ctx, h.Node, func(set *appsv1.StatefulSet, now *Hold) (*edit, error) {
				if now == nil || now.By != ByBackup || now.Key != key {
					return nil, nil
				}
				k.Log.Info("starting a node", "node", h.Node, "key", key, "because", "the backup is over")
				return &edit{replicas: 1}, nil
			})
			errs = append(errs, err)
		}
	}
	errs = append(errs, k.sweep(ctx, key), k.removeGuard(ctx, key))
	return errors.Join(errs...)
}

// sweep removes copy pods of a backup, and the clones that they copied from.
func (k *Keeper) sweep(ctx context.Context, key string) error {
	pods, err := k.pods(ctx, KeyLabel+"="+key+","+RoleLabel+"=save")
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range pods {
		errs = append(errs, k.drop(ctx, p.Name, p.UID))
	}
	if k.Settings.SnapshotClass != "" {
		sets, err := k.sets(ctx)
		errs = append(errs, err)
		for _, set := range sets {
			errs = append(errs, k.discardClones(ctx, set.Name, key))
		}
	}
	return errors.Join(errs...)
}
