package runtimetest

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// Namespace is the one namespace of the cluster.
const Namespace = "fabric"

// Options say what the cluster is like.
type Options struct {
	// Images by reference. All others cannot be pulled.
	Images map[string]Program
	// Memory of the node in bytes; zero means plenty.
	Memory int64
	// Pods is the namespace's quota; zero means that there is no quota, -1 that it is zero.
	Pods int
	// Broken, if given, is the kubelet's reason why it cannot make containers.
	Broken string
	// LogDelay is how long the kubelet takes to answer for a log.
	LogDelay time.Duration
	// Sandbox, if given, is why the kubelet cannot set up networks for pods.
	Sandbox string
}

// Cluster is the cluster. Its methods may be called from anywhere.
type Cluster struct {
	t       testing.TB
	o       Options
	server  *httptest.Server
	volumes string // directory of what pods have in volumes

	mu      sync.Mutex
	changed *sync.Cond
	away    bool
	version int
	uids    int
	oldest  int // version before which the history is forgotten
	history []event
	pods    map[string]*livePod
	secrets map[string]*corev1.Secret
	events  []corev1.Event
	calls   []string
	running sync.WaitGroup
}

type event struct {
	version int
	kind    string
	pod     *corev1.Pod
}

type livePod struct {
	*corev1.Pod
	containers map[string]*liveContainer
	stop       context.CancelFunc
	killed     chan struct{}
	gone       bool
}

// live is the container of a name, which may not have begun.
func (p *livePod) live(name string) *liveContainer {
	if p.containers[name] == nil {
		p.containers[name] = new(liveContainer)
	}
	return p.containers[name]
}

const token = "token-of-the-peer"

// New starts a cluster that ends with the test.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	c := &Cluster{t: t, o: o, volumes: t.TempDir(), pods: map[string]*livePod{}, secrets: map[string]*corev1.Secret{}}
	c.changed = sync.NewCond(&c.mu)
	c.server = httptest.NewUnstartedServer(c)
	c.server.EnableHTTP2 = true
	c.server.Config.ErrorLog = log.New(io.Discard, "", 0) // outages are meant
	c.server.StartTLS()
	t.Cleanup(func() {
		c.server.CloseClientConnections()
		c.server.Close()
		c.mu.Lock()
		for _, p := range c.pods {
			c.killLocked(p)
		}
		c.mu.Unlock()
		c.running.Wait()
	})
	return c
}

// Client is a client with the rights of the peer's service account.
func (c *Cluster) Client() typed.CoreV1Interface {
	c.t.Helper()
	client, err := typed.NewForConfig(&rest.Config{
		Host:            c.server.URL,
		BearerToken:     token,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.ca()},
		QPS:             -1,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}

// Env is what a process in the peer's container needs to reach the cluster.
func (c *Cluster) Env() map[string]string {
	c.t.Helper()
	dir := c.t.TempDir()
	for name, data := range map[string][]byte{"token": []byte(token), "ca.crt": c.ca()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	host, port, err := net.SplitHostPort(c.server.Listener.Addr().String())
	if err != nil {
		c.t.Fatal(err)
	}
	return map[string]string{
		"KUBERNETES_SERVICE_HOST": host,
		"KUBERNETES_SERVICE_PORT": port,
		"PIVT_SERVICE_ACCOUNT":    dir,
		"PIVT_NAMESPACE":          Namespace,
	}
}

func (c *Cluster) ca() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.server.Certificate().Raw})
}

// AddPeer puts a running peer's pod into the cluster and returns its UID.
func (c *Cluster) AddPeer(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: Namespace}}
	pod.Status.Phase = corev1.PodRunning
	live := c.addLocked(pod)
	live.stop = func() {}
	return string(live.UID)
}

// Away makes the API server answer nothing and cuts every connection, until Back.
func (c *Cluster) Away() {
	c.mu.Lock()
	c.away = true
	c.mu.Unlock()
	c.server.CloseClientConnections()
}

// Back ends what Away began. If forgotten, no watch can go on where it was.
func (c *Cluster) Back(forgotten bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = false
	if forgotten {
		c.oldest = c.version + 1
	}
}

// CutConnections breaks what is open, as a restarted load balancer does.
func (c *Cluster) CutConnections() { c.server.CloseClientConnections() }

// Pods are the chaincode pods there are, by name.
func (c *Cluster) Pods() []*corev1.Pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*corev1.Pod
	for _, name := range slices.Sorted(maps.Keys(c.pods)) {
		if p := c.pods[name]; len(p.Spec.Containers) > 0 {
			out = append(out, p.DeepCopy())
		}
	}
	return out
}

// Secrets are the Secrets there are, by name.
func (c *Cluster) Secrets() []*corev1.Secret {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*corev1.Secret
	for _, name := range slices.Sorted(maps.Keys(c.secrets)) {
		out = append(out, c.secrets[name].DeepCopy())
	}
	return out
}

// Volumes are the directories that stand for the volumes of pods, one per pod.
func (c *Cluster) Volumes() []string {
	c.t.Helper()
	entries, err := os.ReadDir(c.volumes)
	if err != nil {
		c.t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// Calls are the calls answered so far, as "POST pods".
func (c *Cluster) Calls() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}

// Delete deletes a pod as a person with kubectl would. An eviction says why.
func (c *Cluster) Delete(name, eviction string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pods[name]
	if p == nil {
		c.t.Errorf("there is no pod %s to delete", name)
		return
	}
	if eviction != "" {
		c.updateLocked(p, func(p *corev1.Pod) {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", Message: eviction,
			})
		})
	}
	c.deleteLocked(p, time.Second)
}

// Await polls until ok, and fails the test if that takes too long.
func (c *Cluster) Await(what string, ok func() bool) {
	c.t.Helper()
	const limit = 20 * time.Second
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			c.t.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// AwaitRunning waits for the only chaincode pod that runs, and returns it.
func (c *Cluster) AwaitRunning() *corev1.Pod {
	c.t.Helper()
	var found *corev1.Pod
	c.Await("a running chaincode pod", func() bool {
		for _, p := range c.Pods() {
			if p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
				found = p
				return true
			}
		}
		return false
	})
	return found
}

func (c *Cluster) addLocked(pod *corev1.Pod) *livePod {
	c.uids++
	pod.UID = types.UID(fmt.Sprintf("uid-%d", c.uids))
	pod.CreationTimestamp = metav1.Now()
	live := &livePod{Pod: pod, containers: map[string]*liveContainer{}, killed: make(chan struct{})}
	c.pods[pod.Name] = live
	c.recordLocked("ADDED", live)
	return live
}

func (c *Cluster) updateLocked(p *livePod, change func(*corev1.Pod)) {
	if c.pods[p.Name] != p {
		return
	}
	change(p.Pod)
	c.recordLocked("MODIFIED", p)
}

func (c *Cluster) recordLocked(kind string, p *livePod) {
	c.version++
	p.ResourceVersion = strconv.Itoa(c.version)
	c.history = append(c.history, event{c.version, kind, p.DeepCopy()})
	c.changed.Broadcast()
}

// deleteLocked marks the pod; its kubelet removes it when the program has ended.
func (c *Cluster) deleteLocked(p *livePod, grace time.Duration) {
	if p.DeletionTimestamp == nil {
		c.updateLocked(p, func(p *corev1.Pod) {
			at, seconds := metav1.NewTime(time.Now().Add(grace)), int64(grace.Seconds())
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &at, &seconds
		})
		time.AfterFunc(grace, func() { c.mu.Lock(); c.killLocked(p); c.mu.Unlock() })
	}
	p.stop()
}

func (c *Cluster) killLocked(p *livePod) {
	if p.stop != nil {
		p.stop()
	}
	if !isClosed(p.killed) {
		close(p.killed)
	}
}

// removeLocked takes the pod away, and with it what it owns.
func (c *Cluster) removeLocked(p *livePod) {
	if c.pods[p.Name] != p {
		return
	}
	delete(c.pods, p.Name)
	p.gone = true
	c.recordLocked("DELETED", p)
	owned := func(refs []metav1.OwnerReference) bool {
		return slices.ContainsFunc(refs, func(r metav1.OwnerReference) bool { return r.UID == p.UID })
	}
	maps.DeleteFunc(c.secrets, func(_ string, s *corev1.Secret) bool { return owned(s.OwnerReferences) })
	for _, other := range c.pods {
		if owned(other.OwnerReferences) {
			c.deleteLocked(other, time.Second)
		}
	}
}

// RemovePeer deletes a peer's pod; what it owns follows.
func (c *Cluster) RemovePeer(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removeLocked(c.pods[name])
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
