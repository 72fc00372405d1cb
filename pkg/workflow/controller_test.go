package workflow_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/pkg/client/clientset/versioned"
	argofake "github.com/argoproj/argo-workflows/v3/pkg/client/clientset/versioned/fake"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
)

const (
	namespace   = "fabric"
	requeueTime = 10 * time.Second // Argo's default
	podStart    = 2 * time.Second
)

// cluster is an API server with Argo's kinds in memory, and, once started, an Argo
// controller and a kubelet that behave: tasks are started when what they depend on is
// done, skipped when the probe does not name them, tried again on exit code 75.
type cluster struct {
	core *fake.Clientset
	argo *argofake.Clientset
	// run says how a pod ends.
	run func(task string, attempt int) end

	mu      sync.Mutex
	made    int
	down    bool
	swallow bool // the next create happens, but its answer is lost
}

// end is how a pod ends.
type end struct {
	after   time.Duration
	code    int32
	message string
	output  []string
}

func newCluster(run func(task string, attempt int) end) *cluster {
	c := &cluster{core: fake.NewClientset(), argo: argofake.NewSimpleClientset(), run: run}
	c.argo.PrependReactor("*", "*", c.absent)
	c.core.PrependReactor("*", "*", c.absent)
	c.argo.PrependReactor("create", "workflows", c.create)
	return c
}

func (c *cluster) Core() kubernetes.Interface          { return c.core }
func (c *cluster) Argo() versioned.Interface           { return c.argo }
func (c *cluster) ToRESTConfig() (*rest.Config, error) { return nil, errors.New("a fake has none") }

func (c *cluster) absent(clienttesting.Action) (bool, runtime.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return true, nil, apierrors.NewServiceUnavailable("the API server is away")
	}
	return false, nil, nil
}

func (c *cluster) setDown(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

// create gives names as the API server does.
func (c *cluster) create(action clienttesting.Action) (bool, runtime.Object, error) {
	wf := action.(clienttesting.CreateAction).GetObject().(*wfv1.Workflow).DeepCopy()
	c.mu.Lock()
	c.made++
	n, swallow := c.made, c.swallow
	c.swallow = false
	c.mu.Unlock()
	wf.Name = fmt.Sprintf("%s%05d", wf.GenerateName, n)
	wf.UID = types.UID(fmt.Sprintf("uid-%d", n))
	wf.Namespace = action.GetNamespace()
	wf.CreationTimestamp = metav1.Now()
	if err := c.argo.Tracker().Create(action.GetResource(), wf, wf.Namespace); err != nil {
		return true, nil, err
	}
	if swallow {
		return true, nil, apierrors.NewTimeoutError("the answer was lost", 0)
	}
	return true, wf, nil
}

func (c *cluster) workflows(t *testing.T) []wfv1.Workflow {
	t.Helper()
	list, err := c.argo.Tracker().List(wfv1.SchemeGroupVersion.WithResource("workflows"), wfv1.SchemeGroupVersion.WithKind("Workflow"), namespace)
	if err != nil {
		t.Fatal(err)
	}
	return list.(*wfv1.WorkflowList).Items
}

func (c *cluster) update(t *testing.T, wf *wfv1.Workflow) {
	t.Helper()
	if err := c.argo.Tracker().Update(wfv1.SchemeGroupVersion.WithResource("workflows"), wf, wf.Namespace); err != nil {
		t.Fatal(err)
	}
}

// start runs the controller until the test's context ends.
func (c *cluster) start(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		stop()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			for _, wf := range c.workflows(t) {
				if !wf.Status.Phase.Completed() {
					c.reconcile(t, wf.DeepCopy(), func(f func()) { wg.Go(f) })
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(requeueTime):
			}
		}
	})
}

// reconcile is one look of the controller at a workflow.
func (c *cluster) reconcile(t *testing.T, wf *wfv1.Workflow, spawn func(func())) {
	if wf.Status.Phase == wfv1.WorkflowUnknown {
		wf.Status.Phase, wf.Status.StartedAt, wf.Status.Nodes = wfv1.WorkflowRunning, metav1.Now(), wfv1.Nodes{}
	}
	c.takeOver(t, wf)
	unfinished, failed := 0, false
	for _, task := range wf.GetTemplateByName(wf.Spec.Entrypoint).DAG.Tasks {
		id := wf.NodeID(wf.Name + "." + task.Name)
		node, known := wf.Status.Nodes[id]
		switch {
		case known:
		case task.Depends != "" && !wf.Status.Nodes[wf.NodeID(wf.Name+"."+task.Depends)].Phase.Fulfilled(nil):
			unfinished++
			continue
		case task.Depends != "" && wf.Status.Nodes[wf.NodeID(wf.Name+"."+task.Depends)].Phase == wfv1.NodeFailed:
			node = wfv1.NodeStatus{ID: id, Name: wf.Name + "." + task.Name, Type: wfv1.NodeTypeSkipped, Phase: wfv1.NodeOmitted, Message: "omitted: depends condition not met"}
		case task.When != "" && !slices.Contains(output(wf, "probe"), quoted.FindStringSubmatch(task.When)[1]):
			node = wfv1.NodeStatus{ID: id, Name: wf.Name + "." + task.Name, Type: wfv1.NodeTypeSkipped, Phase: wfv1.NodeSkipped, Message: "when 'false' evaluated false"}
		default:
			node = wfv1.NodeStatus{ID: id, Name: wf.Name + "." + task.Name, Type: wfv1.NodeTypeRetry, Phase: wfv1.NodeRunning, StartedAt: metav1.Now()}
		}
		if node.Phase == wfv1.NodeRunning {
			node = c.attempt(t, wf, node, task.Name, spawn)
		}
		if !node.Fulfilled() {
			unfinished++
		}
		failed = failed || node.Phase == wfv1.NodeFailed
		wf.Status.Nodes[id] = node
	}
	if unfinished == 0 {
		wf.Status.Phase, wf.Status.FinishedAt = wfv1.WorkflowSucceeded, metav1.Now()
		if failed {
			wf.Status.Phase = wfv1.WorkflowFailed
		}
		wf.Labels["workflows.argoproj.io/completed"] = "true"
	}
	c.update(t, wf)
}

var quoted = regexp.MustCompile(`"([^"]+)"`)

// attempt starts a task's next pod, or ends the task with its last.
func (c *cluster) attempt(t *testing.T, wf *wfv1.Workflow, node wfv1.NodeStatus, task string, spawn func(func())) wfv1.NodeStatus {
	const limit = 3
	if n := len(node.Children); n > 0 {
		last := wf.Status.Nodes[node.Children[n-1]]
		switch {
		case !last.Fulfilled():
			return node
		case last.Phase == wfv1.NodeSucceeded:
			node.Phase, node.Outputs, node.FinishedAt = wfv1.NodeSucceeded, last.Outputs, metav1.Now()
			return node
		case *last.Outputs.ExitCode != "75":
			node.Phase, node.Message = wfv1.NodeFailed, "retryStrategy.expression evaluated to false"
			return node
		case n == limit:
			node.Phase, node.Message = wfv1.NodeFailed, "No more retries left"
			return node
		}
	}
	n := len(node.Children)
	name := fmt.Sprintf("%s(%d)", node.Name, n)
	child := wfv1.NodeStatus{ID: wf.NodeID(name), Name: name, Type: wfv1.NodeTypePod, Phase: wfv1.NodePending, StartedAt: metav1.Now()}
	wf.Status.Nodes[child.ID] = child
	node.Children = append(node.Children, child.ID)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: fmt.Sprintf("%s-%s-%d", wf.Name, task, n), Namespace: wf.Namespace,
		Labels:      map[string]string{"workflows.argoproj.io/workflow": wf.Name},
		Annotations: map[string]string{"workflows.argoproj.io/node-name": name},
	}, Status: corev1.PodStatus{Phase: corev1.PodPending}}
	spawn(func() { c.kubelet(t, pod, c.run(task, n)) })
	return node
}

// kubelet runs a pod.
func (c *cluster) kubelet(t *testing.T, pod *corev1.Pod, e end) {
	tracker, gvr := c.core.Tracker(), corev1.SchemeGroupVersion.WithResource("pods")
	save := func(save func() error) {
		if err := save(); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	}
	save(func() error { return tracker.Create(gvr, pod.DeepCopy(), pod.Namespace) })
	if !sleep(t.Context(), podStart) {
		return
	}
	pod.Status.Phase = corev1.PodRunning
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	save(func() error { return tracker.Update(gvr, pod.DeepCopy(), pod.Namespace) })
	if !sleep(t.Context(), e.after) {
		return
	}
	pod.Status.Phase = corev1.PodSucceeded
	if e.code != 0 {
		pod.Status.Phase = corev1.PodFailed
	}
	data, _ := json.Marshal(e.output)
	pod.Annotations["output"] = string(data)
	pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: e.code, Reason: "Error", Message: e.message}}
	save(func() error { return tracker.Update(gvr, pod.DeepCopy(), pod.Namespace) })
}

// takeOver copies the pods' ends to their nodes.
func (c *cluster) takeOver(t *testing.T, wf *wfv1.Workflow) {
	list, err := c.core.Tracker().List(corev1.SchemeGroupVersion.WithResource("pods"), corev1.SchemeGroupVersion.WithKind("Pod"), wf.Namespace)
	if err != nil {
		t.Error(err)
		return
	}
	for _, pod := range list.(*corev1.PodList).Items {
		node, ok := wf.Status.Nodes[wf.NodeID(pod.Annotations["workflows.argoproj.io/node-name"])]
		if !ok || node.Fulfilled() {
			continue
		}
		switch pod.Status.Phase {
		case corev1.PodRunning:
			node.Phase = wfv1.NodeRunning
		case corev1.PodSucceeded, corev1.PodFailed:
			end := pod.Status.ContainerStatuses[0].State.Terminated
			code := strconv.Itoa(int(end.ExitCode))
			node.Phase, node.FinishedAt = wfv1.NodeSucceeded, metav1.Now()
			if end.ExitCode != 0 {
				node.Phase, node.Message = wfv1.NodeFailed, fmt.Sprintf("main: %s (exit code %s): %s", end.Reason, code, end.Message)
			}
			name := "result"
			if strings.Contains(node.Name, ".probe") {
				name = "todo"
			}
			value := wfv1.AnyString(pod.Annotations["output"])
			node.Outputs = &wfv1.Outputs{ExitCode: &code, Parameters: []wfv1.Parameter{{Name: name, Value: &value}}}
		case corev1.PodPending, corev1.PodUnknown:
		}
		wf.Status.Nodes[node.ID] = node
	}
}

// output is what a task left in its output parameter.
func output(wf *wfv1.Workflow, task string) []string {
	node := wf.Status.Nodes[wf.NodeID(wf.Name+"."+task)]
	if node.Outputs == nil {
		return nil
	}
	var list []string
	_ = json.Unmarshal([]byte(node.Outputs.Parameters[0].Value.String()), &list)
	return list
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
