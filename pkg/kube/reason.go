package kube

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// Pods is the Source of a namespace's pods.
func Pods(core kubernetes.Interface, namespace, selector string) Source {
	pods := core.CoreV1().Pods(namespace)
	return Source{
		Selector: selector,
		List:     func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return pods.List(ctx, o) },
		Watch:    func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) { return pods.Watch(ctx, o) },
	}
}

// podsReason is the first pod's reason not to be ready.
func podsReason(pods []*corev1.Pod) (reason string, stuck bool) {
	for _, p := range pods {
		if reason, stuck := PodReason(p); reason != "" {
			return reason, stuck
		}
	}
	return "", false
}

// PodReason says why a pod is not ready, "" if it is. Stuck is set for reasons that seldom
// cure themselves.
func PodReason(p *corev1.Pod) (reason string, stuck bool) {
	if p.DeletionTimestamp != nil {
		return "its old pod is stopping", false
	}
	if p.Status.Phase == corev1.PodFailed && p.Status.Reason != "" { // evicted, or refused by the kubelet
		return sentence(p.Status.Reason, p.Status.Message), true
	}
	containers := append(append([]corev1.ContainerStatus{}, p.Status.InitContainerStatuses...), p.Status.ContainerStatuses...)
	for _, c := range containers {
		if reason := containerReason(c); reason != "" {
			return reason, true
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			if c.Type == corev1.PodReady {
				return "", false
			}
			continue
		}
		if c.Type == corev1.PodScheduled && c.Message != "" {
			return "not scheduled: " + c.Message, true
		}
	}
	for _, c := range containers {
		switch {
		case c.State.Terminated != nil && c.State.Terminated.ExitCode == 0, c.Ready:
		case c.State.Waiting != nil && c.State.Waiting.Reason == "PodInitializing":
		case c.State.Running != nil:
			return fmt.Sprintf("container %s runs, not ready yet", c.Name), false
		case c.State.Waiting != nil:
			return fmt.Sprintf("container %s: %s", c.Name, sentence(c.State.Waiting.Reason, c.State.Waiting.Message)), false
		}
	}
	return "its pod is starting", false
}

// containerReason is why a container does not run and will hardly do so by itself.
func containerReason(c corev1.ContainerStatus) string {
	if w := c.State.Waiting; w != nil {
		switch w.Reason {
		case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable",
			"CreateContainerConfigError", "CreateContainerError", "RunContainerError":
			return fmt.Sprintf("container %s: %s", c.Name, sentence(w.Reason, w.Message))
		case "CrashLoopBackOff":
			return fmt.Sprintf("container %s: %s", c.Name, lastEnd(c))
		}
	}
	if t := c.State.Terminated; t != nil && t.ExitCode != 0 {
		return fmt.Sprintf("container %s: %s", c.Name, end(*t))
	}
	return ""
}

func lastEnd(c corev1.ContainerStatus) string {
	text := fmt.Sprintf("restarted %d times", c.RestartCount)
	if t := c.LastTerminationState.Terminated; t != nil {
		text += ", last " + end(*t)
	}
	return text
}

func end(t corev1.ContainerStateTerminated) string {
	text := fmt.Sprintf("ended with code %d", t.ExitCode)
	if t.Reason != "" && t.Reason != "Error" && t.Reason != "Completed" {
		text += " (" + t.Reason + ")"
	}
	if m := strings.TrimSpace(t.Message); m != "" {
		text += ": " + m
	}
	return text
}

func sentence(reason, message string) string {
	if message = strings.TrimSpace(message); message != "" {
		return reason + ": " + message
	}
	return reason
}
