//go:build e2e

package e2e

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fault kills something real in the middle of an install.
type fault struct {
	reason   string
	selector string
	// namespace of the victim, if not the network's own.
	namespace string
	// during is the step that is under way; any if empty.
	during string
}

// TestFaults kills one thing in the middle of install, lets install end as it may,
// repeats it, and asks the ledger.
func TestFaults(t *testing.T) {
	t.Parallel()
	faults := map[string]fault{
		"WorkflowPod": {reason: "A node drain takes workflow pods with it; the retry must pick the work up.",
			selector: "workflows.argoproj.io/workflow"},
		"ArgoController": {reason: "The controller may be rescheduled while workflows run.",
			selector: "app=workflow-controller", namespace: "argo"},
		"Peer":    {reason: "A peer may die with a join under way.", selector: "app.kubernetes.io/component=peer", during: "join"},
		"Orderer": {reason: "An orderer may die while a channel is created; two of three go on.", selector: "app.kubernetes.io/component=orderer", during: "create"},
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "e2e-fault-"+strings.ToLower(name))
			p := s.start("install")
			victim := s.kill(f)
			first := p.wait()
			t.Logf("killed %s; the first install ended with %d", victim, first.code)
			s.pivt("install").ok()
			s.transact("mychannel", "asset-"+strings.ToLower(name))
		})
	}
}

// kill waits until a pod of the selector runs while the flows are under way, and deletes
// it without grace.
func (s *site) kill(f fault) string {
	s.t.Helper()
	ns := f.namespace
	if ns == "" {
		ns = s.ns
	}
	ctx, cancel := context.WithTimeout(context.Background(), installTimeout)
	defer cancel()
	var victim string
	s.until(ctx, "flows under way and a running pod of "+f.selector, func() (bool, error) {
		underWay := slices.ContainsFunc(slices.Collect(maps.Values(s.pods("workflows.argoproj.io/workflow"))), func(p corev1.Pod) bool {
			return f.during == "" || stepPod(f.during)(p) && p.Status.Phase == corev1.PodRunning
		})
		if !underWay {
			return false, nil
		}
		list, err := s.core.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: f.selector})
		if err != nil {
			return false, err
		}
		for _, p := range list.Items {
			if p.Status.Phase == corev1.PodRunning {
				victim = p.Name
			}
		}
		return victim != "", nil
	})
	zero := int64(0)
	s.must(s.core.CoreV1().Pods(ns).Delete(ctx, victim, metav1.DeleteOptions{GracePeriodSeconds: &zero}))
	return victim
}

// TestInterrupt stops install with Ctrl-C at several moments, one after the other, and
// then lets it finish.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	s := newSite(t, "e2e-interrupt")
	moments := []struct {
		name string
		seen func() bool
	}{
		{"keys are being made", s.hasKeys},
		{"secrets are there", s.hasSecrets},
		{"nodes start", func() bool { return len(s.pods("app.kubernetes.io/component=orderer")) > 0 }},
		{"flows run", func() bool { return len(s.pods("workflows.argoproj.io/workflow")) > 1 }},
	}
	for _, m := range moments {
		p := s.start("install")
		ctx, cancel := context.WithTimeout(context.Background(), installTimeout)
		// Its first words show that it is there to hear the signal.
		s.until(ctx, m.name, func() (bool, error) { return p.err.Len() > 0 && m.seen(), nil })
		cancel()
		s.must(p.cmd.Process.Signal(syscall.SIGINT))
		began := time.Now()
		if r := p.wait(); r.code != 130 {
			t.Errorf("interrupted when %s: exit %d, want 130", m.name, r.code)
		}
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("interrupted when %s: took %s to end", m.name, d)
		}
	}
	s.pivt("install").ok()
	s.transact("mychannel", "asset-interrupt")
}

func (s *site) hasKeys() bool {
	_, err := os.Stat(filepath.Join(s.dir, "crypto-config"))
	return err == nil
}

func (s *site) hasSecrets() bool {
	list, err := s.core.CoreV1().Secrets(s.ns).List(context.Background(), metav1.ListOptions{})
	return err == nil && len(list.Items) > 0
}
