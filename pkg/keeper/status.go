package keeper

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"pivt.io/pivt/pkg/backup"
)

// Record adds news to what the namespace remembers of its backups.
func (k *Keeper) Record(ctx context.Context, news backup.Status) error {
	k.defaults()
	maps := k.Kube.CoreV1().ConfigMaps(k.Namespace)
	for {
		var now *corev1.ConfigMap
		err := k.call(ctx, func(ctx context.Context) (err error) {
			now, err = maps.Get(ctx, backup.StatusConfigMap, metav1.GetOptions{})
			return err
		})
		exists := err == nil
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("looking at configmap/%s: %w", backup.StatusConfigMap, err)
		}
		known := backup.Status{}
		if exists {
			known, _ = statusOf(now) // what nobody can read is written anew
		}
		text, err := json.Marshal(known.Merge(news))
		if err != nil {
			return err
		}
		err = k.call(ctx, func(ctx context.Context) error {
			if !exists {
				_, err := maps.Create(ctx, &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Name: backup.StatusConfigMap, Namespace: k.Namespace, Labels: k.labels("status", "", "")},
					Data:       map[string]string{backup.StatusKey: string(text)},
				}, metav1.CreateOptions{FieldManager: fieldManager})
				return err
			}
			body, err := json.Marshal(map[string]any{
				"metadata": map[string]any{"resourceVersion": now.ResourceVersion},
				"data":     map[string]any{backup.StatusKey: string(text)},
			})
			if err != nil {
				return err
			}
			_, err = maps.Patch(ctx, backup.StatusConfigMap, types.MergePatchType, body, metav1.PatchOptions{FieldManager: fieldManager})
			return err
		})
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || exists && apierrors.IsNotFound(err) {
			if err := k.pause(ctx); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("writing configmap/%s: %w", backup.StatusConfigMap, err)
		}
		return nil
	}
}

// ReadStatus is what the namespace remembers of its backups; nothing at all is no error.
func ReadStatus(ctx context.Context, core kubernetes.Interface, namespace string) (backup.Status, error) {
	now, err := core.CoreV1().ConfigMaps(namespace).Get(ctx, backup.StatusConfigMap, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return backup.Status{}, nil
	}
	if err != nil {
		return backup.Status{}, fmt.Errorf("looking at configmap/%s: %w", backup.StatusConfigMap, err)
	}
	return statusOf(now)
}

func statusOf(m *corev1.ConfigMap) (backup.Status, error) {
	var s backup.Status
	text := m.Data[backup.StatusKey]
	if text == "" {
		return s, nil
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, fmt.Errorf("reading configmap/%s: %w", m.Name, err)
	}
	return s, nil
}
