//go:build e2e

package runtime

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// What the cluster in memory is believed to do, asked of a real one: KUBECONFIG names it.
// PIVT_E2E_IMAGE may name an image with a busybox in it.

type real struct {
	t         testing.TB
	client    *typed.CoreV1Client
	namespace string
}

func realCluster(t testing.TB) *real {
	t.Helper()
	file := os.Getenv("KUBECONFIG")
	if file == "" {
		t.Fatal("KUBECONFIG must name the test cluster; there is no default, so that nobody's cluster is used by accident")
	}
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	client, err := typed.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	r := &real{t: t, client: client, namespace: fmt.Sprintf("pivt-runtime-%x", time.Now().UnixNano())}
	_, err = client.Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: r.namespace, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Namespaces().Delete(context.Background(), r.namespace, metav1.DeleteOptions{})
	})
	return r
}

func realImage() string {
	if image := os.Getenv("PIVT_E2E_IMAGE"); image != "" {
		return image
	}
	return "docker.io/library/busybox:1.35.0"
}

func (r *real) peer() Peer { return Peer{Namespace: r.namespace, Node: node} }

// awaitQuota waits until a quota binds: its controller writes down what it is to enforce.
func awaitQuota(t *testing.T, r *real, name string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		q, err := r.client.ResourceQuotas(r.namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err == nil && len(q.Status.Hard) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("quota %s does not bind: %v", name, err)
		}
	}
}

// awaitEmpty waits for pods and secrets to be gone from the cluster.
func (r *real) awaitEmpty() {
	r.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		pods, err := r.client.Pods(r.namespace).List(context.Background(), metav1.ListOptions{})
		if err != nil {
			r.t.Fatal(err)
		}
		secrets, err := r.client.Secrets(r.namespace).List(context.Background(), metav1.ListOptions{LabelSelector: labelComponent + "=chaincode"})
		if err != nil {
			r.t.Fatal(err)
		}
		if len(pods.Items)+len(secrets.Items) == 0 {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("left: %d pods, %d secrets", len(pods.Items), len(secrets.Items))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// buffer is a log that is read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestRealFailures(t *testing.T) {
	t.Parallel()
	nowhere := "registry.invalid/cc@sha256:" + strings.Repeat("1", 64)
	cases := map[string]struct {
		reason  string
		image   string
		quota   bool
		memory  string
		within  time.Duration
		want    []string
		options Options
	}{
		"ImageNotFound": {
			reason: "The container runtime's words reach whoever called the chaincode.",
			image:  nowhere, within: time.Minute,
			want: []string{"its image cannot be pulled: ", "registry.invalid"},
		},
		"InvalidImageName": {
			reason: "The kubelet refuses it without asking anybody.",
			image:  "registry.invalid/CC@sha256:" + strings.Repeat("1", 64), within: time.Minute,
			want: []string{"its image cannot be pulled: ", "must be lowercase"},
		},
		"Unschedulable": {
			reason: "The scheduler says what is short.",
			image:  realImage(), memory: "1Pi", within: time.Minute,
			options: Options{Patience: Patience{Node: time.Second, Start: time.Minute}},
			want:    []string{"no node takes it: ", "Insufficient memory"},
		},
		"Quota": {
			reason: "What admission refuses is not tried again.",
			image:  realImage(), quota: true, within: time.Minute,
			want: []string{"creating pod ", "exceeded quota: none"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := realCluster(t)
			if tc.quota {
				_, err := r.client.ResourceQuotas(r.namespace).Create(t.Context(), &corev1.ResourceQuota{
					ObjectMeta: metav1.ObjectMeta{Name: "none"},
					Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}},
				}, metav1.CreateOptions{})
				if err != nil {
					t.Fatal(err)
				}
				awaitQuota(t, r, "none")
			}
			cc := chaincode("basic_1.0")
			cc.Image = tc.image
			if tc.memory != "" {
				tc.options.Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(tc.memory)}
			}
			begun := time.Now()
			err := Run(t.Context(), r.client, r.peer(), cc, tc.options)
			took := time.Since(begun)
			if err == nil {
				t.Fatalf("%s\nRun = nil", tc.reason)
			}
			t.Logf("%s: %v", took.Round(time.Millisecond), err)
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s\nRun = %v\nwant %q", tc.reason, err, want)
				}
			}
			if took > tc.within {
				t.Errorf("%s\nRun took %s, want %s at most", tc.reason, took, tc.within)
			}
			r.awaitEmpty()
		})
	}
}

// TestRealLife runs the sample chaincode, if the cluster has it, as a peer that it cannot
// reach: it starts, says so and ends.
func TestRealLife(t *testing.T) {
	t.Parallel()
	r := realCluster(t)
	cc := chaincode("My_CC.v1+rc")
	cc.Image = sampleImage(t)
	cc.PeerAddress = "127.0.0.1:1"
	var log buffer
	var story []string
	err := Run(t.Context(), r.client, r.peer(), cc, Options{Output: &log, Report: func(s string) { story = append(story, s) }})
	t.Logf("%v\n%s\nlog: %s", err, strings.Join(story, "\n"), log.String())
	if err == nil || !strings.Contains(err.Error(), "exited with status 1") {
		t.Errorf("Run = %v, want the sample's exit status", err)
	}
	if !strings.Contains(log.String(), "Error: ") {
		t.Errorf("log = %q, want what the sample said", log.String())
	}
	r.awaitEmpty()
}

// TestRealStop: a running pod and its Secret are gone soon after a stop, and the run has
// ended long before Fabric's patience has.
func TestRealStop(t *testing.T) {
	t.Parallel()
	r := realCluster(t)
	cc := chaincode("basic_1.0")
	cc.Image = "docker.io/pivt/pause:1" // runs until it is told to end
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	running := make(chan struct{})
	result := make(chan error, 1)
	go func() {
		result <- Run(ctx, r.client, r.peer(), cc, Options{Report: func(s string) {
			t.Log(s)
			if strings.Contains(s, " runs on node ") {
				close(running)
			}
		}})
	}()
	select {
	case <-running:
	case err := <-result:
		if err != nil && strings.Contains(err.Error(), "cannot be pulled") {
			t.Skipf("the cluster has no %s: %v", cc.Image, err)
		}
		t.Fatal(err)
	}
	begun := time.Now()
	stop()
	if err := <-result; err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("stopping took %s", took)
	}
	r.awaitEmpty()
}

// TestRealOwner: what a killed launcher leaves goes with its peer's pod.
func TestRealOwner(t *testing.T) {
	t.Parallel()
	r := realCluster(t)
	o := Options{Resources: DefaultResources()}
	peer := r.peer()
	cc := chaincode("basic_1.0")
	cc.Image = "docker.io/pivt/pause:1"
	owner, err := r.client.Pods(r.namespace).Create(t.Context(), pod(&peer, &cc, "peer", &o), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	peer.Pod, peer.UID = owner.Name, string(owner.UID)
	made, err := r.client.Pods(r.namespace).Create(t.Context(), pod(&peer, &cc, "orphan", &o), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.Secrets(r.namespace).Create(t.Context(), secret(made, made.Name, made.Labels, keys(&cc)), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	now := int64(0)
	if err := r.client.Pods(r.namespace).Delete(t.Context(), owner.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	r.awaitEmpty()
}

// sampleImage is the image that the repository's network.yaml runs.
func sampleImage(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../network.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if image, ok := strings.CutPrefix(strings.TrimSpace(line), "image: "); ok {
			return image
		}
	}
	t.Fatal("network.yaml names no image")
	return ""
}
