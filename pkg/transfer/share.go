package transfer

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

// Identity is a node's own TLS, as paths of PEM files: its certificate, the key to it and
// the authorities of its organisation.
type Identity struct{ Cert, Key, Roots string }

const (
	pathResult = "/v1/result/"
	// pollTime is how long a question for a result that is not there yet stays open.
	pollTime = 5 * time.Second
	// absence is how long a follower that has asked may be silent before it counts as gone.
	absence = 2 * time.Second
	// drainTime bounds what a follower that does not end costs the node that has built.
	drainTime = 30 * time.Second
	// statusFailed tells a follower that there will be no result.
	statusFailed = http.StatusFailedDependency
)

// Sharing offers the other nodes of an organisation the result of something that this node
// does at the moment. Both ends prove themselves by the organisation's TLS certificates.
type Sharing struct {
	key  string
	addr string
	http *http.Server
	open sync.WaitGroup
	over chan struct{} // closed when there is a result or a failure

	mu        sync.Mutex
	closed    bool
	dir, text string
	followers map[string]*follower // by the digest of their certificate
	changed   chan struct{}
}

type follower struct {
	asking int // open questions
	seen   time.Time
	served bool
}

// Share starts to offer what will become of key.
func Share(o Options, id Identity, key string) (*Sharing, error) {
	config, roots, err := id.load()
	if err != nil {
		return nil, err
	}
	// Any purpose: an operator's own certificates for servers may not name that of clients.
	config.ClientAuth = tls.RequireAnyClientCert
	config.VerifyConnection = func(s tls.ConnectionState) error {
		between := x509.NewCertPool()
		for _, c := range s.PeerCertificates[1:] {
			between.AddCert(c)
		}
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		return err
	}
	random := o.Rand
	if random == nil {
		random = rand.Reader
	}
	l, err := listen(o, random)
	if err != nil {
		return nil, err
	}
	s := &Sharing{
		key: key, addr: l.Addr().String(), over: make(chan struct{}),
		followers: map[string]*follower{}, changed: make(chan struct{}, 1),
	}
	s.http = serve(l, config, s)
	return s, nil
}

func (id Identity) load() (*tls.Config, *x509.CertPool, error) {
	cert, err := tls.LoadX509KeyPair(id.Cert, id.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the node's own certificate: %w", err)
	}
	data, err := os.ReadFile(id.Roots)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the organisation's TLS authorities: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return nil, nil, fmt.Errorf("%s holds no certificate", id.Roots)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}, roots, nil
}

// Address is host:port, for the other nodes.
func (s *Sharing) Address() string { return s.addr }

// Finish offers dir as the result, Fail tells that there will be none. Both return when
// every follower that has asked has its answer, or is gone.
func (s *Sharing) Finish(ctx context.Context, dir string) { s.end(ctx, dir, "") }

// Fail tells the followers why there is no result.
func (s *Sharing) Fail(ctx context.Context, text string) { s.end(ctx, "", text) }

func (s *Sharing) end(ctx context.Context, dir, text string) {
	s.mu.Lock()
	s.dir, s.text = dir, text
	close(s.over)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	for {
		wait, followed := s.followed(time.Now())
		if !followed {
			return
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-s.changed:
			t.Stop()
		case <-t.C:
		}
	}
}

// followed reports whether somebody waits for an answer, and when to look again.
func (s *Sharing) followed(now time.Time) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait, any := absence, false
	for _, f := range s.followers {
		if f.served {
			continue
		}
		left := absence - now.Sub(f.seen)
		if f.asking > 0 {
			any = true
		} else if left > 0 {
			any, wait = true, min(wait, left)
		}
	}
	return wait, any
}

// Close ends the sharing at once. Followers without an answer are on their own.
func (s *Sharing) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := s.http.Close()
	s.open.Wait()
	return err
}

func (s *Sharing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != pathResult+s.key {
		http.NotFound(w, r)
		return
	}
	sum := sha256.Sum256(r.TLS.PeerCertificates[0].Raw)
	f := s.enter(string(sum[:]))
	if f == nil {
		panic(http.ErrAbortHandler)
	}
	defer s.leave(f)
	switch r.Method {
	case http.MethodGet:
		s.answer(w, r, f)
	case http.MethodDelete:
		s.arrived(f)
		w.WriteHeader(http.StatusNoContent)
	default:
		http.NotFound(w, r)
	}
}

func (s *Sharing) enter(who string) *follower {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	f := s.followers[who]
	if f == nil {
		f = new(follower)
		s.followers[who] = f
	}
	f.asking++
	f.served = false
	s.open.Add(1)
	return f
}

func (s *Sharing) leave(f *follower) {
	s.mu.Lock()
	f.asking--
	f.seen = time.Now()
	s.mu.Unlock()
	s.wake()
	s.open.Done()
}

func (s *Sharing) arrived(f *follower) {
	s.mu.Lock()
	f.served = true
	s.mu.Unlock()
}

func (s *Sharing) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *Sharing) answer(w http.ResponseWriter, r *http.Request, f *follower) {
	t := time.NewTimer(pollTime)
	defer t.Stop()
	select {
	case <-r.Context().Done():
		s.arrived(f) // it is gone, and will ask again if it is not
		return
	case <-t.C:
		w.WriteHeader(http.StatusAccepted)
		return
	case <-s.over:
	}
	s.mu.Lock()
	dir, text := s.dir, s.text
	s.mu.Unlock()
	if text != "" {
		w.WriteHeader(statusFailed)
		_, _ = io.WriteString(w, text)
		_ = http.NewResponseController(w).Flush()
		s.arrived(f)
		return
	}
	p := watchServer(w)
	defer p.stop()
	if _, err := sendTree(p.writer(w), w, dir); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// Shared is where another node's result is.
type Shared struct {
	Address string // host:port
	Name    string // the other node's, which its certificate must hold
	Key     string
}

// ErrPending says that the other node is still at it, ErrGone that it has no such result to
// offer and will have none, ErrStranger that who answers is not that node, or does not take
// this one for a node of its organisation.
var (
	ErrPending  = errors.New("there is no result yet")
	ErrGone     = errors.New("nobody offers the result any more")
	ErrStranger = errors.New("no node of this organisation answers")
)

// FailedError is the other node's failure, in its words.
type FailedError struct{ Text string }

func (e *FailedError) Error() string { return e.Text }

// Collect waits for another node's result for a few seconds and makes dir of it. ErrPending,
// ErrGone, ErrStranger, *FailedError and *RefusedError say what else may be; any other error means that
// the other node was not reached this time.
func Collect(ctx context.Context, id Identity, from Shared, dir string, l Limits) error {
	config, roots, err := id.load()
	if err != nil {
		return err
	}
	config.RootCAs, config.ServerName = roots, from.Name
	client := &http.Client{Transport: transport(config, func() time.Duration { return 2 * time.Second })}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := watch(2*pollTime, cancel)
	defer p.stop()
	url := "https://" + from.Address + pathResult + from.Key
	call := func(ctx context.Context, method string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, method, url, nil)
		if err != nil {
			return nil, err
		}
		return client.Do(req)
	}
	resp, err := call(ctx, http.MethodGet)
	if err != nil {
		return absent(err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusAccepted:
		return ErrPending
	case statusFailed:
		text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		if err != nil {
			return err
		}
		return &FailedError{Text: string(text)}
	default:
		return ErrGone
	}
	if err := receiveTree(p.reader(resp.Body), resp, parentOf(dir), l, become(dir)); err != nil {
		return err
	}
	ack, done := context.WithTimeout(ctx, ackTime)
	defer done()
	if resp, err := call(ack, http.MethodDelete); err == nil {
		_ = resp.Body.Close()
	}
	return nil
}

// absent tells a process that has ended, and others that are at its address by now, from a
// node that does not answer.
func absent(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	var verify *tls.CertificateVerificationError
	var op *net.OpError
	if errors.As(err, &verify) || errors.As(err, &op) && op.Op == "remote error" { // a server that wants no such client
		return fmt.Errorf("%w: %w", ErrStranger, err)
	}
	return err
}
