//go:build e2e

package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
)

const (
	testAccess = "AKIAIOSFODNN7EXAMPLE"
	testSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

// server is a real S3 server: versitygw on a directory.
type server struct {
	t    *testing.T
	root string
	addr string
	cmd  *exec.Cmd
}

// outage is how long servers are away: PIVT_TEST_OUTAGE, or a few seconds.
func outage(t *testing.T) time.Duration {
	t.Helper()
	s := os.Getenv("PIVT_TEST_OUTAGE")
	if s == "" {
		return 8 * time.Second
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func startServer(t *testing.T, root string) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, root: root, addr: l.Addr().String()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, "backups"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command("versitygw", "--port", s.addr, "posix", "--nometa", s.root)
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+testAccess, "ROOT_SECRET_KEY="+testSecret)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for until := time.Now().Add(20 * time.Second); ; {
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(until) {
			s.t.Fatal("versitygw does not listen")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// place is a repository on the server.
func (s *server) place(t *testing.T) place {
	t.Helper()
	p := newPlace(t)
	p.target = backup.Target{Type: backup.S3, Prefix: "net/", S3: backup.S3Target{Endpoint: s.addr, Bucket: "backups", Region: "us-east-1", HTTP: true}}
	p.options.Patience = 3 * time.Minute
	p.secret(t, backup.CredentialAccessKeyID, testAccess)
	p.secret(t, backup.CredentialSecretAccessKey, testSecret)
	return p
}

func TestS3(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	p := s.place(t)
	dir := sample(t)
	var wg sync.WaitGroup
	errs := make([]error, 3)
	for i := range errs {
		wg.Go(func() {
			r, err := Open(t.Context(), p.target, p.options) // all create
			if err == nil {
				defer r.Close(t.Context())
				_, err = r.Save(t.Context(), source("k", fmt.Sprint("peer", i)), dir, SaveOptions{})
			}
			errs[i] = err
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	r := p.open(t)
	v := save(t, r, source("k", "peer0"), dir, SaveOptions{})
	to := t.TempDir()
	if err := r.Restore(t.Context(), v.Snapshot, "", to, RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	want := listing(t, dir)
	delete(want, "lost+found")
	delete(want, "lost+found/1")
	if diff := cmp.Diff(want, listing(t, to)); diff != "" {
		t.Errorf("restored from S3: -want, +got:\n%.1000s", diff)
	}
	if err := r.Maintain(t.Context()); err != nil {
		t.Error(err)
	}
	// Nothing of it is in clear text in the bucket.
	out, err := exec.Command("grep", "-rlE", "blockfile|MANIFEST|peer0|fabric", s.root).CombinedOutput()
	if len(out) > 0 {
		t.Errorf("clear text in the bucket: %s, %v", out, err)
	}
}

func TestS3Refused(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	s.place(t).open(t)
	cases := map[string]struct {
		change func(*testing.T, *place)
		want   error
	}{
		"AccessKey": {func(t *testing.T, p *place) { p.secret(t, backup.CredentialAccessKeyID, "AKIANOBODY") }, ErrCredentials},
		"SecretKey": {func(t *testing.T, p *place) {
			p.secret(t, backup.CredentialSecretAccessKey, "not/the/right/secret/key")
		}, ErrCredentials},
		"NoBucket":   {func(_ *testing.T, p *place) { p.target.S3.Bucket = "other" }, ErrNoBucket},
		"NoBucketRO": {func(_ *testing.T, p *place) { p.target.S3.Bucket, p.options.Create = "other", false }, ErrNoBucket},
		"Password":   {func(t *testing.T, p *place) { p.secret(t, backup.CredentialPassword, "another") }, ErrWrongKey},
		"TLS":        {func(_ *testing.T, p *place) { p.target.S3.HTTP, p.options.Patience = false, time.Second }, ErrUnreachable},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p := s.place(t)
			tc.change(t, &p)
			began := time.Now()
			r, err := Open(t.Context(), p.target, p.options)
			if err == nil {
				r.Close(t.Context())
			}
			if !errors.Is(err, tc.want) || exit.HintOf(err) == "" || strings.Contains(err.Error(), "secret/key") {
				t.Errorf("Open = %v, want %v", err, tc.want)
			}
			t.Logf("after %s: %v\nhint: %s", time.Since(began).Round(time.Millisecond), err, exit.HintOf(err))
		})
	}
}

// TestS3Outage has the server away in the middle of a save and of a restore.
func TestS3Outage(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ away, back func(*server) }{
		"Hangs": {
			func(s *server) { _ = s.cmd.Process.Signal(syscall.SIGSTOP) },
			func(s *server) { _ = s.cmd.Process.Signal(syscall.SIGCONT) },
		},
		"Dies": {func(s *server) { s.kill() }, func(s *server) { s.start() }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, t.TempDir())
			p := s.place(t)
			var mu sync.Mutex
			p.options.Report = func(text string) { mu.Lock(); defer mu.Unlock(); t.Log(text) }
			r := p.open(t)
			dir := t.TempDir()
			for i := range 8 {
				write(t, filepath.Join(dir, strconv.Itoa(i)), noise(uint64(i), 16<<20))
			}
			// away for a while when half of it is done
			interrupt := func() func(done, total int64) {
				var once atomic.Bool
				return func(done, total int64) {
					if done > total/2 && once.CompareAndSwap(false, true) {
						tc.away(s)
						time.AfterFunc(outage(t), func() { tc.back(s) })
					}
				}
			}
			began := time.Now()
			v := save(t, r, source("k", "peer0"), dir, SaveOptions{Progress: interrupt()})
			t.Logf("saved in %s", time.Since(began).Round(time.Millisecond))
			began = time.Now()
			to := t.TempDir()
			if err := r.Restore(t.Context(), v.Snapshot, "", to, RestoreOptions{Progress: interrupt()}); err != nil {
				t.Fatal(err)
			}
			t.Logf("restored in %s", time.Since(began).Round(time.Millisecond))
			for i := range 8 {
				a, err1 := os.ReadFile(filepath.Join(dir, strconv.Itoa(i)))
				b, err2 := os.ReadFile(filepath.Join(to, strconv.Itoa(i)))
				if err := errors.Join(err1, err2); err != nil || !bytes.Equal(a, b) {
					t.Errorf("file %d came back changed, %v", i, err)
				}
			}
		})
	}
}

// TestS3Full needs root, as the dev cluster does: for a small file system.
func TestS3Full(t *testing.T) {
	t.Parallel()
	for _, kind := range []backup.TargetType{backup.S3, backup.PVC} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=24m"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = syscall.Unmount(root, syscall.MNT_DETACH) })
			p := newPlace(t)
			p.options.Dir = root
			if kind == backup.S3 {
				p = startServer(t, root).place(t)
				p.options.Patience = 5 * time.Second
			}
			r := p.open(t)
			dir := t.TempDir()
			write(t, filepath.Join(dir, "a"), noise(1, 64<<20))
			began := time.Now()
			_, err := r.Save(context.Background(), source("k", "peer0"), dir, SaveOptions{})
			if !errors.Is(err, ErrFull) || exit.HintOf(err) == "" {
				t.Errorf("Save = %v, want ErrFull", err)
			}
			t.Logf("after %s: %v", time.Since(began).Round(time.Millisecond), err)
			if list, err := r.List(t.Context()); err != nil || len(list) != 0 {
				t.Errorf("List = %v, %v", list, err)
			}
		})
	}
}
