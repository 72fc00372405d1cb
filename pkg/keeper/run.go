package keeper

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/kube"
)

// run makes the pod of a plan, or takes the one that an earlier run made if it is the same,
// and waits until it has ended well. It stays, for its log and for those who ask again.
func (k *Keeper) run(ctx context.Context, p plan, log *slog.Logger) (*corev1.Pod, error) {
	want, err := k.build(p)
	if err != nil {
		return nil, err
	}
	made, err := k.make(ctx, want, log)
	if err != nil {
		return nil, err
	}
	return k.follow(ctx, made, log)
}

// make creates a pod, unless it exists: then it is this run's as well if it was made under
// the same hold for the same work and has not failed, and it goes if not.
func (k *Keeper) make(ctx context.Context, want *corev1.Pod, log *slog.Logger) (*corev1.Pod, error) {
	for {
		var made *corev1.Pod
		err := k.call(ctx, func(ctx context.Context) (err error) {
			made, err = k.Kube.CoreV1().Pods(k.Namespace).Create(ctx, want, metav1.CreateOptions{FieldManager: fieldManager})
			return err
		})
		if err == nil {
			return made, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return nil, unmade(fmt.Errorf("making pod/%s: %w", want.Name, err))
		}
		old, err := k.pod(ctx, want.Name)
		if err != nil {
			return nil, err
		}
		if old == nil {
			continue
		}
		if sameWork(old, want) {
			log.Info("taking over a pod that an earlier run made", "pod", old.Name, "phase", old.Status.Phase)
			return old, nil
		}
		if err := k.remove(ctx, old, k.times.stop); err != nil {
			return nil, err
		}
	}
}

// unmade says how to cure what networks of earlier versions lack.
func unmade(err error) error {
	if apierrors.IsForbidden(err) && strings.Contains(err.Error(), "service account") {
		return exit.WithHint(err, `"pivt install" makes the service account; it was not part of earlier versions`)
	}
	return err
}

func sameWork(old, want *corev1.Pod) bool {
	if old.DeletionTimestamp != nil || old.Status.Phase == corev1.PodFailed {
		return false
	}
	for _, a := range []string{tokenAnnotation, generationAnnotation} {
		if old.Annotations[a] != want.Annotations[a] {
			return false
		}
	}
	return slices.Equal(arguments(old), arguments(want))
}

// arguments are what a pod was told to do.
func arguments(pod *corev1.Pod) []string {
	for _, c := range pod.Spec.Containers {
		if c.Name == Container {
			return c.Args
		}
	}
	return nil
}

// remove deletes a pod and waits until it is gone.
func (k *Keeper) remove(ctx context.Context, pod *corev1.Pod, limit time.Duration) error {
	if err := k.drop(ctx, pod.Name, pod.UID); err != nil {
		return err
	}
	return k.await(ctx, limit, k.Log, func(ctx context.Context) (string, error) {
		now, err := k.pod(ctx, pod.Name)
		if err != nil || now == nil || now.UID != pod.UID {
			return "", err
		}
		return "pod " + pod.Name + " is stopping", nil
	})
}

// drop deletes a pod if it is still that one; an empty uid means any.
func (k *Keeper) drop(ctx context.Context, name string, uid types.UID) error {
	o := metav1.DeleteOptions{}
	if uid != "" {
		o.Preconditions = &metav1.Preconditions{UID: &uid}
	}
	err := k.call(ctx, func(ctx context.Context) error {
		return k.Kube.CoreV1().Pods(k.Namespace).Delete(ctx, name, o)
	})
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return fmt.Errorf("deleting pod/%s: %w", name, err)
}

// follow waits until a pod has ended well. What keeps it from running is an error soon, what
// may only take its time later.
func (k *Keeper) follow(ctx context.Context, made *corev1.Pod, log *slog.Logger) (*corev1.Pod, error) {
	begun, trouble, since := time.Now(), "", time.Time{}
	var last *corev1.Pod
	var told progress
	err := k.await(ctx, 0, log, func(ctx context.Context) (string, error) {
		pod, err := k.pod(ctx, made.Name)
		if err != nil {
			return "", err
		}
		if pod == nil || pod.UID != made.UID || pod.DeletionTimestamp != nil {
			return "", exit.Transient(fmt.Errorf("pod %s was deleted by somebody else", made.Name))
		}
		last = pod
		switch pod.Status.Phase {
		case corev1.PodSucceeded:
			return "", nil
		case corev1.PodFailed:
			return "", failure(pod)
		}
		if running(pod) {
			k.relay(ctx, pod, &told, log)
			return fmt.Sprintf("pod %s works", pod.Name), nil
		}
		reason, stuck := kube.PodReason(pod)
		if !stuck {
			trouble = ""
			if time.Since(begun) > k.times.start {
				return "", k.mute(ctx, pod, reason)
			}
			return fmt.Sprintf("pod %s: %s", pod.Name, reason), nil
		}
		if trouble == "" {
			since = time.Now()
		}
		// What a kubelet says between two pulls is not why it pulls again.
		if trouble == "" || !strings.Contains(reason, "Back-off") {
			trouble = reason
		}
		if time.Since(since) > k.times.stuck {
			return "", exit.WithHint(fmt.Errorf("pod %s cannot run: %s", pod.Name, trouble), "it is made of image, backup.*, flow.* and the node's volumes")
		}
		return fmt.Sprintf("pod %s: %s", pod.Name, trouble), nil
	})
	return last, err
}

func running(pod *corev1.Pod) bool {
	for _, c := range pod.Status.ContainerStatuses {
		if c.Name == Container {
			return c.State.Running != nil || c.State.Terminated != nil
		}
	}
	return false
}

// mute is the error of a pod that does not start and whose status does not say why. Volumes
// that cannot be mounted are only in events.
func (k *Keeper) mute(ctx context.Context, pod *corev1.Pod, reason string) error {
	return exit.WithHint(fmt.Errorf("pod %s does not run after %s: %s", pod.Name, k.times.start, cmp.Or(k.warning(ctx, pod.Name), reason)),
		fmt.Sprintf(`"kubectl describe pod %s" says more`, pod.Name))
}

// warning is the last one of the events about an object, "" if there is none or we may not see them.
func (k *Keeper) warning(ctx context.Context, object string) string {
	once, cancel := context.WithTimeout(ctx, k.times.call)
	defer cancel()
	events, err := k.Kube.CoreV1().Events(k.Namespace).List(once, metav1.ListOptions{FieldSelector: "involvedObject.name=" + object + ",type=Warning"})
	if err != nil {
		return ""
	}
	text := ""
	for _, e := range events.Items {
		if e.InvolvedObject.Name == object && e.Type == corev1.EventTypeWarning {
			text = strings.TrimSpace(e.Message)
		}
	}
	return text
}

// failure is what a pod that failed said, with its exit code and its hint.
func failure(pod *corev1.Pod) error {
	if pod.Status.Reason != "" { // Evicted, DeadlineExceeded, NodeShutdown, Preempting…
		return exit.Transient(fmt.Errorf("pod %s: %s: %s", pod.Name, pod.Status.Reason, strings.TrimSpace(pod.Status.Message)))
	}
	for _, c := range pod.Status.ContainerStatuses {
		t := c.State.Terminated
		if c.Name != Container || t == nil {
			continue
		}
		text, hint := said(t.Message)
		switch {
		case t.Reason == "OOMKilled":
			return exit.WithHint(fmt.Errorf("pod %s was killed: it needed more memory than its limit", pod.Name), "raise backup.resources.limits.memory")
		case text == "":
			text = fmt.Sprintf("ended with code %d", t.ExitCode)
			if t.Reason != "" && t.Reason != "Error" {
				text += " (" + t.Reason + ")"
			}
		}
		var err error = fmt.Errorf("pod %s: %s", pod.Name, text)
		switch {
		case t.ExitCode == 137 || t.ExitCode == 143: // killed by somebody: the next one may live
			err = exit.Transient(err)
		case known(exit.Code(t.ExitCode)):
			err = exit.With(err, exit.Code(t.ExitCode))
		}
		if hint != "" {
			err = exit.WithHint(err, hint)
		}
		return err
	}
	return exit.Transient(fmt.Errorf("pod %s failed without a reason from its kubelet", pod.Name))
}

func known(code exit.Code) bool {
	for _, c := range exit.Codes() {
		if c.Code == code && code != exit.OK {
			return true
		}
	}
	return false
}

// said takes a termination message apart: an error, and perhaps a hint.
func said(message string) (text, hint string) {
	for _, line := range strings.Split(strings.TrimSpace(message), "\n") {
		line = strings.TrimSpace(line)
		if h, ok := strings.CutPrefix(line, "Hint:"); ok {
			hint = strings.TrimSpace(h)
		} else if line != "" {
			text = strings.TrimSpace(strings.TrimPrefix(line, "Error:"))
		}
	}
	return text, hint
}

// tail reads the end of a pod's log.
func (k *Keeper) tail(ctx context.Context, pod string, lines int64) (string, error) {
	var text []byte
	err := k.call(ctx, func(ctx context.Context) (err error) {
		text, err = k.lines(ctx, pod, lines, maxAnswer)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("reading the log of pod/%s: %w", pod, err)
	}
	return string(text), nil
}

// lines are the last ones of a pod's log, no more than limit bytes of them.
func (k *Keeper) lines(ctx context.Context, pod string, n, limit int64) ([]byte, error) {
	r, err := k.Kube.CoreV1().Pods(k.Namespace).GetLogs(pod, &corev1.PodLogOptions{Container: Container, TailLines: &n}).Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, limit))
}

// answerLines is where an answer is looked for: it is the last line, unless a library says goodbye. But containers'
// logs are kept in pieces of 16 KiB, and kubelets count those.
const answerLines = 5000

// answer reads what a pod that ended well answered. A kubelet may take a moment to have it.
func (k *Keeper) answer(ctx context.Context, pod *corev1.Pod) ([]byte, error) {
	var data []byte
	var last error
	err := k.await(ctx, k.times.stuck, k.Log, func(ctx context.Context) (string, error) {
		text, err := k.tail(ctx, pod.Name, answerLines)
		if err != nil {
			return "", err
		}
		if data, last = ReadAnswer(text); errors.Is(last, errNoAnswer) {
			return fmt.Sprintf("pod %s: %v", pod.Name, last), nil
		}
		return "", last
	})
	if err != nil {
		return nil, exit.Transient(fmt.Errorf("pod %s ended well, but what it answered is lost: %w", pod.Name, err))
	}
	return data, nil
}

// progress is what was passed on of a pod's progress.
type progress struct {
	at   time.Time
	line string
}

// relay passes on how far a pod is, now and then. What it cannot read is of no importance.
func (k *Keeper) relay(ctx context.Context, pod *corev1.Pod, told *progress, log *slog.Logger) {
	if time.Since(told.at) < k.times.report {
		return
	}
	told.at = time.Now()
	once, cancel := context.WithTimeout(ctx, k.times.call)
	defer cancel()
	text, err := k.lines(once, pod.Name, 10, 1<<20)
	if err != nil {
		return
	}
	for _, line := range slices.Backward(strings.Split(string(text), "\n")) {
		var p struct {
			Msg, Verb          string
			Bytes, Total, Rate int64
		}
		if json.Unmarshal([]byte(line), &p) != nil || p.Msg != "progress" {
			continue
		}
		if line != told.line {
			told.line = line
			log.Info("progress", "verb", p.Verb, "bytes", p.Bytes, "total", p.Total, "rate", p.Rate)
		}
		return
	}
}
