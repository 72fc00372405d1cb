package keeper

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"pivt.io/pivt/pkg/exit"
)

// With a VolumeSnapshotClass a node is away only until its volumes are snapshotted. Clones
// are made of the snapshots and copied while it serves. That clones exist says that the hold
// had proven unbroken: they are made after that was checked, and not before.

func snapshots() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshots"}
}

// cloneName is the name of a volume's snapshot, and of the claim that is made from it.
func cloneName(node, volume, key string) string { return name("save", node+"--"+volume, key) }

// cut makes snapshots of a stopped node's claims and waits until their moment has come; they
// may be uploaded or whatever their driver does long after that.
func (k *Keeper) cut(ctx context.Context, g *grip, key string) error {
	set, err := k.set(ctx, g.t.Name)
	if err != nil {
		return err
	}
	owners, err := k.guarded(ctx, key)
	if err != nil {
		return err
	}
	all := claims(set)
	volumes := slices.Sorted(maps.Keys(all))
	for _, volume := range volumes {
		if err := k.snapshot(ctx, g, key, volume, all[volume], owners); err != nil {
			return err
		}
	}
	err = k.await(ctx, k.times.cut, g.log, func(ctx context.Context) (string, error) {
		for _, volume := range volumes {
			waiting, err := k.isCut(ctx, cloneName(g.t.Name, volume, key))
			if waiting != "" || err != nil {
				return waiting, err
			}
		}
		return "", nil
	})
	var late *lateError
	if errors.As(err, &late) {
		return exit.WithHint(fmt.Errorf("snapshotting %s: %w", g.t.Name, err), "is backup.snapshotClass one of the driver that made the node's volumes? Without it, the node waits for its copy")
	}
	return err
}

func (k *Keeper) snapshot(ctx context.Context, g *grip, key, volume, claim string, owners []metav1.OwnerReference) error {
	want := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
		"spec": map[string]any{
			"volumeSnapshotClassName": k.Settings.SnapshotClass,
			"source":                  map[string]any{"persistentVolumeClaimName": claim},
		},
	}}
	want.SetName(cloneName(g.t.Name, volume, key))
	want.SetNamespace(k.Namespace)
	want.SetLabels(k.labels("save", key, g.t.Name))
	want.SetAnnotations(map[string]string{tokenAnnotation: g.hold.Token, generationAnnotation: fmt.Sprint(g.generation)})
	want.SetOwnerReferences(owners)
	client := k.Dynamic.Resource(snapshots()).Namespace(k.Namespace)
	for {
		err := k.call(ctx, func(ctx context.Context) error {
			_, err := client.Create(ctx, want, metav1.CreateOptions{FieldManager: fieldManager})
			return err
		})
		switch {
		case err == nil:
			return nil
		case apierrors.IsNotFound(err):
			return exit.With(exit.WithHint(fmt.Errorf("snapshotting %s: the cluster knows no VolumeSnapshots: %w", g.t.Name, err), "leave backup.snapshotClass empty"), exit.Invalid)
		case !apierrors.IsAlreadyExists(err):
			return fmt.Errorf("snapshotting %s: %w", g.t.Name, err)
		}
		old, err := k.volumeSnapshot(ctx, want.GetName())
		if err != nil {
			return err
		}
		if old != nil && old.GetDeletionTimestamp() == nil && maps.Equal(old.GetAnnotations(), want.GetAnnotations()) {
			return nil
		}
		// Of an earlier hold: the node has served since.
		if err := k.unsnapshot(ctx, want.GetName()); err != nil {
			return err
		}
		if err := k.pause(ctx); err != nil {
			return err
		}
	}
}

// volumeSnapshot is nil if there is none of that name.
func (k *Keeper) volumeSnapshot(ctx context.Context, name string) (*unstructured.Unstructured, error) {
	var s *unstructured.Unstructured
	err := k.call(ctx, func(ctx context.Context) (err error) {
		s, err = k.Dynamic.Resource(snapshots()).Namespace(k.Namespace).Get(ctx, name, metav1.GetOptions{})
		return err
	})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking at volumesnapshot/%s: %w", name, err)
	}
	return s, nil
}

// isCut says what is still waited for.
func (k *Keeper) isCut(ctx context.Context, name string) (waiting string, err error) {
	s, err := k.volumeSnapshot(ctx, name)
	if err != nil {
		return "", err
	}
	if s == nil {
		return "", exit.Transient(fmt.Errorf("volumesnapshot/%s was deleted by somebody else", name))
	}
	if at, _, _ := unstructured.NestedString(s.Object, "status", "creationTime"); at != "" {
		return "", nil
	}
	if why, _, _ := unstructured.NestedString(s.Object, "status", "error", "message"); why != "" {
		return fmt.Sprintf("volumesnapshot %s: %s", name, why), nil
	}
	return fmt.Sprintf("volumesnapshot %s is being made", name), nil
}

// clone makes a claim of each snapshot, as large and of the same class as what was snapshotted.
func (k *Keeper) clone(ctx context.Context, g *grip, key string) error {
	set, err := k.set(ctx, g.t.Name)
	if err != nil {
		return err
	}
	owners, err := k.guarded(ctx, key)
	if err != nil {
		return err
	}
	for volume, from := range claims(set) {
		source, err := k.claimOf(ctx, from)
		if err != nil {
			return err
		}
		if source == nil {
			return fmt.Errorf("persistentvolumeclaim/%s of %s does not exist", from, g.t.Name)
		}
		size := source.Spec.Resources.Requests[corev1.ResourceStorage]
		if has, ok := source.Status.Capacity[corev1.ResourceStorage]; ok && has.Cmp(size) > 0 {
			size = has
		}
		group := snapshots().Group
		claim := &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{
				Name: cloneName(g.t.Name, volume, key), Namespace: k.Namespace, Labels: k.labels("save", key, g.t.Name),
				Annotations: map[string]string{tokenAnnotation: g.hold.Token, stoppedAnnotation: g.t.Stopped.Format(time.RFC3339Nano)}, OwnerReferences: owners,
			},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: source.Spec.AccessModes, StorageClassName: source.Spec.StorageClassName, VolumeMode: source.Spec.VolumeMode,
				Resources:  corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: size}},
				DataSource: &corev1.TypedLocalObjectReference{APIGroup: &group, Kind: "VolumeSnapshot", Name: cloneName(g.t.Name, volume, key)},
			},
		}
		if err := k.makeClone(ctx, claim); err != nil {
			return fmt.Errorf("cloning a volume of %s: %w", g.t.Name, err)
		}
	}
	return nil
}

// makeClone makes a claim, in place of one that was made under an earlier hold.
func (k *Keeper) makeClone(ctx context.Context, want *corev1.PersistentVolumeClaim) error {
	for {
		err := k.call(ctx, func(ctx context.Context) error {
			_, err := k.Kube.CoreV1().PersistentVolumeClaims(k.Namespace).Create(ctx, want, metav1.CreateOptions{FieldManager: fieldManager})
			return err
		})
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		old, err := k.claimOf(ctx, want.Name)
		if err != nil {
			return err
		}
		if old != nil && old.DeletionTimestamp == nil && old.Annotations[tokenAnnotation] == want.Annotations[tokenAnnotation] {
			return nil
		}
		if err := k.dropClaim(ctx, want.Name); err != nil {
			return err
		}
		if err := k.pause(ctx); err != nil {
			return err
		}
	}
}

func (k *Keeper) dropClaim(ctx context.Context, name string) error {
	err := k.call(ctx, func(ctx context.Context) error {
		return k.Kube.CoreV1().PersistentVolumeClaims(k.Namespace).Delete(ctx, name, metav1.DeleteOptions{})
	})
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("deleting persistentvolumeclaim/%s: %w", name, err)
}

// claimOf is nil if there is none of that name.
func (k *Keeper) claimOf(ctx context.Context, name string) (*corev1.PersistentVolumeClaim, error) {
	var c *corev1.PersistentVolumeClaim
	err := k.call(ctx, func(ctx context.Context) (err error) {
		c, err = k.Kube.CoreV1().PersistentVolumeClaims(k.Namespace).Get(ctx, name, metav1.GetOptions{})
		return err
	})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking at persistentvolumeclaim/%s: %w", name, err)
	}
	return c, nil
}

// cloned reports whether all volumes of a node have been cloned by an earlier run, and when the
// node had been stopped for it.
func (k *Keeper) cloned(ctx context.Context, t target, key string) (stopped time.Time, all bool, err error) {
	set, err := k.set(ctx, t.Name)
	if err != nil {
		return stopped, false, err
	}
	token := ""
	for volume := range claims(set) {
		c, err := k.claimOf(ctx, cloneName(t.Name, volume, key))
		if err != nil {
			return stopped, false, err
		}
		if c == nil || c.DeletionTimestamp != nil || token != "" && c.Annotations[tokenAnnotation] != token {
			return stopped, false, nil
		}
		token = c.Annotations[tokenAnnotation]
		if stopped, err = time.Parse(time.RFC3339Nano, c.Annotations[stoppedAnnotation]); err != nil {
			return stopped, false, nil
		}
	}
	return stopped, token != "", nil
}

// saveClones copies a node's clones, after it was started.
func (k *Keeper) saveClones(ctx context.Context, t target, key string) error {
	set, err := k.set(ctx, t.Name)
	if err != nil {
		return err
	}
	clones := map[string]string{}
	for volume := range claims(set) {
		clones[volume] = cloneName(t.Name, volume, key)
	}
	copied, err := k.copy(ctx, t, key, nil, clones)
	if err != nil {
		return err
	}
	return k.put(ctx, t, key, copied)
}

func (k *Keeper) unsnapshot(ctx context.Context, name string) error {
	err := k.call(ctx, func(ctx context.Context) error {
		return k.Dynamic.Resource(snapshots()).Namespace(k.Namespace).Delete(ctx, name, metav1.DeleteOptions{})
	})
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("deleting volumesnapshot/%s: %w", name, err)
}

// discardClones removes a node's snapshots and the claims that were made from them.
func (k *Keeper) discardClones(ctx context.Context, node, key string) error {
	volumes := []string{dataVolume}
	if set, err := k.set(ctx, node); err == nil {
		volumes = slices.Sorted(maps.Keys(claims(set)))
	}
	var errs []error
	for _, volume := range volumes {
		of := cloneName(node, volume, key)
		errs = append(errs, k.dropClaim(ctx, of), k.unsnapshot(ctx, of))
	}
	return errors.Join(errs...)
}
