package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"pivt.io/pivt/hack/devcluster/ledger"
)

// Cluster is the one cluster of a layout.
type Cluster struct {
	Layout
	// Out gets one line per thing done.
	Out io.Writer

	printing sync.Mutex
}

// phase starts a clock; the returned function prints what was done and how long it took.
func (c *Cluster) phase(done string) func() {
	began := time.Now()
	return func() { c.say("%6.1fs  %s", time.Since(began).Seconds(), done) }
}

func (c *Cluster) say(format string, args ...any) {
	c.printing.Lock()
	defer c.printing.Unlock()
	fmt.Fprintf(c.Out, format+"\n", args...)
}

// lock keeps a second up or down from working on the same state; it waits for the first, which may be one that was killed and is about to end.
// The file is in the cache, since the state directory is removed.
func (c *Cluster) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(c.Cache, 0o755); err != nil {
		return nil, fmt.Errorf("making the cache: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(c.Cache, ".cluster-lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	notice := time.After(2 * time.Second)
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-notice:
			c.say("waiting for another up, down or images to end")
		case <-tick.C:
		}
	}
}

func (l Layout) ledger() *ledger.Ledger { return ledger.At(l.state("processes")) }

// dead reports the first component that is not running.
func (l Layout) dead() error {
	records, err := l.ledger().Records()
	if err != nil {
		return fmt.Errorf("reading the list of processes: %w", err)
	}
	for _, r := range records {
		if !r.Running() {
			return fmt.Errorf("%s has ended; its log is %s", r.Name, l.log(r.Name))
		}
	}
	return nil
}
