package transfer

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// proxy passes connections on and cuts each after the next number of bytes from either
// side; none left means never.
type proxy struct {
	net.Listener
	to   string
	cuts chan int64
	seen atomic.Int32
}

func newProxy(t testing.TB, to string, cuts ...int64) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, to: to, cuts: make(chan int64, len(cuts))}
	for _, n := range cuts {
		p.cuts <- n
	}
	var open sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); open.Wait() })
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { p.pass(c) })
		}
	})
	return p
}

func (p *proxy) pass(in net.Conn) {
	defer in.Close()
	p.seen.Add(1)
	out, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer out.Close()
	limit := int64(1) << 60
	select {
	case limit = <-p.cuts:
	default:
	}
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
		go func() { _, _ = io.CopyN(pair[0], pair[1], limit); done <- struct{}{} }()
	}
	<-done
}

// TestCuts: connections break at every stage, the transfer completes, and what arrives is
// whole.
func TestCuts(t *testing.T) {
	t.Parallel()
	for _, cut := range []int64{0, 100, 1500, 3000, 20_000, 70_000} {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			t.Parallel()
			from, pod, back := plant(t), t.TempDir(), filepath.Join(t.TempDir(), "out")
			if err := os.WriteFile(filepath.Join(from, "big"), bytes.Repeat([]byte("0123456789"), 20_000), 0o600); err != nil {
				t.Fatal(err)
			}
			s := started(t, Options{})
			s.Give(from)
			taken := s.Take(back, Limits{})
			ticket := s.Ticket()
			in := newProxy(t, strings.TrimPrefix(ticket.URL, "https://"), cut, cut)
			ticket.URL = "https://" + in.Addr().String()
			if err := Fetch(t.Context(), ticket, pod, Limits{}); err != nil {
				t.Fatal(err)
			}
			if in.seen.Load() < 3 {
				t.Errorf("%d connections, the test wants two of them cut", in.seen.Load())
			}
			if diff := cmp.Diff(planted(t, from), tree(t, pod)); diff != "" {
				t.Errorf("-given, +fetched:\n%s", diff)
			}
			out := newProxy(t, strings.TrimPrefix(s.Ticket().URL, "https://"), cut, cut)
			ticket.URL = "https://" + out.Addr().String()
			if err := Return(t.Context(), ticket, pod, Limits{}); err != nil {
				t.Fatal(err)
			}
			if err := await(t, "the output", taken); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tree(t, pod), tree(t, back)); diff != "" {
				t.Errorf("-returned, +taken:\n%s", diff)
			}
			for _, dir := range []string{pod, filepath.Dir(back)} {
				if left, _ := filepath.Glob(filepath.Join(dir, ".pivt-*")); left != nil {
					t.Errorf("left in %s: %v", dir, left)
				}
			}
		})
	}
}

// TestFetchWaits: the pod may be there before it can reach anybody.
func TestFetchWaits(t *testing.T) {
	t.Parallel()
	s := started(t, Options{})
	from := plant(t)
	s.Give(from)
	ticket := s.Ticket()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	ticket.URL = "https://" + address
	pod, done := t.TempDir(), make(chan error, 1)
	go func() { done <- Fetch(t.Context(), ticket, pod, Limits{}) }()
	late, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("the port was taken meanwhile: %v", err)
	}
	go func() {
		for {
			c, err := late.Accept()
			if err != nil {
				return
			}
			go (&proxy{to: strings.TrimPrefix(s.Ticket().URL, "https://")}).pass(c)
		}
	}()
	defer late.Close()
	if err := await(t, "the fetch", done); err != nil {
		t.Fatal(err)
	}
}

// TestLastReason: when the time is over, people need to know what kept the transfer from
// happening, and not that the time is over, wherever in a try that was.
func TestLastReason(t *testing.T) {
	t.Parallel()
	refused := errors.New("connection refused")
	over := func(ctx context.Context) error { // what a client makes of it
		return &url.Error{Op: "Get", URL: "https://nobody", Err: ctx.Err()}
	}
	cases := map[string]struct {
		reason string
		tries  []func(ctx context.Context, end func()) error
		want   error
	}{
		"Between": {"Nothing cuts the try off.", []func(context.Context, func()) error{
			func(_ context.Context, end func()) error { end(); return refused },
		}, refused},
		"During": {"The try before had its time.", []func(context.Context, func()) error{
			func(context.Context, func()) error { return refused },
			func(ctx context.Context, end func()) error { end(); return over(ctx) },
		}, refused},
		"First": {"There is no other reason.", []func(context.Context, func()) error{
			func(ctx context.Context, end func()) error { end(); return over(ctx) },
		}, context.Canceled},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, end := context.WithCancel(t.Context())
			defer end()
			c, n := newCaller(Ticket{}), 0
			defer c.close()
			err := c.repeat(ctx, func(ctx context.Context) error {
				n++
				return tc.tries[min(n, len(tc.tries))-1](ctx, end)
			})
			if !errors.Is(err, tc.want) {
				t.Errorf("%s\nrepeat = %v, want %v", tc.reason, err, tc.want)
			}
		})
	}
}

// TestTruncated: an answer that ends well in HTTP but not in its digest is not taken.
func TestTruncated(t *testing.T) {
	t.Parallel()
	var whole bytes.Buffer
	sum, err := Pack(&whole, plant(t))
	if err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int32
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert, pin, err := selfSigned()
	if err != nil {
		t.Fatal(err)
	}
	server := serve(l, &tls.Config{Certificates: []tls.Certificate{cert}}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			return
		}
		w.Header().Set("Trailer", trailerSum)
		n := int(calls.Add(1))
		if n > 3 {
			_, _ = w.Write(whole.Bytes())
			w.Header().Set(trailerSum, sum)
			return
		}
		_, _ = w.Write(whole.Bytes()[:whole.Len()/n]) // all of it first, but without its digest
		if n > 1 {
			w.Header().Set(trailerSum, sum)
		}
	}))
	defer server.Close()
	pod := t.TempDir()
	if err := Fetch(t.Context(), Ticket{URL: "https://" + l.Addr().String(), Pin: pin}, pod, Limits{}); err != nil {
		t.Fatal(err)
	}
	if calls.Load() != 4 || len(tree(t, pod)) == 0 {
		t.Errorf("after %d tries: %v", calls.Load(), tree(t, pod))
	}
}

// TestNewerWins: a pod that lost its connection asks again before the server has noticed.
func TestNewerWins(t *testing.T) {
	t.Parallel()
	s := started(t, Options{})
	from := plant(t)
	if err := os.WriteFile(filepath.Join(from, "big"), make([]byte, 32<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Give(from)
	c := newCaller(s.Ticket())
	defer c.close()
	resp, err := c.call(t.Context(), http.MethodGet, pathInput, nil) // and does not read on
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	done := make(chan error, 1)
	go func() { done <- Fetch(t.Context(), s.Ticket(), t.TempDir(), Limits{}) }()
	if err := await(t, "the second fetch", done); err != nil {
		t.Fatal(err)
	}
}

// TestClose: nothing is left of a transfer that is broken off, and who waits for it is told.
func TestClose(t *testing.T) {
	t.Parallel()
	s := started(t, Options{})
	out := filepath.Join(t.TempDir(), "out")
	taken := s.Take(out, Limits{})
	c := newCaller(s.Ticket())
	defer c.close()
	body, in := io.Pipe()
	defer body.Close()
	go func() {
		_, _ = in.Write(archive(t, tarFile())[:512+100])
	}()
	go func() {
		if resp, err := c.call(context.Background(), http.MethodPut, pathOutput, body); err == nil {
			_ = resp.Body.Close()
		}
	}()
	deadline := time.Now().Add(20 * time.Second)
	for {
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(out), ".pivt-*", "x")); left != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the transfer does not begin")
		}
		time.Sleep(time.Millisecond)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := await(t, "the end", taken); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Take of a closed server = %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(out)); err != nil || len(left) != 0 {
		t.Errorf("left of it: %v, %v", left, err)
	}
}

// TestStall: a connection that stands still is broken, one that is merely slow is not.
func TestStall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var aborted atomic.Bool
		p := watch(stall, func() { aborted.Store(true) })
		defer p.stop()
		r, w := p.reader(&forever{data: []byte("x")}), p.writer(io.Discard)
		for i := range 20 {
			time.Sleep(stall - time.Second)
			if i%2 == 0 {
				_, _ = r.Read(make([]byte, 1))
			} else {
				_, _ = w.Write([]byte("x"))
			}
			if aborted.Load() {
				t.Fatal("aborted although it moves")
			}
		}
		time.Sleep(stall + time.Second)
		if !aborted.Load() {
			t.Error("not aborted although it stands still")
		}
	})
}

func tarFile() tar.Header { return tar.Header{Name: "x", Size: 1000} }
