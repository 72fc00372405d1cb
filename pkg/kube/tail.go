package kube

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TailOptions choose whose log lines Tail tells.
type TailOptions struct {
	Selector  string
	Choose    func(*corev1.Pod) bool // of those that the selector selects; nil for all
	Container string
	Follow    bool  // go on with new lines and new pods until ctx ends
	Lines     int64 // of each pod that is there, from the end; negative means all
}

const (
	maxLogLine = 1 << 20 // longer lines are told in pieces
	tailPause  = time.Second
)

// Tail tells the log lines of all chosen pods, one at a time and without their line ends. With
// Follow it takes up every pod that starts later, too. It returns how many pods it found.
func (c *Client) Tail(ctx context.Context, o TailOptions, tell func(*corev1.Pod, string)) (pods int, err error) {
	t := &tail{c: c, o: o, tell: tell, seen: map[types.UID]bool{}}
	if !o.Follow {
		list, err := c.core.CoreV1().Pods(c.namespace).List(ctx, metav1.ListOptions{LabelSelector: o.Selector})
		if err != nil {
			return 0, wrap(err, "listing pods with labels %s", o.Selector)
		}
		for i := range list.Items { // one after the other, so that their lines stay together
			if pod := &list.Items[i]; t.wants(pod) {
				if err := t.read(ctx, pod); err != nil {
					return len(t.seen), err
				}
			}
		}
		return len(t.seen), nil
	}
	defer t.wg.Wait()
	err = Follow(ctx, Pods(c.core, c.namespace, o.Selector), Follower{Update: func(objects map[string]metav1.Object) { t.update(ctx, objects) }})
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.seen), err
}

type tail struct {
	c    *Client
	o    TailOptions
	tell func(*corev1.Pod, string)
	wg   sync.WaitGroup

	mu     sync.Mutex
	seen   map[types.UID]bool
	saying sync.Mutex
	later  bool // pods that come now have no old lines to leave out
}

// wants reports whether the pod is a new one whose container has begun.
func (t *tail) wants(pod *corev1.Pod) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen[pod.UID] || t.o.Choose != nil && !t.o.Choose(pod) {
		return false
	}
	begun := slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.Name == t.o.Container && s.State.Waiting == nil
	})
	if begun {
		t.seen[pod.UID] = true
	}
	return begun
}

func (t *tail) update(ctx context.Context, objects map[string]metav1.Object) {
	names := make([]string, 0, len(objects))
	for name := range objects {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if pod, ok := objects[name].(*corev1.Pod); ok && t.wants(pod) {
			lines := t.o.Lines
			if t.later {
				lines = -1
			}
			t.wg.Go(func() { t.follow(ctx, pod, lines) })
		}
	}
	t.later = true
}

// follow reads to the end of the container, over interruptions of the connection.
func (t *tail) follow(ctx context.Context, pod *corev1.Pod, lines int64) {
	var last time.Time
	for {
		o := t.options(lines)
		o.Follow, o.Timestamps = true, true
		resumed, skip := last, false
		if !resumed.IsZero() {
			o.TailLines, o.SinceTime = nil, &metav1.Time{Time: resumed}
		}
		err := t.stream(ctx, pod, o, func(text string, begins bool) {
			if begins {
				stamp, rest, _ := strings.Cut(text, " ")
				if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
					skip = !at.After(resumed) // one asks by the second, so some come again
					text, last = rest, at
				}
			}
			if !skip {
				t.say(pod, text)
			}
		})
		if ctx.Err() != nil || err == nil && t.ended(ctx, pod) || err != nil && !IsUnavailable(err) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(tailPause):
		}
	}
}

// ended reports whether the container has, or its pod is gone.
func (t *tail) ended(ctx context.Context, pod *corev1.Pod) bool {
	now, err := t.c.core.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
	if err != nil {
		return !IsUnavailable(err)
	}
	return now.UID != pod.UID || !slices.ContainsFunc(now.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.Name == t.o.Container && s.State.Running != nil
	})
}

// read reads what is there.
func (t *tail) read(ctx context.Context, pod *corev1.Pod) error {
	return t.stream(ctx, pod, t.options(t.o.Lines), func(text string, _ bool) { t.say(pod, text) })
}

func (t *tail) options(lines int64) *corev1.PodLogOptions {
	o := &corev1.PodLogOptions{Container: t.o.Container}
	if lines >= 0 {
		o.TailLines = &lines
	}
	return o
}

func (t *tail) stream(ctx context.Context, pod *corev1.Pod, o *corev1.PodLogOptions, line func(text string, begins bool)) error {
	r, err := t.c.core.CoreV1().Pods(t.c.namespace).GetLogs(pod.Name, o).Stream(ctx)
	if err != nil {
		return wrap(err, "reading the log of pod/%s", pod.Name)
	}
	defer r.Close()
	b := bufio.NewReaderSize(r, maxLogLine)
	for begins := true; ; {
		text, err := b.ReadSlice('\n')
		if len(text) > 0 {
			line(string(bytes.TrimRight(text, "\r\n")), begins)
		}
		begins = err == nil
		switch {
		case err == nil, errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil
		default:
			return fmt.Errorf("reading the log of pod/%s: %w", pod.Name, err)
		}
	}
}

func (t *tail) say(pod *corev1.Pod, text string) {
	t.saying.Lock()
	defer t.saying.Unlock()
	t.tell(pod, text)
}
