package runtime

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// sight is what one look at the pod shows.
type sight struct {
	stage  stage
	reason string // the kind of trouble that keeps a pod from running, "" if there is none
	detail string // what the scheduler or the kubelet says about it
	// patience is how long the trouble may last. Most of it can pass: a registry comes
	// back, a node gets free. A launch that fails early costs little, the peer starts
	// another one with the next call, while one that hangs holds up the peer's other
	// chaincodes, which it launches one after the other.
	patience time.Duration
	err      error // why an ended pod is a failure; nil after exit status 0
}

type stage int

const (
	starting stage = iota
	running
	ended
)

// Kinds of trouble.
const (
	troubleImage     = "its image cannot be pulled"
	troubleContainer = "its container cannot be made"
	troubleNode      = "no node takes it"
)

// Patience says how long trouble may last before a launch is given up.
type Patience struct {
	Image     time.Duration // the image cannot be pulled
	Container time.Duration // the container cannot be made
	Node      time.Duration // no node takes the pod
	Start     time.Duration // all of it, from the pod's creation until its container runs
}

// DefaultPatience stays below Fabric's default start timeout of 300 s, so that the peer
// gets the reason and not silence.
func DefaultPatience() Patience {
	return Patience{Image: 15 * time.Second, Container: 5 * time.Second, Node: time.Minute, Start: 4 * time.Minute}
}

// look is a pure function of the pod's last known state. The pod's end is that of its main
// container, or of a container that the main one depends on.
func look(pod *corev1.Pod, main string, p Patience) sight {
	if s, ok := containerState(pod.Status.ContainerStatuses, main); ok && s.Terminated != nil {
		return sight{stage: ended, err: exitError(pod, s.Terminated)}
	}
	if err := helperError(pod); err != nil {
		return sight{stage: ended, err: err}
	}
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
		return sight{stage: ended}
	case corev1.PodFailed:
		return sight{stage: ended, err: failure(pod)}
	}
	if works(pod, main) {
		return sight{stage: running}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return sight{reason: troubleNode, detail: c.Message, patience: p.Node}
		}
	}
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, s := range statuses {
			if s.State.Waiting == nil {
				continue
			}
			if out, ok := waiting(s.State.Waiting, p); ok {
				return out
			}
		}
	}
	return sight{}
}

// works reports whether the container that the pod is for has begun: a build, or a chaincode
// and what brings its code, which gives up by itself.
func works(pod *corev1.Pod, main string) bool {
	if s, ok := containerState(pod.Status.InitContainerStatuses, buildName); ok {
		return s.Running != nil || s.Terminated != nil
	}
	if s, ok := containerState(pod.Status.ContainerStatuses, fetchName); ok && s.Terminated == nil && s.Running == nil {
		return false
	}
	s, ok := containerState(pod.Status.ContainerStatuses, main)
	return ok && s.Running != nil
}

// speaks reports whether a container has a log. A chaincode can have begun to work before its
// kubelet has seen the end of the container that fetched its code.
func speaks(pod *corev1.Pod, name string) bool {
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		if s, ok := containerState(statuses, name); ok && (s.Running != nil || s.Terminated != nil) {
			return true
		}
	}
	return false
}

// helperError says which of the containers around the main one has failed, if one has.
func helperError(pod *corev1.Pod) error {
	for _, h := range []struct {
		statuses  []corev1.ContainerStatus
		name, did string
	}{
		{pod.Status.InitContainerStatuses, waiterName, "did not reach its peer: "},
		{pod.Status.InitContainerStatuses, fetchName, "did not get its code: "},
		{pod.Status.ContainerStatuses, fetchName, "did not get its code: "},
	} {
		s, ok := containerState(h.statuses, h.name)
		if !ok || s.Terminated == nil || good(s.Terminated) {
			continue
		}
		why := cmp.Or(lastLine(s.Terminated.Message), s.Terminated.Reason)
		if pod.Status.Reason != "" {
			why = said(pod.Status.Reason, pod.Status.Message)
		}
		return &EndedError{Text: h.did + why}
	}
	s, ok := containerState(pod.Status.InitContainerStatuses, buildName)
	if ok && s.Terminated != nil && !good(s.Terminated) {
		return &BuildError{Text: "the build " + exitText(pod, s.Terminated) + lastLines(s.Terminated.Message)}
	}
	return nil
}

func good(t *corev1.ContainerStateTerminated) bool { return t.ExitCode == 0 && t.Signal == 0 }

// waiting sorts the kubelet's reasons (pkg/kubelet/images/types.go, kuberuntime, and
// kubelet_pods.go of Kubernetes). Those that are not listed are steps on the way.
func waiting(w *corev1.ContainerStateWaiting, p Patience) (sight, bool) {
	out := sight{detail: strings.TrimSpace(cmp.Or(w.Message, w.Reason))}
	switch w.Reason {
	case "InvalidImageName", "ErrImageNeverPull", "SignatureValidationFailed":
		out.reason = troubleImage // no waiting cures these
	case "ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable":
		out.reason, out.patience = troubleImage, p.Image
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError", "PreStartHookError":
		out.reason, out.patience = troubleContainer, p.Container
	default:
		return sight{}, false
	}
	return out, true
}

func containerState(statuses []corev1.ContainerStatus, name string) (corev1.ContainerState, bool) {
	for _, s := range statuses {
		if s.Name == name {
			return s.State, true
		}
	}
	return corev1.ContainerState{}, false
}

func exitError(pod *corev1.Pod, t *corev1.ContainerStateTerminated) error {
	if good(t) {
		return nil
	}
	text := exitText(pod, t)
	if last := lastLine(t.Message); last != "" {
		text += ": " + last
	}
	return &EndedError{Text: text}
}

func exitText(pod *corev1.Pod, t *corev1.ContainerStateTerminated) string {
	text := fmt.Sprintf("exited with status %d", t.ExitCode)
	if t.Signal != 0 {
		text = fmt.Sprintf("ended by signal %d", t.Signal)
	}
	if t.Reason != "" && t.Reason != "Error" { // OOMKilled, StartError, ContainerStatusUnknown…
		text += " (" + t.Reason + ")"
	}
	if pod.Status.Reason != "" { // Evicted, NodeShutdown, DeadlineExceeded…
		text += ": " + said(pod.Status.Reason, pod.Status.Message)
	}
	return text
}

// failure explains a pod that failed without its main container having ended.
func failure(pod *corev1.Pod) error {
	if pod.Status.Reason != "" {
		return &EndedError{Text: "failed: " + said(pod.Status.Reason, pod.Status.Message)}
	}
	return &EndedError{Text: "failed without a reason from the kubelet"}
}

// EndedError says how a pod ended when it should have gone on.
type EndedError struct {
	Text    string
	Deleted bool // by somebody else, and not by a failure of its own
}

func (e *EndedError) Error() string { return e.Text }

func said(reason, message string) string {
	if message == "" {
		return reason
	}
	return reason + ": " + strings.TrimSpace(message)
}

// lastLines are what a kubelet kept of a log: no more than 80 lines or 2 KiB, of which the
// first may be half a line.
func lastLines(message string) string {
	const kept = 2 << 10
	text := strings.TrimRight(message, "\n \t\r")
	if len(text) > kept {
		text = text[len(text)-kept:]
	}
	if len(message) >= kept {
		if _, rest, ok := strings.Cut(text, "\n"); ok {
			text = rest
		}
	}
	if text == "" {
		return ""
	}
	return ":\n" + strings.ToValidUTF8(text, "")
}

// lastLine of a termination message, which is the tail of the container's log.
func lastLine(s string) string {
	const enough = 500
	lines := strings.Split(strings.TrimSpace(s), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if len(last) > enough {
		last = strings.ToValidUTF8(last[:enough], "") + "…"
	}
	return last
}
