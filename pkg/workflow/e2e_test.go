//go:build e2e

package workflow_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/kube"
	"pivt.io/pivt/pkg/workflow"
)

// The contract with a real Argo: KUBECONFIG names the cluster, PIVT_E2E_IMAGE an image with
// a busybox in it.

func realClient(t *testing.T) *kube.Client {
	t.Helper()
	if os.Getenv("KUBECONFIG") == "" {
		t.Fatal("KUBECONFIG must name the test cluster; there is no default, so that nobody's cluster is used by accident")
	}
	namespace := fmt.Sprintf("pivt-workflow-%x", time.Now().UnixNano())
	c, err := kube.New(kube.Options{Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.EnsureNamespace(t.Context(), namespace, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Core().CoreV1().Namespaces().Delete(context.Background(), namespace, metav1.DeleteOptions{})
	})
	var objs []*unstructured.Unstructured
	for _, doc := range strings.Split(rights, "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			t.Fatal(err)
		}
		objs = append(objs, u)
	}
	if _, err := c.Apply(t.Context(), objs, kube.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	return c
}

func e2eImage() string {
	if image := os.Getenv("PIVT_E2E_IMAGE"); image != "" {
		return image
	}
	return "docker.io/library/busybox:1.35.0"
}

const rights = `{apiVersion: v1, kind: ServiceAccount, metadata: {name: flow}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: flow}
rules: [{apiGroups: [argoproj.io], resources: [workflowtaskresults], verbs: [create, patch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: flow}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: flow}
subjects: [{kind: ServiceAccount, name: flow}]`

func watchReal(t *testing.T, c *kube.Client, run *workflow.Run) (workflow.Outcome, []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	began := time.Now()
	var events []string
	o, err := workflow.Watch(ctx, c, run, func(e workflow.Event) {
		t.Logf("%4.1f s  %d/%d  %s", time.Since(began).Seconds(), e.Done, e.Total, e)
		events = append(events, e.String())
	})
	if err != nil {
		t.Fatal(err)
	}
	if late := time.Since(o.Finished); late > 10*time.Second {
		t.Errorf("Watch returned %s after the end", late)
	}
	return o, events
}

func TestRealSuccess(t *testing.T) {
	c := realClient(t)
	manifest := flow(e2eImage(), `echo '["join-a"]' > /out/todo`, `echo '["peer0 joined"]' > /out/result; sleep 5`)
	run, err := workflow.Submit(t.Context(), c, c.Namespace(), manifest)
	if err != nil {
		t.Fatal(err)
	}
	again, err := workflow.Submit(t.Context(), c, c.Namespace(), manifest)
	if err != nil || !again.Adopted || again.Name != run.Name {
		t.Fatalf("the second Submit made %+v, %v instead of adopting %+v", again, err, run)
	}
	o, events := watchReal(t, c, run)
	if err := workflow.Explain(o); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"join-a"}, o.Todo); diff != "" {
		t.Errorf("todo: -want, +got:\n%s", diff)
	}
	got := map[string]workflow.Phase{}
	for _, task := range o.Tasks {
		got[task.Title] = task.Phase
	}
	want := map[string]workflow.Phase{"Look": workflow.Succeeded, "Join A": workflow.Succeeded, "Join B": workflow.Skipped}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tasks: -want, +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"peer0 joined"}, o.Tasks[1].Result); diff != "" || o.Pods != 2 {
		t.Errorf("%d pods, result: -want, +got:\n%s", o.Pods, diff)
	}
	if text := strings.Join(events, "\n"); !strings.Contains(text, "Join A: running") {
		t.Errorf("no event tells that a task runs:\n%s", text)
	}
	third, err := workflow.Submit(t.Context(), c, c.Namespace(), manifest)
	if err != nil || third.Adopted {
		t.Fatalf("a finished run was adopted: %+v, %v", third, err)
	}
	if err := workflow.Stop(t.Context(), c, third); err != nil {
		t.Fatal(err)
	}
	o, err = workflow.Watch(t.Context(), c, third, nil)
	if err != nil || workflow.Explain(o) == nil {
		t.Errorf("a stopped run ended as %s, %v", o.Phase, err)
	}
}

func TestRealFailure(t *testing.T) {
	c := realClient(t)
	run, err := workflow.Submit(t.Context(), c, c.Namespace(), flow(e2eImage(), `echo '["join-a","join-b"]' > /out/todo`,
		`printf 'peer0.a:7051: certificate expired\nHint:  renew it\n' > /dev/termination-log; exit 1`))
	if err != nil {
		t.Fatal(err)
	}
	o, _ := watchReal(t, c, run)
	err = workflow.Explain(o)
	const want = "join-a: peer0.a:7051: certificate expired; join-b: peer0.a:7051: certificate expired"
	if err == nil || !strings.HasSuffix(err.Error(), want) || exit.HintOf(err) != "renew it" || exit.CodeOf(err) != exit.Failed {
		t.Errorf("Explain = %v (code %d, hint %q), want …%s", err, exit.CodeOf(err), exit.HintOf(err), want)
	}
	if o.Pods != 3 {
		t.Errorf("%d pods: a permanent failure was tried again", o.Pods)
	}
}

func TestRealTryAgain(t *testing.T) {
	c := realClient(t)
	run, err := workflow.Submit(t.Context(), c, c.Namespace(), flow(e2eImage(), `echo 'no leader yet' > /dev/termination-log; exit 75`, "true"))
	if err != nil {
		t.Fatal(err)
	}
	o, _ := watchReal(t, c, run)
	err = workflow.Explain(o)
	if exit.CodeOf(err) != exit.TimedOut || !strings.HasSuffix(err.Error(), "probe: no leader yet") || o.Tasks[0].Attempts != 3 {
		t.Errorf("Explain = %v (code %d) after %d attempts", err, exit.CodeOf(err), o.Tasks[0].Attempts)
	}
	if o.Tasks[1].Phase != workflow.Omitted {
		t.Errorf("what depends on a failure is %s", o.Tasks[1].Phase)
	}
}

func TestRealDeleted(t *testing.T) {
	c := realClient(t)
	run, err := workflow.Submit(t.Context(), c, c.Namespace(), flow(e2eImage(), "sleep 100", "true"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = workflow.Watch(ctx, c, run, func(e workflow.Event) {
		if e.Task == nil || e.Task.Phase != workflow.Running {
			return
		}
		gvr := workflow.Resource()
		if err := c.Dynamic().Resource(gvr).Namespace(run.Namespace).Delete(ctx, run.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	if !errors.Is(err, workflow.ErrDeleted) {
		t.Errorf("Watch = %v", err)
	}
}
