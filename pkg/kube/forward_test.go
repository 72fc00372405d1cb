package kube_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

const echoPort = "7051"

// portForward is the kubelet's side: port 7051 echoes, nobody listens on any other.
// It knows no WebSocket, as API servers before 1.30.
func portForward(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		fail(w, 400, "upgrade request required")
		return
	}
	if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardProtocolV1Name}); err != nil {
		return
	}
	var mu sync.Mutex
	var trouble httpstream.Stream
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
		mu.Lock()
		defer mu.Unlock()
		if s.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
			trouble = s
			return nil
		}
		go func() {
			if port := s.Headers().Get(corev1.PortHeader); port != echoPort {
				_ = s.Close() // the reason comes last, to be mean
				_, _ = fmt.Fprintf(trouble, "dial tcp 127.0.0.1:%s: connection refused", port)
			} else {
				_, _ = io.Copy(s, s)
			}
			_ = s.Close()
			_ = trouble.Close()
		}()
		return nil
	})
	if conn != nil {
		<-conn.CloseChan()
	}
}

func TestForward(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	c := s.client(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			conn, err := c.Forward(ctx, "peer-0", 7051)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			text := bytes.Repeat([]byte{byte('a' + i)}, 200_000)
			go func() { _, _ = conn.Write(text) }()
			got := make([]byte, len(text))
			if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, text) {
				t.Errorf("connection %d: what came back differs, %v", i, err)
			}
		})
	}
	wg.Wait()

	conn, err := c.Forward(ctx, "peer-0", 7051)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if conn.RemoteAddr().String() != "peer-0:7051" {
		t.Errorf("RemoteAddr = %s", conn.RemoteAddr())
	}
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reading past the deadline = %v", err)
	}
}

func TestForwardRefused(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	c := s.client(t)
	conn, err := c.Forward(t.Context(), "peer-0", 7052)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "peer-0:7052") || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("reading from a closed port = %v; want the kubelet's reason", err)
	}

	if _, err := c.Forward(t.Context(), "nobody-0", 7051); err == nil || !strings.Contains(err.Error(), "nobody-0") {
		t.Errorf("connecting to a pod that is not there = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Forward(ctx, "slow-0", 7051); !errors.Is(err, context.Canceled) {
		t.Errorf("connecting with an ended context = %v", err)
	}
}
