package runtimetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	nodeName = "node1"
	backOff  = 30 * time.Millisecond // between two attempts of the kubelet
)

// startKubeletLocked brings the pod up as scheduler and kubelet do, until it ends or is
// deleted.
func (c *Cluster) startKubeletLocked(p *livePod) {
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	c.running.Go(func() {
		defer stop()
		c.runPod(ctx, p)
		<-ctx.Done() // an ended pod stays until it is deleted
		c.mu.Lock()
		c.removeLocked(p)
		c.mu.Unlock()
	})
}

func (c *Cluster) update(p *livePod, change func(*corev1.Pod)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.updateLocked(p, change)
}

func (c *Cluster) runPod(ctx context.Context, p *livePod) {
	if !c.schedule(ctx, p) {
		return
	}
	main := p.Spec.Containers[0]
	if c.o.Sandbox != "" {
		c.warn(p, "FailedCreatePodSandBox", c.o.Sandbox)
		return
	}
	files, ok := c.mount(ctx, p)
	if !ok {
		return
	}
	for _, init := range p.Spec.InitContainers {
		program, ok := c.pull(ctx, p, init.Image, func(s *corev1.PodStatus) *[]corev1.ContainerStatus { return &s.InitContainerStatuses }, init.Name)
		if !ok {
			return
		}
		var said bytes.Buffer
		if status := program(ctx, Container{Output: &said}); status != 0 {
			c.update(p, func(p *corev1.Pod) {
				p.Status.Phase = corev1.PodFailed
				p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: init.Name, State: corev1.ContainerState{
					Terminated: &corev1.ContainerStateTerminated{ExitCode: int32(status), Reason: "Error", Message: said.String()},
				}}}
			})
			return
		}
	}
	program, ok := c.pull(ctx, p, main.Image, func(s *corev1.PodStatus) *[]corev1.ContainerStatus { return &s.ContainerStatuses }, main.Name)
	if !ok {
		return
	}
	if c.o.Broken != "" {
		c.wait(p, &corev1.ContainerStateWaiting{Reason: "CreateContainerConfigError", Message: c.o.Broken})
		return
	}
	c.run(ctx, p, program, Container{Env: env(main), Files: files})
}

// run runs the program and reports how it ended.
func (c *Cluster) run(ctx context.Context, p *livePod, program Program, in Container) {
	c.update(p, func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodRunning
		p.Status.ContainerStatuses = status(p, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}})
	})
	out := &logWriter{c: c, p: p}
	in.Output = out
	ended := make(chan int, 1)
	c.running.Go(func() { ended <- program(ctx, in) })
	var code int
	select {
	case code = <-ended:
	case <-p.killed:
		code = 137
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(out.rest) > 0 {
		p.log = append(p.log, logLine{time.Now(), string(out.rest)})
	}
	p.ended = true
	c.updateLocked(p, func(pod *corev1.Pod) {
		pod.Status.Phase = corev1.PodSucceeded
		t := &corev1.ContainerStateTerminated{ExitCode: int32(code), Reason: "Completed", FinishedAt: metav1.Now()}
		if code != 0 {
			pod.Status.Phase = corev1.PodFailed
			t.Reason = "Error"
			t.Message = out.tail()
		}
		pod.Status.ContainerStatuses = status(pod, corev1.ContainerState{Terminated: t})
	})
	c.changed.Broadcast()
}

func (c *Cluster) schedule(ctx context.Context, p *livePod) bool {
	if c.o.Memory > 0 && requested(p.Pod) > c.o.Memory {
		c.update(p, func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
				Message: "0/1 nodes are available: 1 Insufficient memory.",
			}}
		})
		return false
	}
	c.update(p, func(p *corev1.Pod) {
		p.Spec.NodeName = nodeName
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
		p.Status.ContainerStatuses = status(p, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}})
	})
	return ctx.Err() == nil
}

// mount waits for the pod's Secrets, as the kubelet does.
func (c *Cluster) mount(ctx context.Context, p *livePod) (map[string][]byte, bool) {
	files := map[string][]byte{}
	for _, v := range p.Spec.Volumes {
		if v.Secret == nil {
			continue
		}
		for {
			c.mu.Lock()
			s := c.secrets[v.Secret.SecretName]
			c.mu.Unlock()
			if s != nil {
				for _, m := range p.Spec.Containers[0].VolumeMounts {
					for key, data := range s.Data {
						if m.Name == v.Name {
							files[path.Join(m.MountPath, key)] = data
						}
					}
				}
				break
			}
			if !sleep(ctx, backOff) {
				return nil, false
			}
		}
	}
	return files, true
}

// pull finds the program of an image, or waits for ever with the kubelet's reasons.
func (c *Cluster) pull(ctx context.Context, p *livePod, image string, of func(*corev1.PodStatus) *[]corev1.ContainerStatus, name string) (Program, bool) {
	say := func(reason, message string) {
		c.update(p, func(p *corev1.Pod) {
			*of(&p.Status) = []corev1.ContainerStatus{{Name: name, State: corev1.ContainerState{
				Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message},
			}}}
		})
	}
	if strings.ToLower(image) != image {
		say("InvalidImageName", fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: invalid reference format: repository name must be lowercase", image, image))
		return nil, false
	}
	for ctx.Err() == nil {
		if program, found := c.o.Images[image]; found {
			return program, true
		}
		why := fmt.Sprintf("failed to pull and unpack image %q: failed to resolve reference: %s: not found", image, image)
		say("ErrImagePull", why)
		if !sleep(ctx, backOff) {
			break
		}
		say("ImagePullBackOff", fmt.Sprintf("Back-off pulling image %q", image))
		sleep(ctx, backOff)
	}
	return nil, false
}

func (c *Cluster) wait(p *livePod, w *corev1.ContainerStateWaiting) {
	c.update(p, func(p *corev1.Pod) {
		p.Status.ContainerStatuses = status(p, corev1.ContainerState{Waiting: w})
	})
}

func (c *Cluster) warn(p *livePod, reason, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, corev1.Event{
		Type: corev1.EventTypeWarning, Reason: reason, Message: message, LastTimestamp: metav1.Now(),
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: p.Name},
	})
}

func status(p *corev1.Pod, s corev1.ContainerState) []corev1.ContainerStatus {
	return []corev1.ContainerStatus{{Name: p.Spec.Containers[0].Name, Image: p.Spec.Containers[0].Image, State: s}}
}

func waits(p *corev1.Pod) bool {
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Running != nil || s.State.Terminated != nil {
			return false
		}
	}
	return true
}

func env(c corev1.Container) map[string]string {
	out := map[string]string{}
	for _, e := range c.Env {
		out[e.Name] = e.Value
	}
	return out
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// logWriter is the container's log file. Several lines may have the same time stamp, as
// on machines with a coarse clock.
type logWriter struct {
	c    *Cluster
	p    *livePod
	rest []byte
}

var _ io.Writer = (*logWriter)(nil)

func (l *logWriter) Write(b []byte) (int, error) {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if l.p.ended {
		return 0, io.ErrClosedPipe
	}
	l.rest = append(l.rest, b...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			break
		}
		l.p.log = append(l.p.log, logLine{time.Now().Truncate(time.Millisecond), string(line)})
		l.rest = rest
	}
	l.c.changed.Broadcast()
	return len(b), nil
}

// tail is what FallbackToLogsOnError puts into the status.
func (l *logWriter) tail() string {
	const lines = 80
	var out []string
	for _, line := range l.p.log[max(0, len(l.p.log)-lines):] {
		out = append(out, line.text)
	}
	text := strings.Join(out, "\n")
	return text[max(0, len(text)-2048):]
}
