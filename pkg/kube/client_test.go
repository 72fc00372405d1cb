package kube_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/kube"
)

// Helm takes a RESTClientGetter; its interface is asserted here, so that package kube
// itself need not import cli-runtime.
var _ genericclioptions.RESTClientGetter = (*kube.Client)(nil)

// over is a context whose deadline has passed, and whose timer has not fired yet.
type over struct{ context.Context }

func (over) Deadline() (time.Time, bool) { return time.Now().Add(-time.Millisecond), true }

// TestPacedDeadline: whoever waits for a turn until the deadline has timed out like anybody else.
func TestPacedDeadline(t *testing.T) {
	t.Parallel()
	c := newAPIServer(t).client(t)
	_, typed := c.Core().CoreV1().Secrets("fabric").Get(over{t.Context()}, "a", metav1.GetOptions{})
	_, untyped := c.Dynamic().Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}).Namespace("fabric").Get(over{t.Context()}, "a", metav1.GetOptions{})
	config, err := c.ToRESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	helms, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, helm := helms.CoreV1().Secrets("fabric").Get(over{t.Context()}, "a", metav1.GetOptions{})
	for client, err := range map[string]error{"typed": typed, "dynamic": untyped, "Helm's": helm} {
		if exit.CodeOf(err) != exit.TimedOut {
			t.Errorf("%s client: exit %d, error %v; want 4", client, exit.CodeOf(err), err)
		}
	}
}

const twoContexts = `{apiVersion: v1, kind: Config, current-context: first,
clusters: [{name: c, cluster: {server: "https://one.example.com"}}, {name: d, cluster: {server: "https://two.example.com"}}],
users: [{name: u, user: {}}],
contexts: [{name: first, context: {cluster: c, user: u}}, {name: second, context: {cluster: d, user: u, namespace: karga}}]}`

func TestNew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, broken := filepath.Join(dir, "config"), filepath.Join(dir, "broken")
	for name, text := range map[string]string{file: twoContexts, broken: "{"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cases := map[string]struct {
		reason    string
		options   kube.Options
		server    string
		context   string
		namespace string
	}{
		"Current":   {"Without flags, the kubeconfig's current context counts.", kube.Options{Kubeconfig: file}, "https://one.example.com", "first", "default"},
		"Context":   {"A context brings its namespace.", kube.Options{Kubeconfig: file, Context: "second"}, "https://two.example.com", "second", "karga"},
		"Namespace": {"-n is stronger than the context.", kube.Options{Kubeconfig: file, Context: "second", Namespace: "fabric"}, "https://two.example.com", "second", "fabric"},
		"Missing":   {"A kubeconfig that was named must be there.", kube.Options{Kubeconfig: filepath.Join(dir, "nothing")}, "", "", ""},
		"Broken":    {"A kubeconfig that cannot be read is the user's to mend.", kube.Options{Kubeconfig: broken}, "", "", ""},
		"Unknown":   {"An unknown context must not fall back to another cluster.", kube.Options{Kubeconfig: file, Context: "third"}, "", "", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := kube.New(tc.options)
			if tc.server == "" {
				if exit.CodeOf(err) != exit.Invalid || exit.HintOf(err) == "" {
					t.Errorf("%s\nNew = %v (code %d)", tc.reason, err, exit.CodeOf(err))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.Server() != tc.server || c.Context() != tc.context || c.Namespace() != tc.namespace {
				t.Errorf("%s\ngot %s, %s, %s", tc.reason, c.Server(), c.Context(), c.Namespace())
			}
			if ns, _, err := c.ToRawKubeConfigLoader().Namespace(); err != nil || ns != tc.namespace {
				t.Errorf("Helm would use namespace %q, %v", ns, err)
			}
		})
	}
}

func TestQuestions(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	c := s.client(t)
	if v, err := c.ServerVersion(t.Context()); err != nil || v.GitVersion != "v1.34.4" {
		t.Errorf("ServerVersion = %v, %v", v, err)
	}
	for verb, want := range map[string]bool{"create": true, "delete": false} {
		access := kube.Access{Verb: verb, Group: "argoproj.io", Resource: "workflows"}
		if got, err := c.Can(t.Context(), access); err != nil || got != want {
			t.Errorf("Can(%s) = %t, %v; want %t", access, got, err, want)
		}
	}
	apps := schema.GroupVersion{Group: "apps", Version: "v1"}
	for resource, want := range map[string]bool{"statefulsets": true, "unicorns": false} {
		if got, err := c.Serves(t.Context(), apps, resource); err != nil || got != want {
			t.Errorf("Serves(%s) = %t, %v; want %t", resource, got, err, want)
		}
	}
	if got, err := c.Serves(t.Context(), schema.GroupVersion{Group: "argoproj.io", Version: "v1alpha1"}, "workflows"); err != nil || got {
		t.Errorf("Serves of an unknown group = %t, %v", got, err)
	}
	s.Close()
	if _, err := c.ServerVersion(t.Context()); err == nil || !strings.Contains(exit.HintOf(err), "running") {
		t.Errorf("ServerVersion of a cluster that is off = %v, hint %q", err, exit.HintOf(err))
	}
}

func TestAccessString(t *testing.T) {
	t.Parallel()
	got := kube.Access{Verb: "create", Resource: "pods", Subresource: "portforward"}.String() + ", " + kube.Access{Verb: "list", Group: "apps", Resource: "statefulsets"}.String()
	if want := "create pods/portforward, list statefulsets.apps"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestIsUnavailable(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		err    error
		want   bool
	}{
		"Nil":     {"No error is no absence.", nil, false},
		"Plain":   {"An unknown error is not worth waiting for.", errors.New("x"), false},
		"Timeout": {"A network time-out passes.", fmt.Errorf("get: %w", &net.DNSError{IsTimeout: true}), true},
		"NoHost":  {"A name that does not exist will not exist soon.", &net.DNSError{IsNotFound: true}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := kube.IsUnavailable(tc.err); got != tc.want {
				t.Errorf("%s\nIsUnavailable(%v) = %t", tc.reason, tc.err, got)
			}
		})
	}
}
