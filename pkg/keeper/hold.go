package keeper

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"pivt.io/pivt/pkg/exit"
)

// HeldAnnotation is on a StatefulSet while a backup or a restore has its node in hand; its
// value is a Hold in JSON. RestoredAnnotation says which restore has let it go last.
const (
	HeldAnnotation     = "pivt.io/held"
	RestoredAnnotation = "pivt.io/restored"
)

// fieldManager owns what we change.
const fieldManager = "pivt-backup"

// By says what a node is held for.
type By string

// A node that is held by a backup may be started by anyone at any time; one that is held by
// a restore must not, it may be half restored.
const (
	ByBackup  By = "backup"
	ByRestore By = "restore"
)

// Stage says how far a hold has come.
type Stage string

// Nothing is stopped by a claim; it only keeps others away while we look whether the node can be
// spared. What a restore has started, with the data of the backup, stays held until nothing of the former data
// is left. While those are being removed it is finishing, and there is no way back for any of its nodes. What
// was returned has been started with its former data, because the restore was cancelled.
const (
	Claimed   Stage = "claimed"
	Stopped   Stage = "stopped"
	Started   Stage = "started"
	Finishing Stage = "finishing"
	Returned  Stage = "returned"
)

// Hold says who has a node in hand.
type Hold struct {
	Node     string    `json:"-"` // StatefulSet
	Running  bool      `json:"-"` // whether it has a pod, or should have
	By       By        `json:"by"`
	Key      string    `json:"key"`
	Stage    Stage     `json:"stage"`
	Workflow string    `json:"workflow,omitempty"`
	Holder   string    `json:"holder"` // the process, that is its pod and a random part
	Token    string    `json:"token"`  // of this hold: a later one has another
	Machine  string    `json:"machine,omitempty"`
	Since    time.Time `json:"since"`
	Beat     time.Time `json:"beat"` // when the holder was last alive
	// Asked are the flags that choose the nodes of a restore. Only the same restore may go on with
	// nodes that it is finishing.
	Asked string `json:"asked,omitempty"`
	// Shared says that an orderer was started with the copy that all orderers share, and not with its own.
	Shared bool `json:"shared,omitempty"`
}

// String is a hold in an error.
func (h Hold) String() string {
	text := fmt.Sprintf("%s is held by %s %s since %s", h.Node, h.By, h.Key, h.Since.UTC().Format(time.RFC3339))
	if h.Workflow != "" {
		text += " (workflow " + h.Workflow + ")"
	}
	return text
}

// holdOf reads a StatefulSet's hold, nil if there is none. One that cannot be read is
// somebody's all the same.
func holdOf(set *appsv1.StatefulSet) *Hold {
	text, ok := set.Annotations[HeldAnnotation]
	if !ok {
		return nil
	}
	h := Hold{}
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		h = Hold{By: "something unreadable", Key: text}
	}
	h.Node, h.Running = set.Name, replicas(set) > 0
	return &h
}

// replicas that are wanted; Kubernetes' default is one.
func replicas(set *appsv1.StatefulSet) int32 {
	if set.Spec.Replicas == nil {
		return 1
	}
	return *set.Spec.Replicas
}

// Held lists the nodes of a namespace that are held, by name.
func Held(ctx context.Context, core kubernetes.Interface, namespace string) ([]Hold, error) {
	list, err := core.AppsV1().StatefulSets(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing StatefulSets: %w", err)
	}
	return holds(list.Items), nil
}

func holds(sets []appsv1.StatefulSet) []Hold {
	var all []Hold
	for i := range sets {
		if h := holdOf(&sets[i]); h != nil {
			all = append(all, *h)
		}
	}
	slices.SortFunc(all, func(a, b Hold) int { return cmp.Compare(a.Node, b.Node) })
	return all
}

func (k *Keeper) sets(ctx context.Context) ([]appsv1.StatefulSet, error) {
	var list *appsv1.StatefulSetList
	err := k.call(ctx, func(ctx context.Context) (err error) {
		list, err = k.Kube.AppsV1().StatefulSets(k.Namespace).List(ctx, metav1.ListOptions{})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing StatefulSets: %w", err)
	}
	return list.Items, nil
}

func (k *Keeper) set(ctx context.Context, name string) (*appsv1.StatefulSet, error) {
	var set *appsv1.StatefulSet
	err := k.call(ctx, func(ctx context.Context) (err error) {
		set, err = k.Kube.AppsV1().StatefulSets(k.Namespace).Get(ctx, name, metav1.GetOptions{})
		return err
	})
	if apierrors.IsNotFound(err) {
		return nil, exit.With(exit.WithHint(fmt.Errorf("statefulset/%s does not exist", name), `"pivt install" makes it`), exit.NotReady)
	}
	if err != nil {
		return nil, fmt.Errorf("looking at statefulset/%s: %w", name, err)
	}
	return set, nil
}

// edit is a change of a StatefulSet.
type edit struct {
	hold     *Hold // nil to take it away
	replicas int32
	restored string // RestoredAnnotation, if not empty
}

// change looks at a StatefulSet and does what decide makes of it: nothing if that is nil.
// Nobody can have changed it in between, because the patch names the version that was seen.
func (k *Keeper) change(ctx context.Context, name string, decide func(*appsv1.StatefulSet, *Hold) (*edit, error)) (*appsv1.StatefulSet, error) {
	for {
		set, err := k.set(ctx, name)
		if err != nil {
			return nil, err
		}
		e, err := decide(set, holdOf(set))
		if err != nil || e == nil {
			return set, err
		}
		after, err := k.patch(ctx, set, *e)
		switch {
		case err == nil:
			return after, nil
		case !apierrors.IsConflict(err):
			return nil, fmt.Errorf("changing statefulset/%s: %w", name, err)
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		}
	}
}

// patch writes hold and scale at once. An answer that got lost shows as a conflict.
func (k *Keeper) patch(ctx context.Context, set *appsv1.StatefulSet, e edit) (*appsv1.StatefulSet, error) {
	var value any
	if e.hold != nil {
		text, err := json.Marshal(e.hold)
		if err != nil {
			return nil, err
		}
		value = string(text)
	}
	annotations := map[string]any{HeldAnnotation: value}
	if e.restored != "" {
		annotations[RestoredAnnotation] = e.restored
	}
	body := map[string]any{"metadata": map[string]any{"resourceVersion": set.ResourceVersion, "annotations": annotations}}
	if e.replicas != replicas(set) {
		body["spec"] = map[string]any{"replicas": e.replicas}
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	var after *appsv1.StatefulSet
	err = k.call(ctx, func(ctx context.Context) (err error) {
		after, err = k.Kube.AppsV1().StatefulSets(k.Namespace).Patch(ctx, set.Name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: fieldManager})
		return err
	})
	return after, err
}
