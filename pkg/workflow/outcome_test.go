package workflow

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"pivt.io/pivt/pkg/exit"
)

const oneTask = `apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: wf}
spec:
  entrypoint: main
  templates:
  - {name: main, dag: {tasks: [{name: join, template: join, arguments: {parameters: [{name: org, value: Karga}]}}]}}
  - name: join
    metadata: {annotations: {workflows.argoproj.io/title: "Join {{inputs.parameters.org}}"}}
    container: {image: i}
`

func TestPicture(t *testing.T) {
	t.Parallel()
	text := func(s string) *wfv1.AnyString { return wfv1.AnyStringPtr(s) }
	pods := func(name, node string, status corev1.PodStatus) map[string]*corev1.Pod {
		p := &corev1.Pod{Status: status}
		p.Name = name
		return map[string]*corev1.Pod{node: p}
	}
	zero := "0"
	cases := map[string]struct {
		reason string
		nodes  []wfv1.NodeStatus
		pods   map[string]*corev1.Pod
		want   Task
	}{
		"Planned": {
			reason: "All tasks are known from the beginning, with their titles filled in.",
			want:   Task{Phase: Waiting, ExitCode: -1},
		},
		"Locked": {
			reason: "A task that waits for a mutex says so.",
			nodes:  []wfv1.NodeStatus{{ID: "a", Name: "wf.join", Type: wfv1.NodeTypePod, Phase: wfv1.NodePending, Message: "Waiting for fabric/Mutex/hlf-common lock"}},
			want:   Task{Phase: Waiting, ExitCode: -1, Attempts: 1, Message: "Waiting for fabric/Mutex/hlf-common lock"},
		},
		"Stuck": {
			reason: "Why a pod does not start is the kubelet's to say.",
			nodes:  []wfv1.NodeStatus{{ID: "a", Name: "wf.join", Type: wfv1.NodeTypePod, Phase: wfv1.NodePending}},
			pods: pods("p", "wf.join", corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{
				Name: "main", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such host"}},
			}}}),
			want: Task{Phase: Waiting, ExitCode: -1, Attempts: 1, Pod: "p", Message: "container main: ErrImagePull: no such host"},
		},
		"PodFirst": {
			reason: "A pod may be seen before the controller has written its node.",
			pods: pods("p", "wf.join(1)", corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
				Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
			}}}),
			want: Task{Phase: Running, ExitCode: -1, Attempts: 2, Pod: "p"},
		},
		"BackingOff": {
			reason: "Between two tries the reason of the last one is what a person wants to know.",
			nodes: []wfv1.NodeStatus{
				{ID: "a", Name: "wf.join", Type: wfv1.NodeTypeRetry, Phase: wfv1.NodeRunning, Message: "Backoff for 5 seconds", Children: []string{"b"}},
				{ID: "b", Name: "wf.join(0)", Type: wfv1.NodeTypePod, Phase: wfv1.NodeFailed, Message: "main: Error (exit code 75): no leader"},
			},
			want: Task{Phase: Running, ExitCode: 75, Attempts: 1, Message: "will be tried again: no leader"},
		},
		"Lost": {
			reason: "A pod that went with its node had no exit code.",
			nodes:  []wfv1.NodeStatus{{ID: "a", Name: "wf.join", Type: wfv1.NodeTypePod, Phase: wfv1.NodeError, Message: "pod deleted"}},
			want:   Task{Phase: Failed, ExitCode: -1, Attempts: 1, Message: "pod deleted"},
		},
		"RawResult": {
			reason: "A result that is no list is better shown than lost.",
			nodes: []wfv1.NodeStatus{{
				ID: "a", Name: "wf.join", Type: wfv1.NodeTypePod, Phase: wfv1.NodeSucceeded,
				Outputs: &wfv1.Outputs{ExitCode: &zero, Parameters: []wfv1.Parameter{{Name: "result", Value: text("peer0 joined")}}},
			}},
			want: Task{Phase: Succeeded, Attempts: 1, Result: []string{"peer0 joined"}},
		},
		"Init": {
			reason: "What Argo says of its own containers is kept as it is.",
			nodes:  []wfv1.NodeStatus{{ID: "a", Name: "wf.join", Type: wfv1.NodeTypePod, Phase: wfv1.NodeError, Message: "init: Error (exit code 64): no space"}},
			want:   Task{Phase: Failed, ExitCode: -1, Attempts: 1, Message: "init: Error (exit code 64): no space"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wf, err := Decode([]byte(oneTask))
			if err != nil {
				t.Fatal(err)
			}
			nodes := wfv1.Nodes{}
			for _, n := range tc.nodes {
				nodes[n.ID] = n
			}
			tc.want.Name, tc.want.Title = "join", "Join Karga"
			if diff := cmp.Diff([]Task{tc.want}, picture(wf, nodes, tc.pods).Tasks); diff != "" {
				t.Errorf("%s\ntasks: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestReason(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		message string
		want    string
		code    int
	}{
		"Step":      {"main: Error (exit code 1): joining: denied", "joining: denied", 1},
		"Lines":     {"main: Error (exit code 75): no leader\nHint: wait\n", "no leader\nHint: wait", 75},
		"Silent":    {"main: Error (exit code 2)", "ended with code 2 and no reason", 2},
		"OOM":       {"main: OOMKilled (exit code 137)", "ended with code 137 and no reason", 137},
		"Old":       {"Error (exit code 1): denied", "denied", 1},
		"Other":     {"pod deleted", "pod deleted", -1},
		"Mentioned": {"orderer said: (exit code 7): x", "orderer said: (exit code 7): x", -1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, code := reason(wfv1.NodeStatus{Message: tc.message}); got != tc.want || code != tc.code {
				t.Errorf("reason(%q) = %q, %d; want %q, %d", tc.message, got, code, tc.want, tc.code)
			}
		})
	}
}

func TestNodesOf(t *testing.T) {
	t.Parallel()
	want := wfv1.Nodes{"a": {ID: "a", Name: "wf"}}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	wf := &wfv1.Workflow{}
	wf.Status.CompressedNodes = base64.StdEncoding.EncodeToString(packed.Bytes())
	got, err := nodesOf(wf)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("many nodes come compressed: %v; -want, +got:\n%s", err, diff)
	}
	for _, broken := range []string{"%", "AAAA"} {
		wf.Status.CompressedNodes = broken
		if _, err := nodesOf(wf); err == nil {
			t.Errorf("nodesOf(%q) = nil error", broken)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	failed := func(name, message string, code int) Task {
		return Task{Name: name, Phase: Failed, Message: message, ExitCode: code, Pod: "pod-" + name}
	}
	cases := map[string]struct {
		reason  string
		outcome Outcome
		want    string
		code    exit.Code
		hint    string
	}{
		"Succeeded": {"Success is no error.", Outcome{Phase: Succeeded}, "", exit.OK, ""},
		"Running":   {"A run that goes on has neither succeeded nor failed.", Outcome{Name: "w", Phase: Running}, "workflow w has not ended: it is running", exit.NotReady, ""},
		"Step": {
			"The step's words, and where its log is.",
			Outcome{Name: "w", Namespace: "n", Phase: Failed, Tasks: []Task{{Name: "probe", Phase: Succeeded}, failed("join", "denied", 1)}},
			"workflow w: join: denied", exit.Failed, "the step's log: kubectl -n n logs pod-join -c main",
		},
		"OwnHint": {
			"A hint of the step is better than ours.",
			Outcome{Name: "w", Phase: Failed, Tasks: []Task{failed("join", "denied\nHint:  renew it", 1)}},
			"workflow w: join: denied", exit.Failed, "renew it",
		},
		"Several": {
			"Many failures are counted, not listed.",
			Outcome{Name: "w", Namespace: "n", Phase: Failed, Tasks: []Task{failed("a", "x", 1), failed("b", "y", 1), failed("c", "", 1), failed("d", "z", 1), failed("e", "z", 1)}},
			"workflow w: a: x; b: y; c: it failed without a reason; and 2 more", exit.Failed, "the step's log: kubectl -n n logs pod-a -c main",
		},
		"TriesUsedUp": {
			"Time may still cure it, so a script may call again.",
			Outcome{Name: "w", Namespace: "n", Phase: Failed, Tasks: []Task{failed("a", "no leader", 75)}},
			"workflow w: a: no leader", exit.TimedOut, "the step's log: kubectl -n n logs pod-a -c main",
		},
		"Deadline": {
			"The workflow's own deadline is a time-out.",
			Outcome{Name: "w", Phase: Failed, Tasks: []Task{{Name: "a", Phase: Failed, Message: "Step exceeded its deadline", ExitCode: -1}}},
			"workflow w: a: Step exceeded its deadline", exit.TimedOut, "repeat the command; what is done will not be done again",
		},
		"Whole": {
			"A workflow that the controller refuses has a message and no tasks.",
			Outcome{Name: "w", Namespace: "n", Phase: Failed, Message: "invalid spec: templates.x"},
			"workflow w: invalid spec: templates.x", exit.Failed, "more: kubectl -n n describe workflow w",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := Explain(tc.outcome)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tc.want || exit.CodeOf(err) != tc.code || exit.HintOf(err) != tc.hint {
				t.Errorf("%s\nExplain = %q, code %d, hint %q\nwant      %q, code %d, hint %q", tc.reason, got, exit.CodeOf(err), exit.HintOf(err), tc.want, tc.code, tc.hint)
			}
		})
	}
}
