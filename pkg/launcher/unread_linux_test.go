package launcher_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pivt.io/pivt/pkg/runtime/runtimetest"
)

// TestRunUnread is the peer that has stopped reading: the launcher must not hang with it.
func TestRunUnread(t *testing.T) {
	t.Parallel()
	c := cluster(t, func(ctx context.Context, c runtimetest.Container) int {
		for range 3000 { // lines of 128 bytes fill the pipe's pages
			fmt.Fprintln(c.Output, strings.Repeat("x", 128-len("[My_CC.v1+rc] \n")))
		}
		<-ctx.Done()
		return 0
	})
	p := newPeer(t, c)
	durable, err := p.install(imagePackage())
	if err != nil {
		t.Fatal(err)
	}
	r := p.launch(durable, info(), false)
	c.Await("a full pipe", func() bool { return r.unread() > 60<<10 })
	if err := r.stop(); errors.Is(err, errKilled) {
		t.Error(err)
	}
	awaitEmpty(c)
}

// unread is how many bytes wait in the pipe.
func (r *process) unread() int {
	r.t.Helper()
	n, err := unix.IoctlGetInt(int(r.stderr.(*os.File).Fd()), unix.TIOCINQ)
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}
