package cluster

import (
	"context"
	"errors"
	"io"
	"testing"
)

func TestLock(t *testing.T) {
	t.Parallel()
	c := &Cluster{Layout: Layout{Cache: t.TempDir()}, Out: io.Discard}
	unlock, err := c.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error)
	go func() {
		unlock, err := c.lock(ctx)
		if err == nil {
			unlock()
		}
		second <- err
	}()
	select {
	case err := <-second:
		t.Fatalf("a second run got in while the first was at work: %v", err)
	default:
	}
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted wait: got %v, want %v", err, context.Canceled)
	}
	unlock()
	if unlock, err = c.lock(t.Context()); err != nil {
		t.Fatalf("the lock is not free after its holder has let go: %v", err)
	}
	unlock()
}
