package runtimetest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
		dir, err := os.MkdirTemp(c.volumes, "pod")
		if err != nil {
			c.t.Errorf("making volumes: %v", err)
			return
		}
		c.runPod(ctx, p, dir)
		<-ctx.Done() // an ended pod stays until it is deleted
		if err := os.RemoveAll(dir); err != nil {
			c.t.Errorf("removing volumes: %v", err)
		}
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

// runPod runs init containers one after the other and then the others side by side, as a
// pod with restartPolicy Never does.
func (c *Cluster) runPod(ctx context.Context, p *livePod, dir string) {
	if !c.schedule(ctx, p) {
		return
	}
	if c.o.Sandbox != "" {
		c.warn(p, "FailedCreatePodSandBox", c.o.Sandbox)
		return
	}
	if !c.mount(ctx, p, dir) {
		return
	}
	ctx, end := c.deadline(ctx, p)
	defer end()
	for i := range p.Spec.InitContainers {
		code, ran := c.runContainer(ctx, p, &p.Spec.InitContainers[i], dir)
		if !ran || code != 0 {
			if ran {
				c.update(p, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })
			}
			return
		}
	}
	var all sync.WaitGroup
	codes, ran := make([]int, len(p.Spec.Containers)), make([]bool, len(p.Spec.Containers))
	for i := range p.Spec.Containers {
		all.Go(func() { codes[i], ran[i] = c.runContainer(ctx, p, &p.Spec.Containers[i], dir) })
	}
	all.Wait()
	phase := corev1.PodSucceeded
	for i := range codes {
		if !ran[i] {
			return
		}
		if codes[i] != 0 {
			phase = corev1.PodFailed
		}
	}
	c.update(p, func(p *corev1.Pod) { p.Status.Phase = phase })
}

// deadline ends the pod's containers when its time is over.
func (c *Cluster) deadline(ctx context.Context, p *livePod) (context.Context, func()) {
	if p.Spec.ActiveDeadlineSeconds == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	t := time.AfterFunc(time.Duration(*p.Spec.ActiveDeadlineSeconds)*time.Second, func() {
		c.update(p, func(p *corev1.Pod) {
			p.Status.Phase, p.Status.Reason = corev1.PodFailed, "DeadlineExceeded"
			p.Status.Message = "Pod was active on the node longer than the specified deadline"
		})
		cancel()
	})
	return ctx, func() { t.Stop(); cancel() }
}

// runContainer pulls and runs one container, and reports how it ended. It did not run if
// the pod was deleted before.
func (c *Cluster) runContainer(ctx context.Context, p *livePod, spec *corev1.Container, dir string) (code int, ran bool) {
	program, ok := c.pull(ctx, p, spec)
	if !ok {
		return 0, false
	}
	if c.o.Broken != "" {
		c.setState(p, spec, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CreateContainerConfigError", Message: c.o.Broken}})
		return 0, false
	}
	in, err := c.container(p, spec, dir)
	if err != nil {
		c.t.Errorf("pod %s, container %s: %v", p.Name, spec.Name, err)
		return 0, false
	}
	out := &logWriter{c: c, p: p, name: spec.Name}
	in.Output = out
	c.mu.Lock()
	p.live(spec.Name).started = true
	c.mu.Unlock()
	c.setState(p, spec, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}})
	ended := make(chan int, 1)
	c.running.Go(func() { ended <- program(ctx, in) })
	select {
	case code = <-ended:
	case <-p.killed:
		code = 137
	}
	t := &corev1.ContainerStateTerminated{ExitCode: int32(code), Reason: "Completed", FinishedAt: metav1.Now()}
	message := out.end()
	if code != 0 {
		t.Reason, t.Message = "Error", message
	}
	c.setState(p, spec, corev1.ContainerState{Terminated: t})
	return code, true
}

// setState sets the state of one container in the pod's status. While any container that is
// no init container runs, so does the pod.
func (c *Cluster) setState(p *livePod, spec *corev1.Container, s corev1.ContainerState) {
	c.update(p, func(p *corev1.Pod) {
		statuses, init := &p.Status.ContainerStatuses, false
		for i := range p.Spec.InitContainers {
			if p.Spec.InitContainers[i].Name == spec.Name {
				statuses, init = &p.Status.InitContainerStatuses, true
			}
		}
		if !init && s.Running != nil && p.Status.Phase == corev1.PodPending {
			p.Status.Phase = corev1.PodRunning
		}
		for i := range *statuses {
			if (*statuses)[i].Name == spec.Name {
				(*statuses)[i].State = s
			}
		}
	})
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
		first := "ContainerCreating"
		for _, init := range p.Spec.InitContainers {
			first = "PodInitializing"
			p.Status.InitContainerStatuses = append(p.Status.InitContainerStatuses, waitingFor(init, first))
		}
		for _, main := range p.Spec.Containers {
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, waitingFor(main, first))
		}
	})
	return ctx.Err() == nil
}

func waitingFor(c corev1.Container, reason string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: c.Name, Image: c.Image, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}
}

// pull finds the program of an image, or waits for ever with the kubelet's reasons.
func (c *Cluster) pull(ctx context.Context, p *livePod, spec *corev1.Container) (Program, bool) {
	say := func(reason, message string) {
		c.setState(p, spec, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}})
	}
	image := spec.Image
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

func (c *Cluster) warn(p *livePod, reason, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, corev1.Event{
		Type: corev1.EventTypeWarning, Reason: reason, Message: message, LastTimestamp: metav1.Now(),
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: p.Name},
	})
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

// mount makes the pod's volumes. It waits for Secrets, as the kubelet does.
func (c *Cluster) mount(ctx context.Context, p *livePod, dir string) bool {
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		at := filepath.Join(dir, v.Name)
		if err := os.Mkdir(at, 0o777); err != nil {
			c.t.Errorf("making volume %s: %v", v.Name, err)
			return false
		}
		if v.Secret == nil {
			continue
		}
		var data map[string][]byte
		for data == nil {
			c.mu.Lock()
			if s := c.secrets[v.Secret.SecretName]; s != nil {
				data = s.Data
			}
			c.mu.Unlock()
			if data == nil && !sleep(ctx, backOff) {
				return false
			}
		}
		for name, key := range projected(v.Secret, data) {
			content, found := data[key]
			if !found {
				c.t.Errorf("pod %s: secret %s has no %s", p.Name, v.Secret.SecretName, key)
				return false
			}
			if err := os.WriteFile(filepath.Join(at, name), content, 0o600); err != nil {
				c.t.Errorf("making volume %s: %v", v.Name, err)
				return false
			}
		}
	}
	return true
}

// projected are the files of a Secret volume and the keys that are in them.
func projected(s *corev1.SecretVolumeSource, data map[string][]byte) map[string]string {
	out := map[string]string{}
	for _, item := range s.Items {
		out[item.Path] = item.Key
	}
	if s.Items == nil {
		for key := range data {
			out[key] = key
		}
	}
	return out
}
