//go:build e2e

package kube_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/kube"
)

// The contract with a real cluster: KUBECONFIG names it, PIVT_E2E_IMAGE an image with a
// busybox in it.

// realClient makes a namespace of the test's own.
func realClient(t *testing.T) *kube.Client {
	t.Helper()
	if os.Getenv("KUBECONFIG") == "" {
		t.Fatal("KUBECONFIG must name the test cluster; there is no default, so that nobody's cluster is used by accident")
	}
	namespace := fmt.Sprintf("pivt-kube-%x", time.Now().UnixNano())
	c, err := kube.New(kube.Options{Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	change, err := c.EnsureNamespace(t.Context(), namespace, map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
	if err != nil || change.Action != kube.Created {
		t.Fatalf("EnsureNamespace = %v, %v", change, err)
	}
	t.Cleanup(func() {
		_ = c.Core().CoreV1().Namespaces().Delete(context.Background(), namespace, metav1.DeleteOptions{})
	})
	return c
}

func e2eImage() string {
	if image := os.Getenv("PIVT_E2E_IMAGE"); image != "" {
		return image
	}
	return "docker.io/library/busybox:1.35.0"
}

func decode(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var objs []*unstructured.Unstructured
	for _, doc := range strings.Split(text, "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			t.Fatal(err)
		}
		objs = append(objs, u)
	}
	return objs
}

const restricted = `
          allowPrivilegeEscalation: false
          capabilities: {drop: [ALL]}
          runAsNonRoot: true
          runAsUser: 1000
          seccompProfile: {type: RuntimeDefault}`

func statefulSet(name, image, script string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: StatefulSet
metadata: {name: %[1]s, labels: {app: story}}
spec:
  replicas: 1
  serviceName: %[1]s
  selector: {matchLabels: {name: %[1]s}}
  template:
    metadata: {labels: {name: %[1]s}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: %[2]s
        imagePullPolicy: IfNotPresent
        command: [/bin/sh, -c, %[3]q]
        securityContext:%[4]s`, name, image, script, restricted)
}

func TestRealApply(t *testing.T) {
	c := realClient(t)
	const before = `apiVersion: v1
kind: Secret
metadata: {name: s, labels: {app: story}}
stringData: {key.pem: VERY-SECRET}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a, labels: {app: story}}
data: {k: v, gone: soon}`
	const after = `apiVersion: v1
kind: Secret
metadata: {name: s, labels: {app: story}}
stringData: {key.pem: OTHER-SECRET}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a, labels: {app: story}}
data: {k: w}`
	apply := func(text string, want ...kube.Action) {
		t.Helper()
		changes, err := c.Apply(t.Context(), decode(t, text), kube.ApplyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range want {
			if changes[i].Action != w {
				t.Errorf("change %d = %v, want %s", i, changes[i], w)
			}
		}
	}
	apply(before, kube.Created, kube.Created)
	apply(before, kube.Unchanged, kube.Unchanged)

	changes, err := c.Diff(t.Context(), decode(t, after))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(changes[0].Fields), `[data["key.pem"]: (hidden) -> (hidden)]`; got != want {
		t.Errorf("Diff of the Secret = %s, want %s", got, want)
	}
	want := []string{`data.gone: "soon" (removed)`, `data.k: "v" -> "w"`}
	if got := fmt.Sprint(changes[1].Fields); got != fmt.Sprint(want) {
		t.Errorf("Diff of the ConfigMap = %s, want %s", got, want)
	}
	apply(before, kube.Unchanged, kube.Unchanged) // the dry run changed nothing
	apply(after, kube.Configured, kube.Configured)

	bad := decode(t, before)[0]
	bad.Object["data"] = map[string]any{"key.pem": map[string]any{"VERY": "SECRET"}}
	if _, err := c.Apply(t.Context(), []*unstructured.Unstructured{bad}, kube.ApplyOptions{}); err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("an unreadable Secret: error %v", err)
	}

	core := schema.GroupVersion{Version: "v1"}
	deleted, err := c.Delete(t.Context(), "app=story", []schema.GroupVersionResource{
		core.WithResource("secrets"), core.WithResource("configmaps"),
		{Group: "nobody.example.com", Version: "v1", Resource: "things"},
	}, kube.DeleteOptions{Wait: true})
	if err != nil || len(deleted) != 2 {
		t.Errorf("Delete = %v, %v", deleted, err)
	}
}

func TestRealWaitReady(t *testing.T) {
	c := realClient(t)
	objs := decode(t, statefulSet("web", e2eImage(), "sleep 1000000")+"\n---\n"+statefulSet("nope", "registry.invalid/no/such:image", "true"))
	objs = append(objs, decode(t, statefulSet("root", e2eImage(), "true"))...)
	unstructured.RemoveNestedField(objs[2].Object["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any), "containers") // replaced below
	if err := unstructured.SetNestedSlice(objs[2].Object, []any{map[string]any{"name": "main", "image": e2eImage()}}, "spec", "template", "spec", "containers"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Apply(t.Context(), objs, kube.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var states int
	state, err := c.WaitReady(ctx, "app=story", func(s kube.State) {
		states++
		t.Logf("%v", s)
		w := s.Workloads
		if len(w) == 3 && w[0].Stuck && w[1].Stuck && w[2].Ready {
			cancel()
		}
	})
	if err == nil || states < 2 {
		t.Fatalf("WaitReady = %v after %d states", err, states)
	}
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the reasons did not come in time: %v", err)
	}
	if reason := state.Workloads[0].Reason; !strings.Contains(reason, "Pull") {
		t.Errorf("reason of a missing image: %q", reason)
	}
	if reason := state.Workloads[1].Reason; !strings.Contains(reason, "PodSecurity") {
		t.Errorf("reason of a forbidden pod: %q", reason)
	}

	if _, err := c.Delete(t.Context(), "app=story", []schema.GroupVersionResource{{Group: "apps", Version: "v1", Resource: "statefulsets"}}, kube.DeleteOptions{Wait: true}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.WaitReady(ctx, "app=story", nil); exit.CodeOf(err) != exit.TimedOut {
		t.Errorf("waiting for nothing: %v", err)
	}
}

func TestRealForward(t *testing.T) {
	c := realClient(t)
	script := `echo hello from the pod; exec httpd -f -p 8080 -h /etc`
	if _, err := c.Apply(t.Context(), decode(t, statefulSet("web", e2eImage(), script)), kube.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.WaitReady(ctx, "app=story", nil); err != nil {
		t.Fatal(err)
	}

	get := func() error {
		conn, err := c.Forward(ctx, "web-0", 8080)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.WriteString(conn, "GET /passwd HTTP/1.0\r\n\r\n"); err != nil {
			return err
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil || !bytes.Contains(body, []byte("root")) {
			return fmt.Errorf("%s: %q, %w", res.Status, body, err)
		}
		return nil
	}
	for ctx.Err() == nil { // the server listens a moment after the pod is ready
		if err := get(); err == nil {
			break
		} else if !strings.Contains(err.Error(), "refused") {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := get(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()

	began := time.Now()
	conn, err := c.Forward(ctx, "web-0", 8080)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("opening took %s", time.Since(began))
	_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	var timeout net.Error
	if _, err := conn.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("a deadline on a silent connection: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}

	closed, err := c.Forward(ctx, "web-0", 8081)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := closed.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a port where nobody listens: %v", err)
	}
	if _, err := c.Forward(ctx, "nobody-0", 8080); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("a pod that does not exist: %v", err)
	}

	log, err := c.Logs(ctx, "web-0", kube.LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if text, err := io.ReadAll(log); err != nil || !strings.Contains(string(text), "hello from the pod") {
		t.Errorf("Logs = %q, %v", text, err)
	}
}

func TestRealQuestions(t *testing.T) {
	c := realClient(t)
	if v, err := c.ServerVersion(t.Context()); err != nil || v.GitVersion == "" {
		t.Errorf("ServerVersion = %v, %v", v, err)
	}
	if ok, err := c.Can(t.Context(), kube.Access{Verb: "create", Resource: "pods", Subresource: "portforward"}); err != nil || !ok {
		t.Errorf("Can = %v, %v", ok, err)
	}
	for resource, want := range map[string]bool{"statefulsets": true, "unicorns": false} {
		if ok, err := c.Serves(t.Context(), schema.GroupVersion{Group: "apps", Version: "v1"}, resource); err != nil || ok != want {
			t.Errorf("Serves(%s) = %v, %v", resource, ok, err)
		}
	}
	if ok, err := c.Serves(t.Context(), schema.GroupVersion{Group: "nobody.example.com", Version: "v1"}, "things"); err != nil || ok {
		t.Errorf("Serves of an unknown group = %v, %v", ok, err)
	}
}
