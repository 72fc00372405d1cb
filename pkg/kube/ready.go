package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/few"
)

// Workload is one StatefulSet on its way to being ready.
type Workload struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
	// Reason says why it is not ready, in the kubelet's and the scheduler's words.
	Reason string `json:"reason,omitempty"`
	// Stuck tells a reason that seldom cures itself (no such image, crash) from progress.
	Stuck bool `json:"stuck,omitempty"`
}

// State is what WaitReady sees.
type State struct {
	Workloads []Workload `json:"workloads"` // sorted by name
	// Trouble says why State may be old: the API server does not answer.
	Trouble string `json:"trouble,omitempty"`
}

// Ready counts the workloads that are ready.
func (s State) Ready() int {
	n := 0
	for _, w := range s.Workloads {
		if w.Ready {
			n++
		}
	}
	return n
}

// Done reports whether there are workloads and all of them are ready.
func (s State) Done() bool { return len(s.Workloads) > 0 && s.Ready() == len(s.Workloads) }

const lookEvery = 2 * time.Second

// WaitReady waits until every StatefulSet that the label selector matches runs the
// latest version of its pods, ready. It calls progress with every change of what it sees, and
// returns the last state. Time is up when ctx says so: nothing else is fatal, because images get
// pushed and nodes join; but reasons that seldom cure themselves are marked in the state.
func (c *Client) WaitReady(ctx context.Context, selector string, progress func(State)) (State, error) {
	inner, stop := context.WithCancel(ctx)
	defer stop()
	w := &readiness{client: c, sets: map[string]*appsv1.StatefulSet{}, changed: make(chan struct{}, 1), events: map[string]string{}}
	failed := make(chan error, 2)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for _, src := range []struct {
		what string
		Source
		update func(map[string]metav1.Object)
	}{
		{"StatefulSets", c.statefulSets(selector), w.updateSets},
		{"Pods", Pods(c.core, c.namespace, ""), w.updatePods}, // the set's own selector decides, and it may have fewer labels
	} {
		wg.Go(func() {
			err := Follow(inner, src.Source, Follower{Update: src.update, Trouble: w.trouble})
			if inner.Err() == nil {
				failed <- fmt.Errorf("watching %s: %w", src.what, err)
			}
		})
	}

	last := ""
	var state State
	tick := time.NewTicker(lookEvery) // why a pod cannot be made is an event, and nobody watches those
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return state, notReady(ctx, selector, state)
		case err := <-failed:
			return state, err
		case <-w.changed:
		case <-tick.C:
		}
		var complete bool
		state, complete = w.state(inner)
		if !complete {
			continue
		}
		if text := fmt.Sprint(state); text != last && progress != nil {
			last = text
			progress(state)
		}
		if state.Done() {
			return state, nil
		}
	}
}

func notReady(ctx context.Context, selector string, s State) error {
	var reasons []string
	for _, w := range s.Workloads {
		if !w.Ready {
			reasons = append(reasons, w.Name+": "+w.Reason)
		}
	}
	var err error
	switch {
	case len(s.Workloads) == 0:
		err = fmt.Errorf("waiting for StatefulSets with labels %s: there are none: %w", selector, context.Cause(ctx))
	default:
		err = fmt.Errorf("waiting for %d of %d StatefulSets (%s): %w", len(s.Workloads)-s.Ready(), len(s.Workloads), few.Sentences(reasons, 3), context.Cause(ctx))
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = exit.WithHint(exit.With(err, exit.TimedOut), fmt.Sprintf(`"kubectl describe pods -l %s" shows more; repeat the command when the cause is cured`, selector))
	}
	return err
}

func (c *Client) statefulSets(selector string) Source {
	sets := c.core.AppsV1().StatefulSets(c.namespace)
	return Source{
		Selector: selector,
		List:     func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return sets.List(ctx, o) },
		Watch:    func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) { return sets.Watch(ctx, o) },
	}
}

// readiness joins what the two watches see.
type readiness struct {
	client  *Client
	changed chan struct{}

	mu       sync.Mutex
	sets     map[string]*appsv1.StatefulSet
	pods     map[string][]*corev1.Pod // by StatefulSet
	seen     [2]bool                  // sets, pods
	troubles error
	events   map[string]string // StatefulSet to its last FailedCreate, asked for once per generation
}

func (w *readiness) signal() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *readiness) trouble(err error) {
	w.mu.Lock()
	w.troubles = err
	w.mu.Unlock()
	w.signal()
}

func (w *readiness) updateSets(objects map[string]metav1.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.sets)
	for name, o := range objects {
		if set, ok := o.(*appsv1.StatefulSet); ok {
			w.sets[name] = set
		}
	}
	w.seen[0] = true
	w.signal()
}

func (w *readiness) updatePods(objects map[string]metav1.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pods = map[string][]*corev1.Pod{}
	for _, o := range objects {
		pod, ok := o.(*corev1.Pod)
		owner := metav1.GetControllerOf(o)
		if ok && owner != nil && owner.Kind == "StatefulSet" {
			w.pods[owner.Name] = append(w.pods[owner.Name], pod)
		}
	}
	for _, pods := range w.pods {
		slices.SortFunc(pods, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	}
	w.seen[1] = true
	w.signal()
}

// state is the picture now; complete says whether both watches have answered.
func (w *readiness) state(ctx context.Context) (_ State, complete bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var s State
	if w.troubles != nil {
		s.Trouble = w.troubles.Error()
	}
	for _, set := range w.sets {
		s.Workloads = append(s.Workloads, w.workload(ctx, set))
	}
	slices.SortFunc(s.Workloads, func(a, b Workload) int { return strings.Compare(a.Name, b.Name) })
	return s, w.seen[0] && w.seen[1] || s.Trouble != ""
}

func (w *readiness) workload(ctx context.Context, set *appsv1.StatefulSet) Workload {
	wl := Workload{Name: set.Name}
	want := int32(1)
	if set.Spec.Replicas != nil {
		want = *set.Spec.Replicas
	}
	st := set.Status
	switch {
	case st.ObservedGeneration < set.Generation:
		wl.Reason = "its change has not been seen by the controller manager yet"
	case st.UpdatedReplicas < want || st.ReadyReplicas < want || st.UpdateRevision != st.CurrentRevision && st.CurrentReplicas > 0:
		wl.Reason, wl.Stuck = podsReason(w.pods[set.Name])
	default:
		wl.Ready = true
		return wl
	}
	if wl.Reason != "" {
		return wl
	}
	wanted := func(p *corev1.Pod) bool { return p.Labels[appsv1.StatefulSetRevisionLabel] == st.UpdateRevision }
	if text := w.failedCreate(ctx, set); text != "" {
		wl.Reason, wl.Stuck = text, true
	} else if slices.ContainsFunc(w.pods[set.Name], wanted) {
		wl.Reason = "its pod is ready; the controller manager has not counted it yet"
	} else {
		wl.Reason = "its pod has not been made yet"
	}
	return wl
}

// failedCreate asks for the event that says why a StatefulSet's pod cannot be made: Pod
// Security, a quota, a webhook. Nothing else tells.
func (w *readiness) failedCreate(ctx context.Context, set *appsv1.StatefulSet) string {
	if len(w.pods[set.Name]) > 0 || time.Since(set.CreationTimestamp.Time) < time.Second {
		return ""
	}
	if text, ok := w.events[set.Name]; ok && text != "" {
		return text
	}
	events, err := w.client.core.CoreV1().Events(set.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "involvedObject.kind=StatefulSet,involvedObject.name=" + set.Name + ",reason=FailedCreate",
	})
	if err != nil { // only a nicety; users may lack the right
		return ""
	}
	for _, e := range events.Items {
		w.events[set.Name] = e.Message
	}
	return w.events[set.Name]
}
