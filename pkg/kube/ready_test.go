package kube_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/kube"
)

const (
	setsPath   = "apis/apps/v1/namespaces/fabric/statefulsets/"
	podsPath   = "api/v1/namespaces/fabric/pods/"
	eventsPath = "api/v1/namespaces/fabric/events/"
)

func set(name, status string) string {
	return `{metadata: {name: ` + name + `, namespace: fabric, generation: 1, creationTimestamp: "2026-01-01T00:00:00Z", labels: {app: story}},
 spec: {replicas: 1}, status: ` + status + `}`
}

const (
	setReady   = "{observedGeneration: 1, replicas: 1, readyReplicas: 1, updatedReplicas: 1, currentReplicas: 1, currentRevision: a, updateRevision: a}"
	setWaiting = "{observedGeneration: 1, replicas: 1, updatedReplicas: 1, currentReplicas: 1, currentRevision: a, updateRevision: a}"
	setRolling = "{observedGeneration: 1, replicas: 1, readyReplicas: 1, updatedReplicas: 0, currentReplicas: 1, currentRevision: a, updateRevision: b}"
	setUnseen  = "{}"
)

func pod(set, status string) string {
	return `{metadata: {name: ` + set + `-0, labels: {controller-revision-hash: a}, ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: ` + set + `, uid: u, controller: true}]}, status: ` + status + `}`
}

// lastState runs WaitReady until what it sees satisfies until, or it ends by itself.
func lastState(t *testing.T, c *kube.Client, until func(kube.State) bool) (kube.State, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	state, err := c.WaitReady(ctx, "app=story", func(s kube.State) {
		if until(s) {
			cancel()
		}
	})
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return state, err
}

func TestWaitReadyReasons(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		set    string
		pod    string
		event  string
		want   kube.Workload
	}{
		"Ready":   {"All replicas of the latest revision are ready.", setReady, "", "", kube.Workload{Name: "peer", Ready: true}},
		"Unseen":  {"Before the controller manager has looked, the old status says nothing.", setUnseen, "", "", kube.Workload{Name: "peer", Reason: "its change has not been seen by the controller manager yet"}},
		"Rolling": {"An old pod that is ready is not the wanted one.", setRolling, `{conditions: [{type: Ready, status: "True"}]}`, "", kube.Workload{Name: "peer", Reason: "its pod has not been made yet"}},
		"Uncounted": {
			"A pod that is ready is no missing pod, though the set's status is older.", setWaiting, `{phase: Running, conditions: [{type: Ready, status: "True"}]}`, "",
			kube.Workload{Name: "peer", Reason: "its pod is ready; the controller manager has not counted it yet"},
		},
		"MissingImage": {
			"The kubelet's own words tell which image is missing.", setWaiting,
			`{phase: Pending, containerStatuses: [{name: peer, state: {waiting: {reason: ErrImagePull, message: "no such host"}}}]}`, "",
			kube.Workload{Name: "peer", Reason: "container peer: ErrImagePull: no such host", Stuck: true},
		},
		"Crash": {
			"A crash is told with the container's last words.", setWaiting,
			`{phase: Running, containerStatuses: [{name: peer, restartCount: 3, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 2, reason: Error, message: "bad MSP"}}}]}`, "",
			kube.Workload{Name: "peer", Reason: "container peer: restarted 3 times, last ended with code 2: bad MSP", Stuck: true},
		},
		"OOM": {
			"Out of memory is a reason of its own.", setWaiting,
			`{phase: Running, containerStatuses: [{name: peer, state: {terminated: {exitCode: 137, reason: OOMKilled}}}]}`, "",
			kube.Workload{Name: "peer", Reason: "container peer: ended with code 137 (OOMKilled)", Stuck: true},
		},
		"Unschedulable": {
			"The scheduler's message says what the nodes lack.", setWaiting,
			`{phase: Pending, conditions: [{type: PodScheduled, status: "False", message: "0/1 nodes: insufficient memory"}]}`, "",
			kube.Workload{Name: "peer", Reason: "not scheduled: 0/1 nodes: insufficient memory", Stuck: true},
		},
		"Init": {
			"A failing init container is the cause, not the container that waits for it.", setWaiting,
			`{phase: Pending, initContainerStatuses: [{name: launcher, state: {terminated: {exitCode: 1}}}], containerStatuses: [{name: peer, state: {waiting: {reason: PodInitializing}}}]}`, "",
			kube.Workload{Name: "peer", Reason: "container launcher: ended with code 1", Stuck: true},
		},
		"Probing": {
			"A container that runs and is not ready is progress.", setWaiting,
			`{phase: Running, conditions: [{type: Ready, status: "False"}], containerStatuses: [{name: peer, state: {running: {}}}]}`, "",
			kube.Workload{Name: "peer", Reason: "container peer runs, not ready yet"},
		},
		"Evicted": {
			"An evicted pod says why.", setWaiting, `{phase: Failed, reason: Evicted, message: disk full}`, "",
			kube.Workload{Name: "peer", Reason: "Evicted: disk full", Stuck: true},
		},
		"Forbidden": {
			"When no pod can be made, only an event says why.", setWaiting, "",
			`{metadata: {name: e}, reason: FailedCreate, message: violates PodSecurity, involvedObject: {kind: StatefulSet, name: peer}}`,
			kube.Workload{Name: "peer", Reason: "violates PodSecurity", Stuck: true},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer(t)
			s.put(setsPath+"peer", set("peer", tc.set))
			if tc.pod != "" {
				s.put(podsPath+"peer-0", pod("peer", tc.pod))
			}
			if tc.event != "" {
				s.put(eventsPath+"e", tc.event)
			}
			got, err := lastState(t, s.client(t), func(kube.State) bool { return true })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]kube.Workload{tc.want}, got.Workloads); diff != "" {
				t.Errorf("%s\nworkloads: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestWaitReadyFollows(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.put(setsPath+"peer", set("peer", setWaiting))
	s.put(setsPath+"orderer", set("orderer", setReady))
	s.put(setsPath+"stranger", `{metadata: {name: stranger}, spec: {replicas: 1}}`)
	var counts []int
	state, err := s.client(t).WaitReady(t.Context(), "app=story", func(st kube.State) {
		counts = append(counts, st.Ready())
		s.put(setsPath+"peer", set("peer", setReady))
	})
	if err != nil || len(state.Workloads) != 2 {
		t.Fatalf("WaitReady = %v, %v; want both of ours and not the stranger", state, err)
	}
	if diff := cmp.Diff([]int{1, 2}, counts); diff != "" {
		t.Errorf("ready counts told: -want, +got:\n%s", diff)
	}
}

func TestWaitReadyOutlivesAbsence(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.put(setsPath+"peer", set("peer", setWaiting))
	troubled := false
	_, err := s.client(t).WaitReady(t.Context(), "app=story", func(st kube.State) {
		switch {
		case st.Trouble != "":
			troubled = true
			s.put(setsPath+"peer", set("peer", setReady))
			s.setDown(false)
		case !troubled:
			s.setDown(true)
		}
	})
	if err != nil || !troubled {
		t.Errorf("WaitReady over an absence of the API server = %v (told: %t)", err, troubled)
	}
}

func TestWaitReadyTimesOut(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.put(setsPath+"peer", set("peer", setWaiting))
	s.put(podsPath+"peer-0", pod("peer", `{phase: Pending, containerStatuses: [{name: peer, state: {waiting: {reason: ErrImagePull, message: "no such host"}}}]}`))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	state, err := s.client(t).WaitReady(ctx, "app=story", nil)
	if exit.CodeOf(err) != exit.TimedOut || !strings.Contains(err.Error(), "peer: container peer: ErrImagePull: no such host") || exit.HintOf(err) == "" {
		t.Errorf("WaitReady = %v (code %d); want a time-out that says why", err, exit.CodeOf(err))
	}
	if len(state.Workloads) != 1 {
		t.Errorf("the last state must come with the error, got %v", state)
	}
}

func TestWaitReadyForbidden(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.refuse["GET /apis/apps/v1/namespaces/fabric/statefulsets"] = 403
	_, err := s.client(t).WaitReady(t.Context(), "app=story", nil)
	if err == nil || !strings.Contains(err.Error(), "watching StatefulSets") {
		t.Errorf("WaitReady without the right = %v; waiting cannot cure that", err)
	}
}
