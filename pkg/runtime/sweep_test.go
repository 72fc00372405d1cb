package runtime

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"pivt.io/pivt/pkg/runtime/runtimetest"
)

// TestRunFormer: when the peer launches a chaincode again, what it launched before may be about
// to end, or may never do so.
func TestRunFormer(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		ends   bool // the first pod, once the second is there
		former time.Duration
		want   string // the first run's error
	}{
		"AboutToEnd": {"A chaincode that was killed for its memory is known to its launcher a second later; that is what it has to say.",
			true, time.Minute, "exited with status 137"},
		"Hangs": {"The peer has forgotten a chaincode that never registered, and will not ask its launcher to stop.",
			false, 50 * time.Millisecond, "was deleted by someone else"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			end := make(chan struct{})
			c := runtimetest.New(t, runtimetest.Options{Images: images(func(ctx context.Context, _ runtimetest.Container) int {
				select {
				case <-end:
					return 137
				case <-ctx.Done():
					return 0
				}
			})})
			o := Options{formerTime: tc.former}
			first := start(t, c, chaincode("basic_1.0"), o)
			kept := c.AwaitRunning()
			second := start(t, c, chaincode("basic_1.0"), o)
			c.Await("a second pod", func() bool {
				for _, p := range c.Pods() {
					if p.Name != kept.Name && p.Status.Phase == corev1.PodRunning {
						return true
					}
				}
				return false
			})
			if tc.ends {
				close(end) // the second's ends too, which is another matter
			}
			if err := first.wait(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\nthe first run ended with %v, want %q", tc.reason, err, tc.want)
			}
			second.stop()
			_ = second.wait()
			awaitEmpty(t, c)
		})
	}
}

// TestRunFormerStopped: a launcher that is asked to stop takes with it what it was to replace.
func TestRunFormerStopped(t *testing.T) {
	t.Parallel()
	c := runtimetest.New(t, runtimetest.Options{Images: images(serve)})
	first := start(t, c, chaincode("basic_1.0"), Options{})
	c.AwaitRunning()
	second := start(t, c, chaincode("basic_1.0"), Options{formerTime: time.Hour})
	c.Await("two running pods", func() bool { return len(c.Pods()) == 2 })
	second.stop()
	if err := second.wait(); err != nil {
		t.Error(err)
	}
	if err := first.wait(); err == nil {
		t.Error("the first run goes on without its pod")
	}
	awaitEmpty(t, c)
}
