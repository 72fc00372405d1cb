package transfer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Fetch fills dir, which is empty, with the input that the ticket is for. It repeats while
// nobody answers, until ctx ends: network policies reach a new pod some moments after its
// first packet.
func Fetch(ctx context.Context, t Ticket, dir string, l Limits) error {
	c := newCaller(t)
	defer c.close()
	if err := c.repeat(ctx, func(ctx context.Context) error { return c.fetch(ctx, dir, l) }); err != nil {
		return fmt.Errorf("fetching from %s: %w", t.URL, err)
	}
	// All is here; that the other end may know is no reason to fail, nor to wait for long.
	ctx, cancel := context.WithTimeout(ctx, ackTime)
	defer cancel()
	_ = c.repeat(ctx, func(ctx context.Context) error {
		resp, err := c.call(ctx, http.MethodDelete, pathInput, nil)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
	return nil
}

const ackTime = 5 * time.Second

// Return sends dir as the output that the ticket is for, and repeats as Fetch does.
func Return(ctx context.Context, t Ticket, dir string, l Limits) error {
	c := newCaller(t)
	defer c.close()
	if err := c.repeat(ctx, func(ctx context.Context) error { return c.giveBack(ctx, dir) }); err != nil {
		return fmt.Errorf("returning to %s: %w", t.URL, err)
	}
	return nil
}

// caller is the pod's end of a transfer.
type caller struct {
	ticket Ticket
	http   *http.Client
	dial   time.Duration
}

func newCaller(t Ticket) *caller {
	c := &caller{ticket: t, dial: 250 * time.Millisecond}
	c.http = &http.Client{
		Transport: transport(&tls.Config{
			MinVersion: tls.VersionTLS13,
			// The certificate is pinned, which is more than any authority could say about it.
			InsecureSkipVerify: true, //nolint:gosec // see VerifyConnection
			VerifyConnection: func(s tls.ConnectionState) error {
				if len(s.PeerCertificates) == 0 || pinOf(s.PeerCertificates[0].Raw) != strings.ToLower(t.Pin) {
					return errPin
				}
				return nil
			},
		}, func() time.Duration { return c.dial }),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

var errPin = errors.New("another process answers than the one that gave the ticket")

// transport asks no proxy, whatever the environment says: builds have one for the world
// outside.
func transport(config *tls.Config, dialTime func() time.Duration) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			d := net.Dialer{Timeout: dialTime()}
			return d.DialContext(ctx, network, address)
		},
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: 10 * time.Second,
		DisableCompression:    true,
		Protocols:             protocols,
		ReadBufferSize:        64 << 10,
		WriteBufferSize:       64 << 10,
	}
}

func (c *caller) close() { c.http.CloseIdleConnections() }

// finalError is one that a repeat cannot cure.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

// IsFinal reports whether an error of Collect is one of this node, or of the result, that
// asking again would not cure.
func IsFinal(err error) bool {
	var final *finalError
	return errors.As(err, &final)
}

// repeat tries until it succeeds, a repetition cannot help, or ctx ends. Then the error is that
// of the last try that had its time.
func (c *caller) repeat(ctx context.Context, try func(context.Context) error) error {
	const most = time.Second
	var last error
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, most) {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if last != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return last // a try that was cut off says nothing of why there had to be another
		}
		last = err
		var final *finalError
		var no *RefusedError
		if errors.As(err, &final) || errors.As(err, &no) {
			return err
		}
		if errors.Is(err, errPin) {
			return errPin
		}
		// What drops the first packets takes later ones within moments: better to begin anew
		// than to wait for TCP to repeat itself. A slow network gets the time it needs.
		c.dial = min(2*c.dial, 5*time.Second)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return err
		case <-t.C:
		}
	}
}

// call makes one request and turns refusals into errors.
func (c *caller) call(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.ticket.URL+path, body)
	if err != nil {
		return nil, &finalError{err}
	}
	c.authorize(req)
	return answerOf(c.http.Do(req))
}

func (c *caller) authorize(req *http.Request) {
	req.Header.Set("Authorization", "Bearer "+c.ticket.Token)
}

func answerOf(resp *http.Response, err error) (*http.Response, error) {
	if err != nil || resp.StatusCode < http.StatusBadRequest {
		return resp, err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	said := strings.TrimSpace(string(text))
	switch resp.StatusCode {
	case http.StatusBadRequest:
		return nil, &brokenError{errors.New(said)}
	case http.StatusUnprocessableEntity:
		return nil, &RefusedError{Text: said}
	}
	return nil, &finalError{fmt.Errorf("%s: %s", resp.Status, said)}
}

func (c *caller) fetch(ctx context.Context, dir string, l Limits) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := watch(stall, cancel)
	defer p.stop()
	resp, err := c.call(ctx, http.MethodGet, pathInput, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return receiveTree(p.reader(resp.Body), resp, dir, l, fill(dir))
}

// receiveTree takes the tree that an answer holds. Errors of the connection may be
// repeated, all others not.
func receiveTree(body io.Reader, resp *http.Response, parent string, l Limits, keep func(string) error) error {
	err := receive(body, parent, l, func() string { return resp.Trailer.Get(trailerSum) }, keep)
	if text := resp.Trailer.Get(trailerError); text != "" {
		return &finalError{errors.New(text)}
	}
	var broken *brokenError
	if err == nil || errors.As(err, &broken) {
		return err
	}
	return &finalError{err}
}

func (c *caller) giveBack(ctx context.Context, dir string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := watch(stall, cancel)
	defer p.stop()
	body := &treeBody{dir: dir, watch: p.writer, packed: make(chan error, 1)}
	body.out, body.in = io.Pipe()
	defer body.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, c.ticket.URL+pathOutput, body)
	if err != nil {
		return &finalError{err}
	}
	c.authorize(req)
	// A request that was refused or taken before is answered before anything is sent.
	req.Header.Set("Expect", "100-continue")
	body.trailer = http.Header{trailerSum: nil, trailerError: nil}
	req.Trailer = body.trailer
	resp, err := answerOf(c.http.Do(req))
	if own := body.end(); own != nil {
		return own
	}
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if want := body.trailer.Get(trailerSum); want != "" && want == resp.Header.Get(trailerSum) {
		return nil
	}
	// The token was spent before: by an earlier try of ours whose answer was lost, or not.
	sum, err := Pack(io.Discard, dir)
	if err != nil {
		return &finalError{err}
	}
	if sum != resp.Header.Get(trailerSum) {
		return &finalError{errors.New("the token is spent")}
	}
	return nil
}

// treeBody is a tree as the body of a request. Packing begins with the first read: not
// before the server wants it, nor before the request's header has been written, which has
// the names of the trailer in it.
type treeBody struct {
	dir     string
	watch   func(io.Writer) io.Writer
	trailer http.Header
	out     *io.PipeReader
	in      *io.PipeWriter
	begin   sync.Once
	packed  chan error
}

func (b *treeBody) Read(p []byte) (int, error) {
	b.begin.Do(func() { go b.pack() })
	return b.out.Read(p)
}

func (b *treeBody) Close() error { return b.out.Close() }

func (b *treeBody) pack() {
	writer := &failing{w: b.watch(b.in)}
	sum, err := Pack(writer, b.dir)
	switch {
	case writer.err != nil: // nobody reads on
		err = nil
	case err != nil:
		b.trailer.Set(trailerError, oneLine(err))
		err = &finalError{err}
	default:
		b.trailer.Set(trailerSum, sum)
	}
	_ = b.in.Close()
	b.packed <- err
}

// end waits for the packing to have ended and returns what was wrong with the tree.
func (b *treeBody) end() error {
	_ = b.out.Close()
	b.begin.Do(func() { b.packed <- nil })
	return <-b.packed
}
