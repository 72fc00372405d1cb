//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A misspelled name is the commonest reason why a build fails; the compiler's line is all its author needs.
const (
	misspelled   = "package main\n\nfunc main() {\n\tmispelled()\n}\n"
	compilerText = "main.go:4:2: undefined: mispelled"
	// compilerLimit is the time between the end of the compiler and the text on the author's screen.
	compilerLimit = 10 * time.Second
)

// TestCompileError sees that the compiler's words reach who runs the install, soon, and that the corrected source installs
// under the version that never came to be.
func TestCompileError(t *testing.T) {
	t.Parallel()
	s := newSite(t, "e2e-compile-error")
	s.limit = sourceTimeout
	dir := filepath.Join(s.dir, "typo")
	s.must(os.MkdirAll(dir, 0o755))
	s.write("typo/go.mod", "module example.com/typo\n\ngo 1.20\n")
	s.write("typo/main.go", misspelled)
	s.sourceNetwork("")
	s.pivt("install").ok()
	s.sourceNetwork(sourceEntry("typo", sourced{language: "golang"}))
	ctx, cancel := context.WithTimeout(t.Context(), installTimeout)
	defer cancel()
	failed := s.buildFailure(ctx)
	p := s.start("chaincode", "install")
	var ended time.Time
	s.until(ctx, "the compiler to fail", func() (bool, error) {
		select {
		case ended = <-failed:
			return true, nil
		default:
			return len(p.done) > 0, nil
		}
	})
	if ended.IsZero() {
		t.Fatalf("install ended without a build that failed: exit %d", p.wait().code)
	}
	s.until(ctx, "the compiler's text", func() (bool, error) {
		return strings.Contains(p.err.String()+p.out.String(), compilerText) || len(p.done) > 0, nil
	})
	after := time.Since(ended)
	t.Logf("the compiler's text was on the screen %.1f s after the compiler had failed", after.Seconds())
	if after > compilerLimit {
		t.Errorf("the compiler's text came %s after the compiler had failed, want at most %s", after, compilerLimit)
	}
	r := p.wait()
	t.Logf("install ended %.1f s after the compiler had failed", time.Since(ended).Seconds())
	if r.code != 1 {
		t.Errorf("install of source that does not compile: exit %d, want 1", r.code)
	}
	if !strings.Contains(r.stderr, compilerText) {
		t.Errorf("the end of install does not repeat what the compiler said:\n%s", r.stderr)
	}
	s.eventually("the failed build's pods to go", func() (bool, error) {
		n := len(s.pods(buildPods))
		return n == 0, fmt.Errorf("%d", n)
	})

	s.must(os.RemoveAll(dir))
	s.copySample("basic", dir)
	s.vendor(dir)
	s.pivt("chaincode", "install", "--timeout", sourceTimeout.String()).ok()
	g := s.gateway("Org1", "org1.example.com")
	g.submit(labChannel, "typo", "CreateAsset", "one", "Ada", "300")
	if v, n := g.committed(labChannel, "typo"); v != "1.0" || n != 1 {
		t.Errorf("version %s, sequence %d are committed, want 1.0, 1", v, n)
	}
}

// buildFailure watches for the first build that fails and says when it was seen to.
func (s *site) buildFailure(ctx context.Context) <-chan time.Time {
	s.t.Helper()
	seen := make(chan time.Time, 1)
	w, err := s.core.CoreV1().Pods(s.ns).Watch(ctx, metav1.ListOptions{LabelSelector: buildPods})
	s.must(err)
	go func() {
		defer w.Stop()
		for e := range w.ResultChan() {
			p, ok := e.Object.(*corev1.Pod)
			if !ok {
				continue
			}
			for _, c := range p.Status.InitContainerStatuses {
				if c.Name == "build" && c.State.Terminated != nil && c.State.Terminated.ExitCode != 0 {
					seen <- time.Now()
					return
				}
			}
		}
	}()
	return seen
}
