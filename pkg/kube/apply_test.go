package kube_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/kube"
)

const (
	secretPath = "api/v1/namespaces/fabric/secrets/s"
	configPath = "api/v1/namespaces/fabric/configmaps/c"
	theSpace   = `{apiVersion: v1, kind: Namespace, metadata: {name: fabric}}`
	theSecret  = `{apiVersion: v1, kind: Secret, metadata: {name: s, labels: {app: story}}, data: {key.pem: VkVSWQ==}}`
	theConfig  = `{apiVersion: v1, kind: ConfigMap, metadata: {name: c, labels: {app: story}}, data: {k: v, gone: soon}}`
)

func objects(t *testing.T, docs ...string) []*unstructured.Unstructured {
	t.Helper()
	var objs []*unstructured.Unstructured
	for _, doc := range docs {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			t.Fatal(err)
		}
		objs = append(objs, u)
	}
	return objs
}

func apply(t *testing.T, c *kube.Client, docs ...string) string {
	t.Helper()
	changes, err := c.Apply(t.Context(), objects(t, docs...), kube.ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(changes)
}

func TestApply(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	c := s.client(t)
	steps := []struct {
		reason string
		docs   []string
		want   string
	}{
		{"The namespace comes first and the rest in a fixed order, however they were given.",
			[]string{theConfig, theSecret, theSpace}, "[namespace/fabric created secret/s created configmap/c created]"},
		{"Applying the same again changes nothing, and says so.",
			[]string{theConfig, theSecret}, "[secret/s unchanged configmap/c unchanged]"},
		{"Only what differs is configured.",
			[]string{strings.Replace(theConfig, ", gone: soon", "", 1), theSecret}, "[secret/s unchanged configmap/c configured]"},
	}
	for _, step := range steps {
		if got := apply(t, c, step.docs...); got != step.want {
			t.Errorf("%s\nApply = %s, want %s", step.reason, got, step.want)
		}
	}
	if diff := cmp.Diff(object{"k": "v"}, s.get(configPath)["data"]); diff != "" {
		t.Errorf("a key that is no longer wanted must go: -want, +got:\n%s", diff)
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	c := s.client(t)
	fresh, err := c.Diff(t.Context(), objects(t, theSecret))
	if err != nil || fmt.Sprint(fresh) != "[secret/s created]" {
		t.Errorf("Diff before the namespace is there = %v, %v; want the Secret created", fresh, err)
	}
	apply(t, c, theSpace, theSecret, theConfig)
	before := s.get(secretPath)

	changes, err := c.Diff(t.Context(), objects(t, strings.Replace(theSecret, "VkVSWQ==", "T1RIRVI=", 1),
		strings.Replace(theConfig, "{k: v, gone: soon}", "{k: w, new/key: 1}", 1), theSpace))
	if err != nil {
		t.Fatal(err)
	}
	want := []kube.Change{
		{Kind: "Secret", Namespace: "fabric", Name: "s", Action: kube.Configured, Fields: []kube.Field{{Path: `data["key.pem"]`, Old: "(hidden)", New: "(hidden)"}}},
		{Kind: "ConfigMap", Namespace: "fabric", Name: "c", Action: kube.Configured, Fields: []kube.Field{
			{Path: "data.gone", Old: `"soon"`}, {Path: "data.k", Old: `"v"`, New: `"w"`}, {Path: `data["new/key"]`, New: "1"},
		}},
	}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Errorf("Diff: -want, +got:\n%s", diff)
	}
	if diff := cmp.Diff(before, s.get(secretPath)); diff != "" {
		t.Errorf("a dry run changed the Secret: -want, +got:\n%s", diff)
	}
}

func TestFieldString(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]kube.Field{
		`data.k: "v" -> "w"`:    {Path: "data.k", Old: `"v"`, New: `"w"`},
		`data.k: "w" (new)`:     {Path: "data.k", New: `"w"`},
		`data.k: "v" (removed)`: {Path: "data.k", Old: `"v"`},
	} {
		if got := f.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestApplyKeepsSecrets(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	c := s.client(t)
	apply(t, c, theSpace)
	_, err := c.Apply(t.Context(), objects(t, `{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {key.pem: {a: PRIVATE}}}`), kube.ApplyOptions{})
	if err == nil || strings.Contains(err.Error(), "PRIVATE") || !strings.Contains(err.Error(), "secret/s") {
		t.Errorf("Apply = %v; want an error that names the Secret and quotes nothing of it", err)
	}
}

func TestApplyOutlivesAbsence(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	c := s.client(t)
	apply(t, c, theSpace)
	s.setDown(true)
	go func() {
		for len(s.seen("GET /"+secretPath)) < 2 && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		s.setDown(false)
	}()
	if got := apply(t, c, theSecret); got != "[secret/s created]" {
		t.Errorf("Apply = %s", got)
	}
}

func TestApplyErrors(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		doc    string
		setup  func(*apiServer)
		code   exit.Code
		text   string
	}{
		"UnknownKind": {
			"A kind whose CRD is missing is a cluster that is not ready, not a wrong file.",
			`{apiVersion: argoproj.io/v1alpha1, kind: Workflow, metadata: {name: w}}`, nil, exit.NotReady, `does not know kind "Workflow"`,
		},
		"NoName":    {"An object without a name cannot be applied.", `{apiVersion: v1, kind: Secret, metadata: {}}`, nil, exit.Failed, "no name"},
		"Forbidden": {"A missing right is said at once, and how to list what is needed.", theSecret, func(s *apiServer) { s.refuse["PATCH /"+secretPath] = 403 }, exit.Failed, "applying secret/s"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer(t)
			s.put("api/v1/namespaces/fabric", theSpace)
			if tc.setup != nil {
				tc.setup(s)
			}
			_, err := s.client(t).Apply(t.Context(), objects(t, tc.doc), kube.ApplyOptions{})
			if err == nil || !strings.Contains(err.Error(), tc.text) || exit.CodeOf(err) != tc.code {
				t.Errorf("%s\nApply = %v (code %d), want %q and code %d", tc.reason, err, exit.CodeOf(err), tc.text, tc.code)
			}
			if name == "Forbidden" && !strings.Contains(exit.HintOf(err), "pivt check") {
				t.Errorf("hint = %q", exit.HintOf(err))
			}
		})
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	c := s.client(t)
	apply(t, c, theSpace, theSecret, theConfig, `{apiVersion: v1, kind: Secret, metadata: {name: other, labels: {app: theirs}}}`)
	core := schema.GroupVersion{Version: "v1"}
	kinds := []schema.GroupVersionResource{
		{Group: "argoproj.io", Version: "v1alpha1", Resource: "workflows"}, core.WithResource("configmaps"), core.WithResource("secrets"),
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, dryRun := range []bool{true, false} {
		changes, err := c.Delete(ctx, "app=story", kinds, kube.DeleteOptions{DryRun: dryRun, Wait: true})
		if err != nil || fmt.Sprint(changes) != "[configmap/c deleted secret/s deleted]" {
			t.Errorf("Delete (dry run %t) = %v, %v", dryRun, changes, err)
		}
	}
	if s.get(secretPath) != nil || s.get(configPath) != nil {
		t.Error("what was selected is still there")
	}
	if s.get("api/v1/namespaces/fabric/secrets/other") == nil {
		t.Error("an object of someone else was deleted")
	}
}

func TestEnsureNamespace(t *testing.T) {
	t.Parallel()
	wanted := map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}
	cases := map[string]struct {
		reason string
		before string
		action kube.Action
		labels any
	}{
		"Missing": {
			"A namespace of our making carries the mark that it is ours.", "", kube.Created,
			object{"app.kubernetes.io/managed-by": "pivt", "pod-security.kubernetes.io/enforce": "restricted"},
		},
		"Theirs": {
			"A Pod Security label would shut out what else lives in someone's namespace.",
			`{metadata: {name: fabric, labels: {team: a}}}`, kube.Unchanged, object{"team": "a"},
		},
		"OursOld": {
			"Labels of our own namespace follow the program.",
			`{metadata: {name: fabric, labels: {app.kubernetes.io/managed-by: pivt}}}`, kube.Configured,
			object{"app.kubernetes.io/managed-by": "pivt", "pod-security.kubernetes.io/enforce": "restricted"},
		},
		"OursReady": {
			"Nothing to do is nothing done.",
			`{metadata: {name: fabric, labels: {app.kubernetes.io/managed-by: pivt, pod-security.kubernetes.io/enforce: restricted}}}`, kube.Unchanged,
			object{"app.kubernetes.io/managed-by": "pivt", "pod-security.kubernetes.io/enforce": "restricted"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer(t)
			if tc.before != "" {
				s.put("api/v1/namespaces/fabric", tc.before)
			}
			got, err := s.client(t).EnsureNamespace(t.Context(), "fabric", wanted)
			if err != nil || got.Action != tc.action {
				t.Errorf("%s\nEnsureNamespace = %v, %v; want %s", tc.reason, got, err, tc.action)
			}
			if diff := cmp.Diff(tc.labels, s.get("api/v1/namespaces/fabric")["metadata"].(object)["labels"]); diff != "" {
				t.Errorf("%s\nlabels: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
	t.Run("Going", func(t *testing.T) {
		t.Parallel()
		s := newAPIServer(t)
		s.put("api/v1/namespaces/fabric", `{metadata: {name: fabric, deletionTimestamp: "2026-01-01T00:00:00Z"}}`)
		if _, err := s.client(t).EnsureNamespace(t.Context(), "fabric", wanted); !exit.IsTransient(err) || exit.HintOf(err) == "" {
			t.Errorf("EnsureNamespace of one that is being deleted = %v; want to be told to wait", err)
		}
	})
	t.Run("Forbidden", func(t *testing.T) {
		t.Parallel()
		s := newAPIServer(t)
		s.refuse["GET /api/v1/namespaces/fabric"] = 403
		if got, err := s.client(t).EnsureNamespace(t.Context(), "fabric", wanted); err != nil || got.Action != kube.Unchanged {
			t.Errorf("EnsureNamespace by a user of one namespace = %v, %v; the namespace must be taken to be there", got, err)
		}
	})
}

// seen lists the requests of one kind so far.
func (s *apiServer) seen(request string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []string
	for _, r := range s.requests {
		if r == request {
			found = append(found, r)
		}
	}
	return found
}
