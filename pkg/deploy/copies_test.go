package deploy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/deploy/deploytest"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/keeper"
)

const (
	saved      = "20261121-120000" // when the cluster in memory makes everything
	withTarget = "backup: {target: {type: s3, s3: {bucket: backups}}}"
	onePeer    = "hlf-peer--karga--peer0"
)

// copying is a run of the backup flow whose keeper is the test.
type copying struct {
	*bringUp
	story *story
	over  chan error

	mu   sync.Mutex
	said map[string][]string
	news chan struct{}
}

// startCopying submits a flow whose tasks do not end.
func startCopying(t *testing.T, r deploy.BackupRun) *copying {
	t.Helper()
	c := &copying{bringUp: newBringUp(t), said: map[string][]string{}, over: make(chan error, 1), news: make(chan struct{}, 1)}
	c.mustInstall()
	c.cluster.HoldTasks()
	c.story = &story{heard: func(title, note string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.said[title] = append(c.said[title], note)
		select {
		case c.news <- struct{}{}:
		default:
		}
	}}
	go func() {
		_, err := c.deployment(c.story, withTarget).RunBackup(c.Context(), r)
		c.over <- err
	}()
	return c
}

// hears waits for a note of a line, or for the end of a line if the note says so.
func (c *copying) hears(title, note string) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), 20*time.Second)
	defer cancel()
	for {
		c.mu.Lock()
		said := strings.Join(c.said[title], "\n")
		c.mu.Unlock()
		c.story.mu.Lock()
		said += "\n" + strings.Join(c.story.ended[title], "\n")
		c.story.mu.Unlock()
		if strings.Contains(said, note) {
			return
		}
		select {
		case <-ctx.Done():
			c.Fatalf("%s never said %q, but:\n%s", title, note, said)
		case <-c.news:
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// scale does what the keeper does to a StatefulSet: hold and scale in one change.
func (c *copying) scale(node string, by keeper.By, stopped bool) {
	c.Helper()
	sets := c.cluster.Client(namespace).Core().AppsV1().StatefulSets(namespace)
	set, err := sets.Get(c.Context(), node, metav1.GetOptions{})
	if err != nil {
		c.Fatal(err)
	}
	set.Status = appsv1.StatefulSetStatus{}
	set.Spec.Replicas = new(int32(1))
	delete(set.Annotations, keeper.HeldAnnotation)
	if stopped {
		text, _ := json.Marshal(keeper.Hold{By: by, Key: saved, Stage: keeper.Stopped, Since: now()})
		set.Annotations = map[string]string{keeper.HeldAnnotation: string(text)}
		set.Spec.Replicas = new(int32(0))
	}
	if _, err := sets.Update(c.Context(), set, metav1.UpdateOptions{}); err != nil {
		c.Fatal(err)
	}
}

// pod makes or changes a copy pod.
func (c *copying) pod(role, node string, phase corev1.PodPhase) {
	c.Helper()
	state := map[string]any{"running": map[string]any{}}
	if phase != corev1.PodRunning {
		state = map[string]any{"terminated": map[string]any{"exitCode": map[corev1.PodPhase]int{corev1.PodFailed: 1}[phase], "message": "the repository is full"}}
	}
	c.cluster.Put("pods", namespace, map[string]any{"phase": phase, "containerStatuses": []map[string]any{{"name": keeper.Container, "state": state}}},
		map[string]any{"name": "hlf-" + role + "--" + node, "labels": map[string]any{keeper.KeyLabel: saved, keeper.NodeLabel: node, keeper.RoleLabel: role}})
}

// logs is what the copy pod has written: two lines of progress, among others.
func (c *copying) logs(role, node, verb string) {
	line := func(bytes int64) string {
		return fmt.Sprintf(`2026-11-21T12:00:%02dZ {"time":"x","level":"INFO","msg":"progress","node":%q,"verb":%q,"bytes":%d,"total":%d,"rate":%d}`, bytes>>27, node, verb, bytes, int64(1400<<20), 88<<20)
	}
	c.cluster.Log("hlf-"+role+"--"+node, strings.Join([]string{"2026-11-21T12:00:00Z not JSON", line(100 << 20), line(412 << 20), ""}, "\n"))
}

// TestCopies follows the nodes of a backup.
func TestCopies(t *testing.T) {
	t.Parallel()
	c := startCopying(t, deploy.BackupRun{Action: deploy.BackupCreate, Key: saved})
	c.hears("backup "+saved, "workflow ")
	c.scale(onePeer, keeper.ByBackup, true)
	c.hears(onePeer, "stopped")
	c.logs("save", onePeer, "copying")
	c.pod("save", onePeer, corev1.PodRunning)
	c.hears(onePeer, "copying 412 MiB of 1.4 GiB, 88 MiB/s")
	c.pod("save", onePeer, corev1.PodFailed)
	c.hears(onePeer, "the copy failed: container backup: ended with code 1: the repository is full")
	c.pod("save", onePeer, corev1.PodSucceeded)
	c.scale(onePeer, keeper.ByBackup, false)
	c.hears(onePeer, "done: copied 412 MiB, away for ")
	// A guard and pods that tidy up are no copies.
	c.pod("guard", "", corev1.PodRunning)
	c.pod("finish", "hlf-peer--karga--peer1", corev1.PodRunning)
	c.cluster.EndTasks()
	if err := <-c.over; err != nil {
		t.Fatal(err)
	}
	c.story.check(t)
	diff(t, "Nodes that were not touched have no line.", []string{"backup " + saved + " done", onePeer + " done"}, ended(c.story.words()))
}

// ended leaves out the lines of the install before.
func ended(words []string) []string {
	var some []string
	for _, w := range words {
		if strings.HasPrefix(w, "backup") || strings.HasPrefix(w, "restore") || strings.HasPrefix(w, "hlf-") || strings.HasPrefix(w, "nodes") {
			some = append(some, w)
		}
	}
	return some
}

// TestCopiesOfRestore follows nodes that are all stopped first and started together.
func TestCopiesOfRestore(t *testing.T) {
	t.Parallel()
	c := startCopying(t, deploy.BackupRun{Action: deploy.BackupRestore, Key: saved})
	c.hears("restore of "+saved, "workflow ")
	const other = "hlf-peer--karga--peer1"
	for _, node := range []string{onePeer, other} {
		c.scale(node, keeper.ByRestore, true)
	}
	c.hears("nodes", "2 stopped, 0 restored, 0 started again")
	c.logs("restore", onePeer, "restoring")
	c.pod("restore", onePeer, corev1.PodRunning)
	c.hears(onePeer, "restoring 412 MiB of 1.4 GiB, 88 MiB/s")
	c.pod("restore", onePeer, corev1.PodSucceeded)
	c.hears(onePeer, "done: restored 412 MiB")
	c.scale(onePeer, keeper.ByRestore, false)
	c.hears("nodes", "2 stopped, 1 restored, 1 started again")
	c.cluster.FailTask("restore", deploytest.TaskFailure{ExitCode: 1, Message: "no space left"})
	c.cluster.EndTasks()
	if err := <-c.over; exit.CodeOf(err) != exit.Failed {
		t.Fatalf("%v", err)
	}
	c.story.check(t)
	diff(t, "A failure leaves the count of nodes as a warning.", []string{"restore of " + saved + " failed", "nodes warned", onePeer + " done"}, ended(c.story.words()))
}
