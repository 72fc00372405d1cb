package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

const (
	maxTrouble   = 4096
	troublePause = time.Second
)

// Forward opens a connection to a port of a pod through the API server, as
// "kubectl port-forward" does, without a local port. ctx limits only the opening.
//
// Every connection has its own tunnel: when a port refuses a connection, some container
// runtimes end the whole tunnel, and connections to other ports must not go with it.
func (c *Client) Forward(ctx context.Context, pod string, port int) (net.Conn, error) {
	dialer, err := c.forwardDialer(pod)
	if err != nil {
		return nil, wrap(err, "connecting to pod/%s port %d", pod, port)
	}
	type answer struct {
		conn net.Conn
		err  error
	}
	done := make(chan answer, 1)
	go func() { // the dialer takes no context
		conn, err := openForward(dialer, pod, port)
		done <- answer{conn, err}
	}()
	select {
	case a := <-done:
		return a.conn, wrap(a.err, "connecting to pod/%s port %d", pod, port)
	case <-ctx.Done():
		go func() {
			if a := <-done; a.conn != nil {
				_ = a.conn.Close()
			}
		}()
		return nil, fmt.Errorf("connecting to pod/%s port %d: %w", pod, port, context.Cause(ctx))
	}
}

// forwardDialer speaks WebSocket, and SPDY to API servers before 1.30 and through proxies
// that cut WebSocket.
func (c *Client) forwardDialer(pod string) (httpstream.Dialer, error) {
	u := c.core.CoreV1().RESTClient().Post().Resource("pods").Namespace(c.namespace).Name(pod).SubResource("portforward").URL()
	websocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(u, c.config)
	if err != nil {
		return nil, err
	}
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return nil, err
	}
	plain := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, u)
	return portforward.NewFallbackDialerForStreaming(websocket, plain, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

func openForward(dialer httpstream.Dialer, pod string, port int) (net.Conn, error) {
	tunnel, protocol, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, err
	}
	if protocol != portforward.PortForwardProtocolV1Name {
		_ = tunnel.Close()
		return nil, fmt.Errorf("the API server speaks port-forward protocol %q", protocol)
	}
	headers := http.Header{}
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	headers.Set(corev1.PortHeader, strconv.Itoa(port))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	trouble, err := tunnel.CreateStream(headers)
	if err != nil {
		_ = tunnel.Close()
		return nil, err
	}
	_ = trouble.Close() // nothing is written to it
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := tunnel.CreateStream(headers)
	if err != nil {
		_ = tunnel.Close()
		return nil, err
	}

	// A stream knows no deadlines, and TLS and gRPC want them; a pipe has them.
	ours, theirs := net.Pipe()
	f := &forwarded{Conn: theirs, address: forwardAddr(fmt.Sprintf("%s:%d", pod, port))}
	go f.run(tunnel, data, trouble, ours)
	return f, nil
}

// forwarded is the caller's end.
type forwarded struct {
	net.Conn
	address forwardAddr

	mu  sync.Mutex
	err error // what the kubelet said
}

func (f *forwarded) run(tunnel httpstream.Connection, data, trouble httpstream.Stream, ours net.Conn) {
	told := make(chan struct{})
	go func() {
		defer close(told)
		text, err := io.ReadAll(io.LimitReader(trouble, maxTrouble))
		if err == nil && len(text) > 0 {
			f.fail(errors.New(strings.TrimSpace(string(text))))
			_ = ours.Close()
		}
	}()
	go func() { // ends when the caller closes its end
		_, _ = io.Copy(data, ours)
		_ = data.Close()
		_ = tunnel.Close()
	}()
	_, _ = io.Copy(ours, data)
	select { // the reason comes on another stream, so it may come a moment after the end
	case <-told:
	case <-time.After(troublePause):
	}
	_ = ours.Close()
	_ = data.Reset()
	_ = tunnel.Close()
}

func (f *forwarded) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// explain replaces the pipe's "closed" by the kubelet's reason, when there is one.
func (f *forwarded) explain(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe)) {
		return fmt.Errorf("%s: %w", f.address, f.err)
	}
	return err
}

func (f *forwarded) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	return n, f.explain(err)
}

func (f *forwarded) Write(p []byte) (int, error) {
	n, err := f.Conn.Write(p)
	return n, f.explain(err)
}

func (f *forwarded) RemoteAddr() net.Addr { return f.address }

type forwardAddr string

func (forwardAddr) Network() string  { return "port-forward" }
func (a forwardAddr) String() string { return string(a) }
