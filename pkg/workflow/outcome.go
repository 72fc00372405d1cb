package workflow

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"pivt.io/pivt/pkg/kube"
)

// The output parameters of our steps.
const (
	outputTodo   = "todo"
	outputResult = "result"
)

// picture lays Argo's nodes and the pods over the tasks of the chart. It is a pure function
// of what was seen; pods are by node name.
func picture(wf *wfv1.Workflow, nodes wfv1.Nodes, pods map[string]*corev1.Pod) Outcome {
	o := Outcome{
		Name: wf.Name, Namespace: wf.Namespace,
		Phase: workflowPhase(wf.Status.Phase), Message: wf.Status.Message,
		Started: wf.Status.StartedAt.Time, Finished: wf.Status.FinishedAt.Time,
	}
	byName := map[string]wfv1.NodeStatus{}
	for _, n := range nodes {
		byName[n.Name] = n
		if n.Type == wfv1.NodeTypePod {
			o.Pods++
		}
	}
	for _, t := range planned(wf) {
		l := look(t, wf, nodes, byName, pods)
		o.Tasks = append(o.Tasks, l.task)
		if todo, ok := l.output(outputTodo); ok {
			o.Todo = todo
		}
	}
	return o
}

func workflowPhase(p wfv1.WorkflowPhase) Phase {
	switch p {
	case wfv1.WorkflowUnknown, wfv1.WorkflowPending:
		return Waiting
	case wfv1.WorkflowRunning:
		return Running
	case wfv1.WorkflowSucceeded:
		return Succeeded
	case wfv1.WorkflowFailed, wfv1.WorkflowError:
		return Failed
	}
	return Running // a phase of a later Argo that is not an end
}

// plan is a task before anything has run.
type plan struct {
	name, title, node string
}

// planned lists the tasks of the entrypoint, with their titles.
func planned(wf *wfv1.Workflow) []plan {
	titles := map[string]string{}
	var entry *wfv1.Template
	for i, t := range wf.Spec.Templates {
		titles[t.Name] = t.Metadata.Annotations[annTitle]
		if t.Annotations[annTitle] != "" {
			titles[t.Name] = t.Annotations[annTitle]
		}
		if t.Name == wf.Spec.Entrypoint {
			entry = &wf.Spec.Templates[i]
		}
	}
	switch {
	case entry == nil:
		return nil
	case entry.DAG == nil: // one task, which is the whole
		return []plan{{entry.Name, titles[entry.Name], wf.Name}}
	}
	plans := make([]plan, 0, len(entry.DAG.Tasks))
	for _, t := range entry.DAG.Tasks {
		plans = append(plans, plan{t.Name, fill(titles[t.Template], t.Arguments.Parameters), wf.Name + "." + t.Name})
	}
	return plans
}

// fill puts a task's arguments into its template's title.
func fill(title string, params []wfv1.Parameter) string {
	for _, p := range params {
		if p.Value != nil {
			title = strings.ReplaceAll(title, "{{inputs.parameters."+p.Name+"}}", p.Value.String())
		}
	}
	if strings.Contains(title, "{{") { // something only the controller can fill in
		return ""
	}
	return title
}

// sight is a task with the node that its outputs are read from.
type sight struct {
	task    Task
	outputs []*wfv1.Outputs
}

// look joins what is known of one task.
func look(p plan, wf *wfv1.Workflow, nodes wfv1.Nodes, byName map[string]wfv1.NodeStatus, pods map[string]*corev1.Pod) sight {
	s := sight{task: Task{Name: p.name, Title: p.title, Phase: Waiting, ExitCode: -1}}
	node, known := byName[p.node]
	attempts := []wfv1.NodeStatus{}
	switch {
	case known && node.Type == wfv1.NodeTypeRetry:
		for _, id := range node.Children {
			if child, ok := nodes[id]; ok && strings.HasPrefix(child.Name, p.node+"(") {
				attempts = append(attempts, child)
			}
		}
	case known && node.Type == wfv1.NodeTypePod:
		attempts = append(attempts, node)
	}
	s.task.Attempts = len(attempts)
	if known {
		s.task.Phase, s.task.Message = nodePhase(node.Phase), node.Message
		s.task.Started, s.task.Finished = node.StartedAt.Time, node.FinishedAt.Time
		s.outputs = append(s.outputs, node.Outputs)
	}
	if n := len(attempts); n > 0 {
		last := attempts[n-1]
		s.outputs = append(s.outputs, last.Outputs)
		s.lookAtAttempt(last)
	}
	if s.task.Phase == Skipped || s.task.Phase == Omitted {
		s.task.Message = "" // Argo repeats the condition there
	}
	if !s.task.Phase.Finished() {
		s.lookAtPod(p.node, pods)
	} else if pod, _ := lastPod(p.node, pods); pod != nil {
		s.task.Pod = pod.Name
	}
	s.task.Result, _ = s.output(outputResult)
	return s
}

// lookAtAttempt takes over what only the last attempt's node knows.
func (s *sight) lookAtAttempt(last wfv1.NodeStatus) {
	message, code := reason(last)
	s.task.ExitCode = code
	switch {
	case s.task.Phase == Failed && message != "":
		s.task.Message = message
	case s.task.Phase == Running && !last.Fulfilled():
		s.task.Phase, s.task.Message = nodePhase(last.Phase), last.Message
		if s.task.Phase == Waiting && s.task.Message == "" {
			s.task.Message = starting
		}
	case s.task.Phase == Running && last.Phase.FailedOrError():
		s.task.Message = "will be tried again: " + message
	}
}

// lookAtPod is ahead of the controller, which sees a pod's change up to ten seconds later.
func (s *sight) lookAtPod(node string, pods map[string]*corev1.Pod) {
	pod, attempt := lastPod(node, pods)
	if pod == nil || attempt < s.task.Attempts { // the last attempt's pod has not been seen yet
		return
	}
	s.task.Pod, s.task.Attempts = pod.Name, attempt
	main := mainStatus(pod)
	switch {
	case main != nil && main.State.Terminated != nil && main.State.Terminated.ExitCode == 0:
		s.task.Phase, s.task.Message = Running, "done; the controller has not seen it yet"
	case main != nil && main.State.Terminated != nil:
		s.task.Phase = Running
		s.task.ExitCode = int(main.State.Terminated.ExitCode)
		if text := strings.TrimSpace(main.State.Terminated.Message); text != "" {
			s.task.Message = text
		}
	case main != nil && main.State.Running != nil:
		s.task.Phase, s.task.Message = Running, ""
	default:
		s.task.Phase, s.task.Message = Waiting, starting
		if reason, stuck := kube.PodReason(pod); stuck {
			s.task.Message = reason
		}
	}
}

func mainStatus(pod *corev1.Pod) *corev1.ContainerStatus {
	for i, c := range pod.Status.ContainerStatuses {
		if c.Name == "main" {
			return &pod.Status.ContainerStatuses[i]
		}
	}
	return nil
}

// starting is what there is to say of a pod that is on its way.
const starting = "its pod is starting"

// lastPod is the pod of a task's last attempt, and which attempt that is, counted from one:
// the pod of node "wf.task" itself, or of the highest "wf.task(n)".
func lastPod(node string, pods map[string]*corev1.Pod) (last *corev1.Pod, attempt int) {
	if pod := pods[node]; pod != nil {
		return pod, 1
	}
	for name, pod := range pods {
		rest, ok := strings.CutPrefix(name, node+"(")
		if !ok {
			continue
		}
		if n, err := strconv.Atoi(strings.TrimSuffix(rest, ")")); err == nil && n+1 > attempt {
			last, attempt = pod, n+1
		}
	}
	return last, attempt
}

func nodePhase(p wfv1.NodePhase) Phase {
	switch p {
	case wfv1.NodePending, "":
		return Waiting
	case wfv1.NodeRunning:
		return Running
	case wfv1.NodeSucceeded:
		return Succeeded
	case wfv1.NodeSkipped:
		return Skipped
	case wfv1.NodeOmitted:
		return Omitted
	case wfv1.NodeFailed, wfv1.NodeError:
		return Failed
	}
	return Running
}

// output reads an output parameter that holds a JSON list of strings.
func (s sight) output(name string) ([]string, bool) {
	for _, outputs := range s.outputs {
		if outputs == nil {
			continue
		}
		for _, p := range outputs.Parameters {
			if p.Name != name || p.Value == nil {
				continue
			}
			var list []string
			if err := json.Unmarshal([]byte(p.Value.String()), &list); err != nil {
				list = []string{p.Value.String()} // better shown raw than lost
			}
			return list, true
		}
	}
	return nil, false
}

// ended is how Argo begins a failure's message: "main: Error (exit code 1): reason".
var ended = regexp.MustCompile(`(?s)^(?:main: )?\w* ?\(exit code (\d+)\)(?:: (.*))?$`)

// reason takes the step's own words and exit code out of a failed node.
func reason(n wfv1.NodeStatus) (message string, code int) {
	message, code = strings.TrimSpace(n.Message), -1
	if n.Outputs != nil && n.Outputs.ExitCode != nil {
		if c, err := strconv.Atoi(*n.Outputs.ExitCode); err == nil {
			code = c
		}
	}
	m := ended.FindStringSubmatch(message)
	if m == nil {
		return message, code
	}
	if c, err := strconv.Atoi(m[1]); err == nil {
		code = c
	}
	if text := strings.TrimSpace(m[2]); text != "" {
		return text, code
	}
	return fmt.Sprintf("ended with code %d and no reason", code), code
}

// nodesOf unpacks the nodes of a workflow; Argo compresses them when they are many.
func nodesOf(wf *wfv1.Workflow) (wfv1.Nodes, error) {
	if len(wf.Status.Nodes) > 0 || wf.Status.CompressedNodes == "" {
		return wf.Status.Nodes, nil
	}
	packed, err := base64.StdEncoding.DecodeString(wf.Status.CompressedNodes)
	if err != nil {
		return nil, fmt.Errorf("unpacking the nodes of workflow %s: %w", wf.Name, err)
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpacking the nodes of workflow %s: %w", wf.Name, err)
	}
	const limit = 64 << 20 // Argo keeps the whole object under a megabyte, compressed
	data, err := io.ReadAll(io.LimitReader(r, limit))
	if err != nil {
		return nil, fmt.Errorf("unpacking the nodes of workflow %s: %w", wf.Name, err)
	}
	var nodes wfv1.Nodes
	if err := json.Unmarshal(data, &nodes); err != nil {
		return nil, fmt.Errorf("unpacking the nodes of workflow %s: %w", wf.Name, err)
	}
	return nodes, nil
}
