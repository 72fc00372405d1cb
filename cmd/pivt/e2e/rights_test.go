//go:build e2e

package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestRights takes each verb from the launcher's role in turn and sees what no longer works and
// what says so. A verb that nothing here misses would not be granted.
func TestRights(t *testing.T) {
	t.Parallel()
	l := newLab(t, "e2e-rights", 1, "")
	zero := int64(0)
	ctx := context.Background()
	// lost has the chaincode's pod deleted without the launcher, and calls.
	lost := func(l *lab) error {
		for name := range l.pods(chaincodes) {
			err := l.core.CoreV1().Pods(l.ns).Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &zero})
			if !apierrors.IsNotFound(err) { // one that was ending anyway
				l.must(err)
			}
		}
		l.awaitGone(chaincodes)
		// The object goes at once and the process later: until then it is that which answers.
		var answer error
		launched, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		l.until(launched, "a launch", func() (bool, error) {
			_, _, answer = l.call(40*time.Second, "good", "Get", "a")
			if answer != nil { // or the old process ends while it answers
				return strings.Contains(answer.Error(), "could not launch"), answer
			}
			return len(l.pods(chaincodes)) > 0, nil
		})
		return answer
	}
	const works, fails = true, false
	cases := []struct {
		resource, verb string
		reason         string
		calls          bool   // whether chaincode can still be called
		says           string // what the peer logs
		after          func(t *testing.T, l *lab)
	}{
		{"pods", "create", "Without it nothing runs.", fails, `cannot create resource "pods"`, nil},
		{"pods", "watch", "A launch that does not see its pod cannot tell what became of it, but the chaincode runs on.", works, `cannot watch resource "pods"`, nil},
		{"pods", "list", "What a killed launcher left is not found, and stays until its peer's pod goes.", works, `cannot list resource "pods"`, nil},
		{"pods", "delete", "A stopped chaincode's pod stays.", works, `cannot delete resource "pods"`, func(t *testing.T, l *lab) {
			l.stopRuns()
			if len(l.pods(chaincodes)) == 0 {
				t.Error("the pod is gone although nobody may delete it")
			}
		}},
		{"pods/log", "get", "The chaincode's log does not reach the peer's.", works, `cannot get resource "pods/log"`, nil},
		{"secrets", "create", "Without its keys the chaincode's container is not made.", fails, `cannot create resource "secrets"`, nil},
		{"secrets", "delete", "The Secret stays until the garbage collector sees that its pod is gone.", works, `cannot delete resource "secrets"`, func(_ *testing.T, l *lab) {
			l.stopRuns()
			l.awaitGone(chaincodes)
		}},
	}
	for _, tc := range cases {
		t.Run(strings.ReplaceAll(tc.resource, "/", "-")+"-"+tc.verb, func(t *testing.T) {
			l := l.in(t)
			restore := l.without(tc.resource, tc.verb)
			defer restore()
			err := lost(l)
			if (err == nil) != tc.calls {
				t.Errorf("%s\ncall: %v, want it to work: %v", tc.reason, err, tc.calls)
			}
			if tc.after != nil {
				tc.after(t, l)
			}
			l.awaitLog(tc.says)
			restore()
			l.mustCall(30*time.Second, "good", "Get", "a")
		})
	}
	want := map[string][]string{
		"pods":   {"get"},  // TestSharedBuild
		"events": {"list"}, // asked only of pods whose network or volumes cannot be set up, see pkg/runtime
	}
	for _, tc := range cases {
		want[tc.resource] = append(want[tc.resource], tc.verb)
	}
	role, err := l.core.RbacV1().Roles(l.ns).Get(ctx, "hlf-peer", metav1.GetOptions{})
	l.must(err)
	for _, r := range role.Rules {
		for _, resource := range r.Resources {
			for _, verb := range r.Verbs {
				if !slices.Contains(want[resource], verb) {
					t.Errorf("the launcher may %s %s, and nothing here needs it", verb, resource)
				}
			}
		}
	}
}

// without takes one verb from the launcher's role until restore, and waits until it is in force.
func (l *lab) without(resource, verb string) (restore func()) {
	l.t.Helper()
	ctx := context.Background()
	roles := l.core.RbacV1().Roles(l.ns)
	role, err := roles.Get(ctx, "hlf-peer", metav1.GetOptions{})
	l.must(err)
	full := role.DeepCopy().Rules
	set := func(rules []rbacv1.PolicyRule) {
		now, err := roles.Get(ctx, "hlf-peer", metav1.GetOptions{})
		l.must(err)
		now.Rules = rules
		_, err = roles.Update(ctx, now, metav1.UpdateOptions{})
		l.must(err)
	}
	var less []rbacv1.PolicyRule
	for _, r := range role.Rules {
		if slices.Contains(r.Resources, resource) {
			r.Verbs = slices.DeleteFunc(slices.Clone(r.Verbs), func(v string) bool { return v == verb })
		}
		if len(r.Verbs) > 0 {
			less = append(less, r)
		}
	}
	set(less)
	wait, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	name, sub, _ := strings.Cut(resource, "/")
	l.until(wait, verb+" "+resource+" to be taken away", func() (bool, error) {
		args := []string{"-n", l.ns, "auth", "can-i", verb, name, "--as=system:serviceaccount:" + l.ns + ":hlf-peer"}
		if sub != "" {
			args = append(args, "--subresource="+sub)
		}
		return strings.TrimSpace(l.exec("", "kubectl", args...).wait().stdout) == "no", nil
	})
	return func() { set(full) }
}
