package kube_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/kube"
)

// TestStuck chooses those a person has to look after.
func TestStuck(t *testing.T) {
	t.Parallel()
	waiting := func(reason string) corev1.PodStatus {
		return corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{
			Name: "chaincode", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}}}
	}
	pods := map[string]metav1.Object{}
	for name, status := range map[string]corev1.PodStatus{
		"z-pulling":  waiting("ImagePullBackOff"),
		"a-evicted":  {Phase: corev1.PodFailed, Reason: "Evicted"},
		"b-starting": waiting("ContainerCreating"),
		"c-running":  {Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	} {
		pods[name] = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pivt.io/node": "of-" + name}}, Status: status}
	}
	pods["no-pod"] = &corev1.Secret{}
	want := []kube.StuckPod{
		{Name: "a-evicted", Labels: map[string]string{"pivt.io/node": "of-a-evicted"}, Reason: "Evicted"},
		{Name: "z-pulling", Labels: map[string]string{"pivt.io/node": "of-z-pulling"}, Reason: "container chaincode: ImagePullBackOff"},
	}
	if d := cmp.Diff(want, kube.Stuck(pods)); d != "" {
		t.Errorf("stuck: -want, +got:\n%s", d)
	}
}
