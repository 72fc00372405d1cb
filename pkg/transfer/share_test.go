package transfer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// authority is an organisation's TLS authority.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, file: filepath.Join(t.TempDir(), "ca.crt")}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a.key = key
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.write(a.file, "CERTIFICATE", der)
	return a
}

func (a *authority) write(path, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// node issues a certificate for servers alone, as some operators do.
func (a *authority) node(name string) Identity {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	dir := a.t.TempDir()
	id := Identity{Cert: filepath.Join(dir, "server.crt"), Key: filepath.Join(dir, "server.key"), Roots: a.file}
	a.write(id.Cert, "CERTIFICATE", der)
	a.write(id.Key, "PRIVATE KEY", pkcs8)
	return id
}

func sharing(t testing.TB, id Identity, key string) *Sharing {
	t.Helper()
	s, err := Share(Options{}, id, key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// follow asks until there is an answer.
func follow(ctx context.Context, id Identity, from Shared, dir string) <-chan error {
	done := make(chan error, 1)
	go func() {
		for {
			err := Collect(ctx, id, from, dir, Limits{})
			if !errors.Is(err, ErrPending) {
				done <- err
				return
			}
		}
	}()
	return done
}

// awaitFollowers waits until so many ask.
func (s *Sharing) awaitFollowers(t testing.TB, n int) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		s.mu.Lock()
		asking := 0
		for _, f := range s.followers {
			asking += min(f.asking, 1)
		}
		s.mu.Unlock()
		if asking == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d followers ask, want %d", asking, n)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestShare(t *testing.T) {
	t.Parallel()
	org := newAuthority(t)
	s := sharing(t, org.node("peer0"), "abc")
	from := plant(t)
	dirs := []string{filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "out")}
	var done []<-chan error
	for _, dir := range dirs {
		done = append(done, follow(t.Context(), org.node("follower"), Shared{s.Address(), "peer0", "abc"}, dir))
	}
	s.awaitFollowers(t, 2)
	s.Finish(t.Context(), from) // returns when both have it
	for i, dir := range dirs {
		if err := await(t, "a follower", done[i]); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(planted(t, from), tree(t, dir)); diff != "" {
			t.Errorf("-shared, +collected:\n%s", diff)
		}
	}
}

func TestShareFailure(t *testing.T) {
	t.Parallel()
	org := newAuthority(t)
	s := sharing(t, org.node("peer0"), "abc")
	done := follow(t.Context(), org.node("peer1"), Shared{s.Address(), "peer0", "abc"}, filepath.Join(t.TempDir(), "out"))
	s.awaitFollowers(t, 1)
	s.Fail(t.Context(), "main.go:1: syntax error\nexit status 1")
	var failed *FailedError
	if err := await(t, "the follower", done); !errors.As(err, &failed) || failed.Text != "main.go:1: syntax error\nexit status 1" {
		t.Errorf("Collect = %v, want the failure word for word", err)
	}
}

// TestShareDrain: a node that has built is not held up by a follower whose process is gone.
func TestShareDrain(t *testing.T) {
	t.Parallel()
	org := newAuthority(t)
	s := sharing(t, org.node("peer0"), "abc")
	ctx, kill := context.WithCancel(t.Context())
	done := follow(ctx, org.node("peer1"), Shared{s.Address(), "peer0", "abc"}, filepath.Join(t.TempDir(), "out"))
	s.awaitFollowers(t, 1)
	kill()
	<-done
	from, begun := plant(t), time.Now()
	s.Finish(t.Context(), from)
	const limit = drainTime - 10*time.Second // for a follower that is taken for alive, it would be all of it
	if took := time.Since(begun); took > limit {
		t.Errorf("Finish took %s with a dead follower", took)
	}
}

// TestShareWaits: how long a node that has built waits for its followers, by their own clock.
func TestShareWaits(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		before func(t *testing.T, s *Sharing)
		want   time.Duration
	}{
		"Nobody": {"Most builds have no follower.", func(*testing.T, *Sharing) {}, 0},
		"Asking": {"Who asks has its answer with the end, and not with the next question.", func(t *testing.T, s *Sharing) {
			go ask(t, s)
			synctest.Wait()
		}, 0},
		"Between": {"A follower may be about to ask again, or gone.", func(t *testing.T, s *Sharing) { ask(t, s) }, absence},
		"Silent":  {"One that has been silent for so long is gone.", func(t *testing.T, s *Sharing) { ask(t, s); time.Sleep(absence) }, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &Sharing{key: "abc", over: make(chan struct{}), followers: map[string]*follower{}, changed: make(chan struct{}, 1)}
				tc.before(t, s)
				begun := time.Now()
				s.Fail(t.Context(), "no")
				if took := time.Since(begun); took != tc.want {
					t.Errorf("%s\nFail took %s, want %s", tc.reason, took, tc.want)
				}
			})
		})
	}
}

// ask asks one question, without a network.
func ask(t *testing.T, s *Sharing) {
	r := httptest.NewRequest(http.MethodGet, pathResult+s.key, nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte("peer1")}}}
	s.ServeHTTP(httptest.NewRecorder(), r.WithContext(t.Context()))
}

func TestCollectGone(t *testing.T) {
	t.Parallel()
	org, other := newAuthority(t), newAuthority(t)
	s := sharing(t, org.node("peer0"), "abc")
	closed := sharing(t, org.node("peer0"), "abc")
	_ = closed.Close()
	transfer := started(t, Options{})
	cases := map[string]struct {
		reason string
		id     Identity
		from   Shared
		want   error
	}{
		"Closed":   {"The process has ended.", org.node("peer1"), Shared{closed.Address(), "peer0", "abc"}, ErrGone},
		"OtherKey": {"It builds something else by now.", org.node("peer1"), Shared{s.Address(), "peer0", "def"}, ErrGone},
		"Name":     {"Its address is another node's by now.", org.node("peer1"), Shared{s.Address(), "peer9", "abc"}, ErrStranger},
		"Transfer": {"Its port is another transfer's by now.", org.node("peer1"), Shared{strings.TrimPrefix(transfer.Ticket().URL, "https://"), "peer0", "abc"}, ErrStranger},
		"Org":      {"What another organisation builds is not for us, nor ours for it.", other.node("peer1"), Shared{s.Address(), "peer0", "abc"}, ErrStranger},
		"Client":   {"Trusting our roots is not enough to be one of us.", func() Identity { id := other.node("peer1"); id.Roots = org.file; return id }(), Shared{s.Address(), "peer0", "abc"}, ErrStranger},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "out")
			if err := Collect(t.Context(), tc.id, tc.from, dir, Limits{}); !errors.Is(err, tc.want) {
				t.Errorf("%s\nCollect = %v, want %v", tc.reason, err, tc.want)
			}
			if _, err := os.Stat(dir); err == nil {
				t.Error("there is a result")
			}
		})
	}
}

func TestCollectPending(t *testing.T) {
	t.Parallel()
	org := newAuthority(t)
	s := sharing(t, org.node("peer0"), "abc")
	if err := Collect(t.Context(), org.node("peer1"), Shared{s.Address(), "peer0", "abc"}, filepath.Join(t.TempDir(), "out"), Limits{}); !errors.Is(err, ErrPending) {
		t.Errorf("Collect = %v, want ErrPending", err)
	}
}

// TestShareKilled: a process that dies while others wait, here by closing its port.
func TestShareKilled(t *testing.T) {
	t.Parallel()
	org := newAuthority(t)
	s := sharing(t, org.node("peer0"), "abc")
	done := follow(t.Context(), org.node("peer1"), Shared{s.Address(), "peer0", "abc"}, filepath.Join(t.TempDir(), "out"))
	s.awaitFollowers(t, 1)
	_ = s.Close()
	if err := await(t, "the follower", done); err == nil || errors.Is(err, ErrPending) {
		t.Errorf("Collect = %v, want that the connection ended", err)
	}
}

func TestShareRefuses(t *testing.T) {
	t.Parallel()
	org := newAuthority(t)
	good := org.node("peer0")
	for reason, id := range map[string]Identity{
		"no key":   {Cert: good.Cert, Key: "missing", Roots: good.Roots},
		"no roots": {Cert: good.Cert, Key: good.Key, Roots: "missing"},
		"no PEM":   {Cert: good.Cert, Key: good.Key, Roots: good.Key},
	} {
		if s, err := Share(Options{}, id, "abc"); err == nil {
			_ = s.Close()
			t.Errorf("Share with %s = nil", reason)
		}
	}
}
