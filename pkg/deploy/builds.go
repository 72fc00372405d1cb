package deploy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/kube"
)

const (
	// buildPods selects what peers' launchers make to build chaincode from source.
	buildPods      = "app.kubernetes.io/component=chaincode-build"
	buildContainer = "build"

	buildTail    = 40              // lines that are told of a failed build
	buildPause   = 2 * time.Second // between two lines of a build that goes on
	buildLastLog = 2 * time.Second // how long the log of an ended build is waited for
	maxBuildLine = 400             // bytes of a line that are told
)

// BuildError is a chaincode that did not build, with what its compiler said. The peer tells
// whoever installs only that it failed.
type BuildError struct {
	Chaincode string // its package's label
	Node      string // the peer whose launcher built it
	Reason    string
	Log       []string // the last lines
}

// Error is one line; the Log is for whoever can show more.
func (e *BuildError) Error() string {
	text := fmt.Sprintf("chaincode %s did not build at %s: %s", e.Chaincode, e.Node, e.Reason)
	if n := len(e.Log); n > 0 {
		text += ": " + e.Log[n-1]
	}
	return text
}

// builds tells of chaincode builds while a flow runs: what they say, and why they fail. It is
// only a help: without the right to see pods or their logs nothing is told.
type builds struct {
	d        *Deployment
	pods     kube.Source
	unwatch  context.CancelFunc // ends watching pods
	read     context.Context    // of their logs
	unread   context.CancelFunc
	watching sync.WaitGroup
	failing  sync.WaitGroup // failures that wait for the last lines, not for long
	reading  sync.WaitGroup

	mu     sync.Mutex
	seen   map[string]*build // by UID
	failed *BuildError       // the first
}

// build is one pod that builds.
type build struct {
	of    *builds
	step  Step
	label string
	node  string
	over  chan struct{} // closed once the log has been read
	end   sync.Once

	mu   sync.Mutex
	tail []string
	told time.Time
}

func (d *Deployment) followBuilds(ctx context.Context) *builds {
	b := &builds{d: d, seen: map[string]*build{}, pods: kube.Pods(d.Kube.Core(), d.Kube.Namespace(), buildPods)}
	var watch context.Context
	watch, b.unwatch = context.WithCancel(ctx)
	b.read, b.unread = context.WithCancel(ctx)
	b.watching.Add(1)
	go func() {
		defer b.watching.Done()
		_ = kube.Follow(watch, b.pods, kube.Follower{Update: b.update})
	}()
	return b
}

// stop ends it and adds the first failed build to an error that it explains.
func (b *builds) stop(err error) error {
	b.unwatch()
	b.watching.Wait()
	if !errors.Is(err, context.Canceled) { // a flow may end before the watch has told of its builds
		ctx, cancel := context.WithTimeout(b.read, lastLook)
		defer cancel()
		if pods, err := kube.Look(ctx, b.pods); err == nil {
			b.update(pods)
		}
	}
	b.failing.Wait()
	b.unread()
	b.reading.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, one := range b.seen {
		one.end.Do(func() { one.step.Warn("no longer watched") })
	}
	if err == nil || b.failed == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w; %w", err, b.failed)
}

func (b *builds) update(pods map[string]metav1.Object) {
	there := map[string]bool{}
	for _, o := range pods {
		pod, ok := o.(*corev1.Pod)
		if !ok {
			continue
		}
		uid := string(pod.UID)
		there[uid] = true
		i := slices.IndexFunc(pod.Status.InitContainerStatuses, func(s corev1.ContainerStatus) bool { return s.Name == buildContainer })
		if i < 0 {
			continue
		}
		state := pod.Status.InitContainerStatuses[i].State
		if state.Running == nil && state.Terminated == nil {
			continue
		}
		one := b.one(uid, pod)
		if t := state.Terminated; t != nil && t.ExitCode != 0 {
			b.fail(one, t)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for uid, one := range b.seen {
		if !there[uid] { // what failed has ended already
			one.end.Do(func() { one.step.Done("") })
		}
	}
}

// one is the build of a pod; the first time, its log begins to be read.
func (b *builds) one(uid string, pod *corev1.Pod) *build {
	b.mu.Lock()
	defer b.mu.Unlock()
	if one := b.seen[uid]; one != nil {
		return one
	}
	label, node := pod.Labels[labelChaincode], pod.Labels[labelNode]
	one := &build{of: b, label: label, node: node, over: make(chan struct{}), step: b.d.Report.Start(fmt.Sprintf("build of %s at %s", label, node))}
	b.seen[uid] = one
	b.reading.Add(1)
	go func() {
		defer b.reading.Done()
		defer close(one.over)
		one.read(b.read, pod.Name)
	}()
	return one
}

// fail tells why a build failed, as soon as its log is complete.
func (b *builds) fail(one *build, t *corev1.ContainerStateTerminated) {
	b.failing.Add(1)
	go func() {
		defer b.failing.Done()
		one.end.Do(func() {
			timer := time.NewTimer(buildLastLog)
			defer timer.Stop()
			select {
			case <-one.over:
			case <-timer.C:
			case <-b.read.Done():
			}
			e := &BuildError{Chaincode: one.label, Node: one.node, Reason: fmt.Sprintf("exit status %d", t.ExitCode), Log: one.last()}
			if t.Reason != "" && t.Reason != "Error" {
				e.Reason += " (" + t.Reason + ")"
			}
			if len(e.Log) == 0 { // the pod was gone before its log was read
				e.Log = strings.Split(strings.TrimSpace(t.Message), "\n")
			}
			b.mu.Lock()
			if b.failed == nil {
				b.failed = e
			}
			b.mu.Unlock()
			one.step.Fail(e)
		})
	}()
}

// read copies the log until the build ends, telling a line now and then.
func (one *build) read(ctx context.Context, pod string) {
	log, err := one.of.d.Kube.Logs(ctx, pod, kube.LogOptions{Container: buildContainer, Follow: true})
	if err != nil {
		return
	}
	defer log.Close()
	lines := bufio.NewReaderSize(log, maxBuildLine)
	for {
		line, long, err := lines.ReadLine()
		if text := strings.ToValidUTF8(strings.TrimRight(string(line), " \t\r"), "?"); text != "" {
			one.say(text)
		}
		for long && err == nil { // the rest of an overlong line
			_, long, err = lines.ReadLine()
		}
		if err != nil {
			return
		}
	}
}

func (one *build) say(line string) {
	one.mu.Lock()
	one.tail = append(one.tail, line)
	if len(one.tail) > buildTail {
		one.tail = one.tail[len(one.tail)-buildTail:]
	}
	due := time.Since(one.told) >= buildPause
	if due {
		one.told = time.Now()
	}
	one.mu.Unlock()
	if due {
		one.step.Update(strings.TrimSpace(line))
	}
}

func (one *build) last() []string {
	one.mu.Lock()
	defer one.mu.Unlock()
	return slices.Clone(one.tail)
}
