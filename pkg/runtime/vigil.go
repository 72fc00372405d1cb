package runtime

import (
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// vigil is what a run remembers of its pod between two looks.
type vigil struct {
	*job
	limit   time.Time // when the pod has to run
	ran     bool
	leaving string // who is deleting the pod, "" if nobody is
	reason  string // the trouble seen last, see sight
	detail  string
}

// lostAfter is how much longer than its grace period a pod may take to go. Then its node
// does not answer, and the pod stays listed until the node comes back or is removed.
const lostAfter = 10 * time.Second

// saw takes note of a pod that has not ended. If changed, expired is to be called at the
// returned time.
func (v *vigil) saw(pod *corev1.Pod, s sight, now time.Time) (until time.Time, changed bool) {
	if pod.DeletionTimestamp != nil {
		if v.leaving != "" {
			return time.Time{}, false
		}
		v.leaving = deleter(pod)
		v.report("pod %s is being deleted by %s", v.name, v.leaving)
		grace := time.Duration(0)
		if pod.DeletionGracePeriodSeconds != nil {
			grace = time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second
		}
		return now.Add(grace + lostAfter), true
	}
	if s.stage == running {
		if !v.ran {
			v.ran = true
			v.report("pod %s runs on node %s", v.name, pod.Spec.NodeName)
		}
		return time.Time{}, false
	}
	if v.ran {
		return time.Time{}, false
	}
	if s.reason == v.reason {
		if s.reason != "" && !isBackOff(s.detail) {
			v.detail = s.detail
		}
		return time.Time{}, false
	}
	v.reason, v.detail = s.reason, s.detail
	if s.reason == "" {
		return v.limit, true
	}
	v.report("pod %s: %s: %s", v.name, s.reason, s.detail)
	if until := now.Add(s.patience); until.Before(v.limit) {
		return until, true
	}
	return v.limit, true
}

// expired is the error of a pod whose time is over, if it is.
func (v *vigil) expired() error {
	switch {
	case v.leaving != "":
		return &EndedError{Text: fmt.Sprintf("pod %s was deleted by %s and its node does not answer", v.name, v.leaving), Deleted: true}
	case v.ran:
		return nil
	case v.reason != "":
		return fmt.Errorf("pod %s: %s: %s", v.name, v.reason, v.detail)
	}
	return fmt.Errorf("pod %s does not run after %s%s", v.name, v.o.Patience.Start, v.lastWarning())
}

// ended is the error of a pod that has ended, if that is one.
func (v *vigil) ended(pod *corev1.Pod, s sight) error {
	if pod.DeletionTimestamp != nil {
		return &EndedError{Text: fmt.Sprintf("pod %s was deleted by %s", v.name, deleter(pod)), Deleted: true}
	}
	var build *BuildError
	if errors.As(s.err, &build) {
		return s.err
	}
	if s.err != nil {
		return fmt.Errorf("pod %s %w", v.name, s.err)
	}
	v.report("pod %s ended with status 0", v.name)
	return nil
}

// deleter names who deletes the pod: evictions, preemptions and failing nodes leave a
// condition, everybody else leaves nothing.
func deleter(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			return said(c.Reason, c.Message)
		}
	}
	return "someone else"
}

// isBackOff tells the kubelet's sentence that it is waiting from the one that says why.
func isBackOff(detail string) bool { return strings.HasPrefix(detail, "Back-off ") }
