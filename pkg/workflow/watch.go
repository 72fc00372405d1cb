package workflow

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/kube"
)

// ErrNoController means that no controller has looked at the workflow.
var ErrNoController = errors.New("no Argo controller takes the workflow")

// ErrDeleted means that someone deleted the workflow while it was watched.
var ErrDeleted = errors.New("the workflow was deleted")

const (
	noteAfter   = 20 * time.Second // a controller takes a new workflow within a second or two
	giveUpAfter = 90 * time.Second // one that restarts waits for its predecessor's lease first
	silentAfter = 90 * time.Second // the longest pause between tries is a minute
	lookEvery   = time.Second
)

const noControllerHint = `is Argo's workflow-controller running, and does it watch this namespace? "kubectl get pods -A -l app=workflow-controller" shows it; the workflow stays submitted`

// Watch follows a run to its end and calls tell with each change of a task, and with news of the
// whole. It returns the outcome as soon as the workflow has completed, well or not (Explain says
// which); its error is about watching only. It outlives the API server's absences. When ctx
// ends, the workflow goes on and the outcome is what was last seen.
func Watch(ctx context.Context, c Cluster, run *Run, tell func(Event)) (Outcome, error) {
	argo, err := argoOf(c)
	if err != nil {
		return Outcome{}, err
	}
	if tell == nil {
		tell = func(Event) {}
	}
	workflows := argo.ArgoprojV1alpha1().Workflows(run.Namespace)
	w := &watcher{run: run, tell: tell, changed: make(chan struct{}, 1), began: time.Now(), pods: map[string]*corev1.Pod{}, told: map[string]Task{}}

	inner, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	failed := make(chan error, 1)
	wg.Go(func() {
		err := kube.Follow(inner, kube.Source{
			Field: "metadata.name=" + run.Name,
			List:  func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return workflows.List(ctx, o) },
			Watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return workflows.Watch(ctx, o)
			},
		}, kube.Follower{Update: w.sawWorkflow, Trouble: w.trouble})
		if inner.Err() == nil {
			failed <- err
		}
	})
	wg.Go(func() { // a nicety: without the right to see pods, Argo's own pace must do
		_ = kube.Follow(inner, kube.Pods(c.Core(), run.Namespace, labelWorkflow+"="+run.Name), kube.Follower{Update: w.sawPods})
	})

	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return w.last(), w.interrupted(ctx)
		case err := <-failed:
			return w.last(), fmt.Errorf("watching workflow %s: %w", run.Name, err)
		case <-w.changed:
		case <-tick.C:
		}
		if done, err := w.look(); done || err != nil {
			return w.last(), err
		}
	}
}

// watcher holds what the two watches saw, and what was told of it.
type watcher struct {
	run     *Run
	tell    func(Event)
	changed chan struct{}
	began   time.Time

	mu       sync.Mutex
	wf       *wfv1.Workflow
	deleted  bool
	touched  time.Time              // when the workflow last changed
	pods     map[string]*corev1.Pod // by node name; pods stay when they are cleaned up
	troubles error
	news     bool // trouble changed

	// only look uses these
	outcome Outcome
	told    map[string]Task
	noted   string
}

func (w *watcher) signal() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *watcher) sawWorkflow(objects map[string]metav1.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wf, ok := objects[w.run.Name].(*wfv1.Workflow)
	if !ok || wf.UID != w.run.UID {
		w.deleted = true
	} else {
		w.wf, w.touched = wf, time.Now()
	}
	w.signal()
}

func (w *watcher) sawPods(objects map[string]metav1.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range objects {
		if pod, ok := o.(*corev1.Pod); ok && pod.Annotations[annNodeName] != "" {
			w.pods[pod.Annotations[annNodeName]] = pod
		}
	}
	w.signal()
}

func (w *watcher) trouble(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.troubles, w.news = err, true
	w.signal()
}

func (w *watcher) last() Outcome {
	if w.outcome.Name == "" {
		return Outcome{Name: w.run.Name, Namespace: w.run.Namespace, Phase: Waiting}
	}
	return w.outcome
}

// look tells what changed since the last look and reports whether the run is over.
func (w *watcher) look() (done bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.news {
		w.news = false
		switch {
		case w.troubles != nil:
			w.note("the API server does not answer, trying again: " + firstLine(w.troubles.Error()))
		default:
			w.note("the API server answers again")
		}
	}
	if w.deleted {
		return false, fmt.Errorf("workflow %s: %w", w.run.Name, ErrDeleted)
	}
	if w.wf == nil {
		return false, nil
	}
	if w.wf.Status.OffloadNodeStatusVersion != "" {
		return w.lookWithoutNodes()
	}
	nodes, err := nodesOf(w.wf)
	if err != nil {
		return false, err
	}
	w.outcome = picture(w.wf, nodes, w.pods)
	for i, t := range w.outcome.Tasks {
		if old, ok := w.told[t.Name]; ok && !worthTelling(old, t) || !ok && t.Phase == Waiting && t.Message == "" {
			continue
		}
		w.told[t.Name] = t
		w.tell(Event{Task: &w.outcome.Tasks[i], Done: w.outcome.done(), Total: len(w.outcome.Tasks)})
	}
	if w.wf.Status.Phase.Completed() {
		return true, nil
	}
	return false, w.silence()
}

// lookWithoutNodes is for controllers that keep the nodes in a database, out of our reach.
func (w *watcher) lookWithoutNodes() (bool, error) {
	w.outcome = picture(w.wf, nil, w.pods)
	w.note("this Argo keeps the state of tasks in a database; only their pods can be followed")
	return w.wf.Status.Phase.Completed(), nil
}

func worthTelling(old, now Task) bool {
	return old.Phase != now.Phase || old.Message != now.Message || old.Attempts != now.Attempts
}

// note tells news of the whole, once.
func (w *watcher) note(text string) {
	if w.noted == text {
		return
	}
	w.noted = text
	w.tell(Event{Note: text, Done: w.outcome.done(), Total: len(w.outcome.Tasks)})
}

// silence notices a controller that does nothing.
func (w *watcher) silence() error {
	if w.wf.Status.Phase == wfv1.WorkflowUnknown {
		waited := time.Since(w.began)
		switch {
		case waited > giveUpAfter && w.troubles == nil:
			return exit.WithHint(exit.With(fmt.Errorf("workflow %s: %w: submitted %s ago, not started", w.run.Name, ErrNoController, waited.Round(time.Second)), exit.NotReady), noControllerHint)
		case waited > noteAfter:
			w.note(ErrNoController.Error() + "; " + noControllerHint)
		}
		return nil
	}
	if time.Since(w.touched) < silentAfter {
		return nil
	}
	for _, pod := range w.pods {
		if pod.Status.Phase == corev1.PodRunning || pod.Status.Phase == corev1.PodPending {
			return nil // a pod at work is a good reason for silence
		}
	}
	w.note(fmt.Sprintf("the Argo controller has not touched the workflow since %s", w.touched.Format(time.TimeOnly)))
	return nil
}

func (w *watcher) interrupted(ctx context.Context) error {
	var waiting []string
	for _, t := range w.outcome.Tasks {
		if t.Phase == Running {
			waiting = append(waiting, t.Name)
		}
	}
	err := fmt.Errorf("waiting for workflow %s%s: %w", w.run.Name, inBrackets(waiting), context.Cause(ctx))
	return exit.WithHint(err, fmt.Sprintf("the workflow goes on; repeat the command to follow it again, or see it with: kubectl -n %s get workflow %s", w.run.Namespace, w.run.Name))
}
