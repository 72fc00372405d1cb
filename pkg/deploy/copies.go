package deploy

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"pivt.io/pivt/pkg/keeper"
	"pivt.io/pivt/pkg/kube"
	"pivt.io/pivt/pkg/network"
)

// copies tells what becomes of each node while a backup or a restore runs: stopped, copied with
// bytes and rate, started. It is only a help: without the right to see pods, their logs or
// StatefulSets, less is told.
type copies struct {
	d       *Deployment
	key     string
	restore bool
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu    sync.Mutex
	nodes map[string]*nodeCopy
	whole Step // of a restore, which stops all nodes at once
	said  string
}

// nodeCopy is one node's turn.
type nodeCopy struct {
	step    Step // nil until there is something to show
	ended   bool
	held    bool
	stopped time.Time
	started bool
	working map[string]bool // copy pods that have not ended, by name
	copied  bool            // one of them has ended well
	verb    string
	bytes   int64
	heard   string // how far its pod says it is
}

func (d *Deployment) followCopies(ctx context.Context, key string, restore bool) *copies {
	c := &copies{d: d, key: key, restore: restore, nodes: map[string]*nodeCopy{}}
	ctx, c.cancel = context.WithCancel(ctx)
	selector := keeper.KeyLabel + "=" + key
	core, namespace := d.Kube.Core(), d.Kube.Namespace()
	c.wg.Go(func() { _ = kube.Follow(ctx, statefulSets(d.Kube), kube.Follower{Update: c.sawSets}) })
	c.wg.Go(func() {
		_ = kube.Follow(ctx, kube.Pods(core, namespace, selector), kube.Follower{Update: c.sawPods})
	})
	c.wg.Go(func() {
		_, _ = d.Kube.Tail(ctx, kube.TailOptions{Selector: selector, Container: keeper.Container, Follow: true, Lines: -1,
			Choose: func(p *corev1.Pod) bool { return isCopy(p) },
		}, func(p *corev1.Pod, line string) { c.heard(p.Labels[keeper.NodeLabel], line) })
	})
	return c
}

func statefulSets(k *kube.Client) kube.Source {
	sets := k.Core().AppsV1().StatefulSets(k.Namespace())
	return kube.Source{
		Selector: labelPartOf + "=" + network.Release,
		List:     func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return sets.List(ctx, o) },
		Watch:    func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) { return sets.Watch(ctx, o) },
	}
}

// stop ends it. What has not come to an end is left as it was last seen.
func (c *copies) stop(err error) {
	c.cancel()
	c.wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(c.nodes)) {
		n := c.nodes[name]
		if n.step == nil || n.ended {
			continue
		}
		n.ended = true
		if err == nil {
			n.step.Done(n.summary(c.restore, c.d.Now()))
			continue
		}
		n.step.Warn(cmp.Or(n.verb, "not done"))
	}
	if c.whole == nil {
		return
	}
	if err == nil {
		c.whole.Done(c.counts())
		return
	}
	c.whole.Warn(c.counts())
}

func (c *copies) node(name string) *nodeCopy {
	if c.nodes[name] == nil {
		c.nodes[name] = &nodeCopy{working: map[string]bool{}}
	}
	return c.nodes[name]
}

// show begins the node's line with its first news.
func (c *copies) show(name, note string) {
	n := c.nodes[name]
	if n.ended {
		return
	}
	if n.step == nil {
		n.step = c.d.Report.Start(name)
	}
	n.verb = note
	n.step.Update(note)
}

func (c *copies) sawSets(objects map[string]metav1.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		set, ok := objects[name].(*appsv1.StatefulSet)
		if !ok {
			continue
		}
		held := c.holds(set)
		if !held && c.nodes[name] == nil {
			continue
		}
		n := c.node(name)
		switch {
		case held && !n.held:
			n.held, n.stopped, n.started = true, c.d.Now(), false
			if !c.restore {
				c.show(name, "stopped")
			}
		case !held && n.held:
			n.held = false
			if !c.restore {
				c.show(name, "starting")
			}
		}
		n.started = !n.stopped.IsZero() && !held && ready(set)
		c.settle(name)
	}
	c.tellWhole()
}

// holds reports whether the node is stopped by the run that is watched. A hold that cannot be
// read is somebody else's.
func (c *copies) holds(set *appsv1.StatefulSet) bool {
	var h keeper.Hold
	text, ok := set.Annotations[keeper.HeldAnnotation]
	return ok && json.Unmarshal([]byte(text), &h) == nil && h.Key == c.key && h.Stage == keeper.Stopped
}

func ready(set *appsv1.StatefulSet) bool {
	return set.Status.ObservedGeneration >= set.Generation && set.Status.ReadyReplicas > 0
}

func (c *copies) sawPods(objects map[string]metav1.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	there := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		pod, ok := objects[name].(*corev1.Pod)
		if !ok || !isCopy(pod) {
			continue
		}
		node := pod.Labels[keeper.NodeLabel]
		there[name] = true
		n := c.node(node)
		switch pod.Status.Phase {
		case corev1.PodSucceeded:
			n.copied = true
			delete(n.working, name)
		case corev1.PodFailed:
			n.heard = ""
			delete(n.working, name)
			if reason, _ := kube.PodReason(pod); reason != "" {
				c.show(node, "the copy failed: "+reason)
			}
		default:
			fresh := !n.working[name]
			n.working[name] = true
			reason, stuck := kube.PodReason(pod)
			switch {
			case stuck:
				c.show(node, reason)
			case fresh && n.heard != "": // its log was quicker than its status
				c.show(node, n.heard)
			case n.step == nil:
				c.show(node, "copying")
			}
		}
		c.settle(node)
	}
	for node, n := range c.nodes {
		for pod := range n.working {
			if !there[pod] {
				delete(n.working, pod)
				c.settle(node)
			}
		}
	}
	c.tellWhole()
}

// isCopy tells pods that have a node's data in hand from those that tidy up, watch and answer.
func isCopy(p *corev1.Pod) bool {
	return p.Labels[keeper.NodeLabel] != "" && slices.Contains([]string{"save", "restore", "undo"}, p.Labels[keeper.RoleLabel])
}

// progress is a line of a copy pod's log that tells how far it is.
type progress struct {
	Msg   string  `json:"msg"`
	Verb  string  `json:"verb"`
	Bytes int64   `json:"bytes"`
	Total int64   `json:"total"`
	Rate  float64 `json:"rate"` // bytes per second
}

func (c *copies) heard(node, line string) {
	var p progress
	if json.Unmarshal([]byte(line), &p) != nil || p.Msg != "progress" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.node(node)
	n.bytes, n.heard = max(n.bytes, p.Bytes), p.String()
	if n.ended || len(n.working) == 0 { // what a pod of an earlier run says has been told
		return
	}
	if n.step == nil {
		n.step = c.d.Report.Start(node)
	}
	n.verb = n.heard
	n.step.Progress(n.verb)
}

func (p progress) String() string {
	text := cmp.Or(p.Verb, "copying") + " " + Size(p.Bytes)
	if p.Total > 0 {
		text += " of " + Size(p.Total)
	}
	if p.Rate > 0 {
		text += ", " + Size(int64(p.Rate)) + "/s"
	}
	return text
}

// settle ends a node's line when its turn is over: in a backup when it serves again and its
// copy is made, in a restore when its data are there, because nodes are started together.
func (c *copies) settle(name string) {
	n := c.nodes[name]
	if n.step == nil || n.ended || len(n.working) > 0 || !n.copied || !c.restore && !n.started {
		return
	}
	n.ended = true
	n.step.Done(n.summary(c.restore, c.d.Now()))
}

func (n *nodeCopy) summary(restore bool, now time.Time) string {
	var parts []string
	switch {
	case n.bytes > 0 && restore:
		parts = append(parts, "restored "+Size(n.bytes))
	case n.bytes > 0:
		parts = append(parts, "copied "+Size(n.bytes))
	}
	if !restore && !n.stopped.IsZero() {
		parts = append(parts, fmt.Sprintf("away for %s", now.Sub(n.stopped).Round(time.Second)))
	}
	return strings.Join(parts, ", ")
}

// tellWhole is for a restore: how many nodes are where.
func (c *copies) tellWhole() {
	if !c.restore {
		return
	}
	text := c.counts()
	if text == "" || text == c.said {
		return
	}
	c.said = text
	if c.whole == nil {
		c.whole = c.d.Report.Start("nodes")
	}
	c.whole.Update(text)
}

func (c *copies) counts() string {
	var stopped, restored, started int
	for _, n := range c.nodes {
		if !n.stopped.IsZero() {
			stopped++
		}
		if n.copied {
			restored++
		}
		if n.started {
			started++
		}
	}
	if stopped == 0 {
		return ""
	}
	return fmt.Sprintf("%d stopped, %d restored, %d started again", stopped, restored, started)
}
