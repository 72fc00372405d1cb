package transfer

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// turn lets one transfer happen at a time. A newer one ends the older: its pod would not
// ask again had the older not broken off, whether or not we know.
type turn struct {
	mu    sync.Mutex
	abort func()
	left  chan struct{}
}

func (t *turn) take(abort func()) (leave func()) {
	mine := make(chan struct{})
	for {
		t.mu.Lock()
		if t.left == nil {
			t.abort, t.left = abort, mine
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				t.left = nil
				t.mu.Unlock()
				close(mine)
			}
		}
		left := t.left
		t.abort()
		t.mu.Unlock()
		<-left
	}
}

// progress aborts a transfer that stands still.
type progress struct {
	timer *time.Timer
	abort func()
	limit time.Duration
}

func watch(limit time.Duration, abort func()) *progress {
	return &progress{timer: time.AfterFunc(limit, abort), abort: abort, limit: limit}
}

func watchServer(w http.ResponseWriter) *progress {
	c := http.NewResponseController(w)
	return watch(stall, func() {
		past := time.Unix(1, 0)
		_ = c.SetReadDeadline(past)
		_ = c.SetWriteDeadline(past)
	})
}

func (p *progress) stop() { p.timer.Stop() }

func (p *progress) reader(r io.Reader) io.Reader {
	return readerFunc(func(b []byte) (int, error) {
		n, err := r.Read(b)
		p.timer.Reset(p.limit)
		return n, err
	})
}

func (p *progress) writer(w io.Writer) io.Writer {
	return writerFunc(func(b []byte) (int, error) {
		n, err := w.Write(b)
		p.timer.Reset(p.limit)
		return n, err
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
