package transfer

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	pathInput  = "/v1/input"
	pathOutput = "/v1/output"
	// trailerSum and trailerError end every tree: its digest, or why it ends early.
	trailerSum   = "Pivt-Sum"
	trailerError = "Pivt-Error"
	// stall is how long a transfer may stand still before it counts as broken.
	stall = 30 * time.Second
)

// Server is one end of the transfers of one pod, in the process that started it.
type Server struct {
	ticket Ticket
	token  [sha256.Size]byte // its digest: all that comparing needs
	report func(string)
	http   *http.Server
	open   sync.WaitGroup // requests
	told   sync.WaitGroup // results whose answers are on their way

	mu     sync.Mutex
	in     *input
	out    *output
	closed bool
}

type input struct {
	dir     string
	turn    turn
	given   chan struct{}
	fetched bool
}

type output struct {
	dir    string
	limits Limits
	turn   turn
	result chan error
	ended  bool
	sum    string // of what was taken
	why    error  // of what was refused
}

// Listen starts a server that knows its ticket, and nothing yet to give or take.
func Listen(o Options) (*Server, error) {
	random := o.Rand
	if random == nil {
		random = rand.Reader
	}
	raw := make([]byte, 32)
	if _, err := io.ReadFull(random, raw); err != nil {
		return nil, fmt.Errorf("making a token: %w", err)
	}
	cert, pin, err := selfSigned()
	if err != nil {
		return nil, fmt.Errorf("making a certificate: %w", err)
	}
	l, err := listen(o, random)
	if err != nil {
		return nil, err
	}
	s := &Server{
		ticket: Ticket{URL: "https://" + l.Addr().String(), Pin: pin, Token: hex.EncodeToString(raw)},
		report: o.Report,
	}
	if s.report == nil {
		s.report = func(string) {}
	}
	s.token = sha256.Sum256([]byte(s.ticket.Token))
	s.http = serve(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}, s)
	return s, nil
}

// Ticket is for the pod, and nobody else.
func (s *Server) Ticket() Ticket { return s.ticket }

// Give offers a directory as input. The channel is closed when the pod has all of it.
func (s *Server) Give(dir string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in = &input{dir: dir, given: make(chan struct{})}
	return s.in.given
}

// Take lets the pod return one output, which becomes dir when it is complete and fits l. The
// directory must not exist or be empty. The channel then gets nil, or why the output was
// refused for good; a broken connection is waited for. It gets it before the pod does, which may
// end of it at once.
func (s *Server) Take(dir string, l Limits) <-chan error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = &output{dir: dir, limits: l, result: make(chan error, 1)}
	return s.out.result
}

// Close ends what goes on and returns when nothing of it is left. An output that has its result
// gets its answer first.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.told.Wait()
	err := s.http.Close()
	s.open.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out != nil && !s.out.ended {
		s.out.ended = true
		s.out.result <- net.ErrClosed
	}
	return err
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	given := sha256.Sum256([]byte(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
	if subtle.ConstantTimeCompare(given[:], s.token[:]) != 1 {
		http.Error(w, "not this token", http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	in, out := s.in, s.out
	if s.closed {
		s.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	s.open.Add(1)
	s.mu.Unlock()
	defer s.open.Done()
	switch call := r.Method + " " + r.URL.Path; {
	case call == "GET "+pathInput && in != nil:
		s.giveInput(w, in)
	case call == "DELETE "+pathInput && in != nil:
		s.inputArrived(w, in)
	case call == "PUT "+pathOutput && out != nil:
		s.takeOutput(w, r, out)
	default:
		http.NotFound(w, r)
	}
}

func (s *Server) giveInput(w http.ResponseWriter, in *input) {
	p := watchServer(w)
	defer p.stop()
	defer in.turn.take(p.abort)()
	s.mu.Lock()
	spent := in.fetched
	s.mu.Unlock()
	if spent {
		http.Error(w, "the token is spent", http.StatusGone)
		return
	}
	begun := time.Now()
	n, err := sendTree(p.writer(w), w, in.dir)
	if err != nil {
		s.report(fmt.Sprintf("sending %s broke off: %v", filepath.Base(in.dir), err))
		panic(http.ErrAbortHandler)
	}
	s.report("sent " + amount(n, time.Since(begun)))
}

// amount is for people: "12.3 MB in 0.42 s".
func amount(n int64, took time.Duration) string {
	return fmt.Sprintf("%.1f MB in %.2f s", float64(n)/1e6, took.Seconds())
}

// sendTree writes a tree as the answer to a request. An error is one of the connection;
// those of the tree go to the other end.
func sendTree(to io.Writer, w http.ResponseWriter, dir string) (int64, error) {
	w.Header().Set("Content-Type", "application/x-tar")
	w.Header().Set("Trailer", trailerSum+", "+trailerError)
	watched := &failing{w: to}
	sum, err := Pack(watched, dir)
	switch {
	case watched.err != nil:
		return watched.n, watched.err
	case err != nil:
		w.Header().Set(trailerError, oneLine(err))
	default:
		w.Header().Set(trailerSum, sum)
	}
	return watched.n, nil
}

// failing counts what was written, and remembers that writing failed, to tell from a failure
// to read what to write.
type failing struct {
	w   io.Writer
	n   int64
	err error
}

func (f *failing) Write(b []byte) (int, error) {
	n, err := f.w.Write(b)
	f.n += int64(n)
	if err != nil {
		f.err = err
	}
	return n, err
}

// counting counts what was read.
type counting struct {
	r io.Reader
	n int64
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// inputArrived spends the token for the input. The pod says so itself: what was written to
// a connection may never have arrived.
func (s *Server) inputArrived(w http.ResponseWriter, in *input) {
	w.WriteHeader(http.StatusNoContent)
	// Answered before it is told: the answer is lost once the server is closed.
	_ = http.NewResponseController(w).Flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !in.fetched {
		in.fetched = true
		close(in.given)
	}
}

func (s *Server) takeOutput(w http.ResponseWriter, r *http.Request, out *output) {
	p := watchServer(w)
	defer p.stop()
	defer out.turn.take(p.abort)()
	if s.answerEnded(w, out) {
		return
	}
	said := func() error {
		if text := r.Trailer.Get(trailerError); text != "" {
			return &RefusedError{Text: text}
		}
		return nil
	}
	var sum string
	begun, body := time.Now(), &counting{r: p.reader(r.Body)}
	err := receive(body, parentOf(out.dir), out.limits, func() string {
		sum = r.Trailer.Get(trailerSum)
		return sum
	}, become(out.dir))
	if why := said(); why != nil {
		err = why
	}
	var broken *brokenError
	if errors.As(err, &broken) {
		s.report(fmt.Sprintf("taking %s broke off: %v", filepath.Base(out.dir), err))
		http.Error(w, "broken", http.StatusBadRequest)
		return
	}
	if err == nil {
		s.report("received " + amount(body.n, time.Since(begun)))
	}
	s.mu.Lock()
	out.ended, out.sum, out.why = true, sum, err
	if !s.closed {
		s.told.Add(1)
		defer s.told.Done()
	}
	s.mu.Unlock()
	// Told before it is answered: the pod may fail of a refusal, and its end must not be known
	// sooner than the reason.
	out.result <- err
	s.answerEnded(w, out)
	_ = http.NewResponseController(w).Flush()
}

// answerEnded tells the pod what became of its output, also when it asks again because the
// first answer was lost.
func (s *Server) answerEnded(w http.ResponseWriter, out *output) bool {
	s.mu.Lock()
	ended, sum, why := out.ended, out.sum, out.why
	s.mu.Unlock()
	switch {
	case !ended:
		return false
	case why != nil:
		http.Error(w, oneLine(why), http.StatusUnprocessableEntity)
	default:
		w.Header().Set(trailerSum, sum)
		w.WriteHeader(http.StatusNoContent)
	}
	return true
}

// oneLine makes an error fit for a header.
func oneLine(err error) string {
	const enough = 1000
	text := strings.Join(strings.Fields(err.Error()), " ")
	return text[:min(len(text), enough)]
}
