package transfer

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

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
