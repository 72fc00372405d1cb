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
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func started(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func await[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("not within 20 s: %s", what)
		panic("unreachable: Fatalf ends the test")
	}
}

func TestFetchReturn(t *testing.T) {
	t.Parallel()
	from, pod, back := plant(t), t.TempDir(), filepath.Join(t.TempDir(), "out")
	s := started(t, Options{})
	given := s.Give(from)
	taken := s.Take(back, Limits{})
	if err := Fetch(t.Context(), s.Ticket(), pod, Limits{}); err != nil {
		t.Fatal(err)
	}
	await(t, "the server knows that all has arrived", given)
	if diff := cmp.Diff(planted(t, from), tree(t, pod)); diff != "" {
		t.Errorf("-given, +fetched:\n%s", diff)
	}
	if err := Fetch(t.Context(), s.Ticket(), t.TempDir(), Limits{}); err == nil || !strings.Contains(err.Error(), "the token is spent") {
		t.Errorf("a second Fetch = %v, want that the token is spent", err)
	}
	if err := Return(t.Context(), s.Ticket(), pod, Limits{}); err != nil {
		t.Fatal(err)
	}
	if err := await(t, "the output", taken); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree(t, pod), tree(t, back)); diff != "" {
		t.Errorf("-returned, +taken:\n%s", diff)
	}
	if err := Return(t.Context(), s.Ticket(), pod, Limits{}); err != nil {
		t.Errorf("the same Return again, as if its answer had been lost: %v", err)
	}
	if err := Return(t.Context(), s.Ticket(), t.TempDir(), Limits{}); err == nil || !strings.Contains(err.Error(), "the token is spent") {
		t.Errorf("a second Return of something else = %v, want that the token is spent", err)
	}
	if left, err := os.ReadDir(filepath.Dir(back)); err != nil || len(left) != 1 {
		t.Errorf("beside the output: %v, %v", left, err)
	}
}

func TestRefusedCallers(t *testing.T) {
	t.Parallel()
	s := started(t, Options{})
	s.Give(plant(t))
	cases := map[string]struct {
		reason string
		change func(*Ticket)
		want   string
	}{
		"Token":   {"Anybody may reach the port.", func(t *Ticket) { t.Token = strings.Repeat("0", 64) }, "401 Unauthorized: not this token"},
		"NoToken": {"An empty one is no better.", func(t *Ticket) { t.Token = "" }, "401 Unauthorized"},
		"Pin":     {"A port may be another process' by now, which must not get the token.", func(t *Ticket) { t.Pin = strings.Repeat("0", 64) }, "another process answers"},
		"URL":     {"A broken Secret is no reason to wait.", func(t *Ticket) { t.URL = ":" }, "missing protocol scheme"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ticket := s.Ticket()
			tc.change(&ticket)
			err := Fetch(t.Context(), ticket, t.TempDir(), Limits{})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\nFetch = %v, want %q", tc.reason, err, tc.want)
			}
			if err != nil && ticket.Token != "" && strings.Contains(err.Error(), s.Ticket().Token) {
				t.Errorf("the token is in the error: %v", err)
			}
		})
	}
}

// TestHostileReturn: the tree of a build that wants out is refused for good, and both ends
// learn why.
func TestHostileReturn(t *testing.T) {
	t.Parallel()
	pod, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	if err := os.Symlink("/etc/passwd", filepath.Join(pod, "chaincode")); err != nil {
		t.Fatal(err)
	}
	s := started(t, Options{})
	taken := s.Take(out, Limits{})
	const want = `"chaincode" is a link that leaves the tree, to "/etc/passwd"`
	if err := Return(t.Context(), s.Ticket(), pod, Limits{}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Return = %v, want %s", err, want)
	}
	var no *RefusedError
	if err := await(t, "the refusal", taken); !errors.As(err, &no) || no.Text != want {
		t.Errorf("Take = %v, want %s", err, want)
	}
	if left, err := os.ReadDir(filepath.Dir(out)); err != nil || len(left) != 0 {
		t.Errorf("left of it: %v, %v", left, err)
	}
}

// TestReturnUnreadable: what the pod cannot read is the build's fault, and no reason to wait.
func TestReturnUnreadable(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "out")
	s := started(t, Options{})
	taken := s.Take(out, Limits{})
	if err := Return(t.Context(), s.Ticket(), filepath.Join(t.TempDir(), "missing"), Limits{}); err == nil {
		t.Error("Return of a directory that does not exist = nil")
	}
	var no *RefusedError
	if err := await(t, "the refusal", taken); !errors.As(err, &no) || !strings.Contains(no.Text, "missing: no such file") {
		t.Errorf("Take = %v, want what the pod could not read", err)
	}
}

// TestLimitsOfReturn: a build that fills the disk is cut off while it sends.
func TestLimitsOfReturn(t *testing.T) {
	t.Parallel()
	pod, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	big, err := os.Create(filepath.Join(pod, "core"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(big.Truncate(1<<40), big.Close()); err != nil { // sparse: a terabyte of nothing
		t.Fatal(err)
	}
	s := started(t, Options{})
	taken := s.Take(out, Limits{Bytes: 1 << 20})
	if err := Return(t.Context(), s.Ticket(), pod, Limits{}); err == nil || !strings.Contains(err.Error(), "larger than 1048576 bytes") {
		t.Errorf("Return = %v", err)
	}
	var no *RefusedError
	if err := await(t, "the refusal", taken); !errors.As(err, &no) {
		t.Errorf("Take = %v", err)
	}
}

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
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_ = late.Close()
	if err := Fetch(ctx, ticket, t.TempDir(), Limits{}); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("Fetch from nobody = %v, want the last reason", err)
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

func TestPorts(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	if _, err := Listen(Options{FirstPort: port, LastPort: port}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("no free port from %d to %d", port, port)) {
		t.Errorf("Listen on a taken port = %v", err)
	}
	for _, o := range []Options{{FirstPort: 10, LastPort: 9}, {FirstPort: 0, LastPort: 9}, {FirstPort: 65_000, LastPort: 70_000}} {
		if _, err := Listen(o); err == nil || !strings.Contains(err.Error(), "no range of ports") {
			t.Errorf("Listen(%d to %d) = %v", o.FirstPort, o.LastPort, err)
		}
	}
	if _, err := Listen(Options{Host: "192.0.2.1"}); err == nil {
		t.Error("Listen on an address that is not ours = nil")
	}
}

// TestStall: a connection that stands still is broken, one that is merely slow is not.
func TestStall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		aborted := false
		p := watch(stall, func() { aborted = true })
		defer p.stop()
		r, w := p.reader(&forever{data: []byte("x")}), p.writer(io.Discard)
		for i := range 20 {
			time.Sleep(stall - time.Second)
			if i%2 == 0 {
				_, _ = r.Read(make([]byte, 1))
			} else {
				_, _ = w.Write([]byte("x"))
			}
			if aborted {
				t.Fatal("aborted although it moves")
			}
		}
		time.Sleep(stall + time.Second)
		if !aborted {
			t.Error("not aborted although it stands still")
		}
	})
}

// TestMemory moves 100 MB each way and watches the heap meanwhile.
func TestMemory(t *testing.T) {
	const size, most = 100 << 20, 24 << 20
	from, pod, back := bigTree(t, size), t.TempDir(), filepath.Join(t.TempDir(), "out")
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	base := m.HeapAlloc
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		var top uint64
		for {
			select {
			case <-stop:
				peak <- top
				return
			case <-time.After(5 * time.Millisecond):
				runtime.ReadMemStats(&m)
				top = max(top, m.HeapAlloc)
			}
		}
	}()
	s := started(t, Options{})
	s.Give(from)
	taken := s.Take(back, Limits{})
	if err := Fetch(t.Context(), s.Ticket(), pod, Limits{}); err != nil {
		t.Fatal(err)
	}
	if err := Return(t.Context(), s.Ticket(), pod, Limits{}); err != nil {
		t.Fatal(err)
	}
	if err := <-taken; err != nil {
		t.Fatal(err)
	}
	close(stop)
	if top := <-peak; top > base+most {
		t.Errorf("the heap grew from %d to %d bytes while %d were moved by both ends in one process", base, top, size)
	}
}

// bigTree is a source tree of a size: some large files and many small ones.
func bigTree(t testing.TB, size int) string {
	t.Helper()
	dir := t.TempDir()
	pattern := bytes.Repeat([]byte("all work and no play\n"), 1+(8<<20)/21)
	for i, left := 0, size; left > 0; i++ {
		n := min(left, 20<<10)
		if i%100 == 0 {
			n = min(left, 8<<20)
		}
		sub := filepath.Join(dir, fmt.Sprintf("pkg%d", i/50))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("file%d", i)), pattern[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		left -= n
	}
	return dir
}

// BenchmarkFetch is 100 MB of sources to a pod, and as a measure the same bytes through a
// bare TLS connection into the void, and the same files copied.
func BenchmarkFetch(b *testing.B) {
	const size = 100 << 20
	from := bigTree(b, size)
	b.Run("Fetch", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			s, err := Listen(Options{})
			if err != nil {
				b.Fatal(err)
			}
			s.Give(from)
			if err := Fetch(b.Context(), s.Ticket(), b.TempDir(), Limits{}); err != nil {
				b.Fatal(err)
			}
			_ = s.Close()
		}
	})
	b.Run("CopyTLS", func(b *testing.B) {
		b.SetBytes(size)
		cert, _, err := selfSigned()
		if err != nil {
			b.Fatal(err)
		}
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		for b.Loop() {
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.CopyN(onlyWriter{c}, &forever{data: make([]byte, chunk)}, size)
				_ = c.Close()
			}()
			c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // measured only
			if err != nil {
				b.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, c); n != size {
				b.Fatal(n, err)
			}
			_ = c.Close()
		}
	})
	b.Run("CopyFiles", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			if err := os.CopyFS(b.TempDir(), os.DirFS(from)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func tarFile() tar.Header { return tar.Header{Name: "x", Size: 1000} }
