package pod_test

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pivt.io/pivt/pkg/cli/pod"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/transfer"
)

// serve is the peer's end. It returns the file of the ticket, as a Secret is mounted.
func serve(t *testing.T) (*transfer.Server, string) {
	t.Helper()
	s, err := transfer.Listen(transfer.Options{Host: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, ticketFile(t, s.Ticket())
}

func ticketFile(t *testing.T, ticket any) string {
	t.Helper()
	data, err := json.Marshal(ticket)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ticket.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestBuildPod is what the containers of a build pod do, one after the other.
func TestBuildPod(t *testing.T) {
	t.Parallel()
	s, ticket := serve(t)
	source, output := t.TempDir(), filepath.Join(t.TempDir(), "output")
	if err := os.WriteFile(filepath.Join(source, "main.go"), []byte("package main"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Give(source)
	taken := s.Take(output, transfer.Limits{})

	pod := t.TempDir()
	ready := filepath.Join(t.TempDir(), "ready")
	code, stderr, _ := process(t, "pivt", "launcher", "fetch", "--ticket", ticket, "--to", pod, "--ready", ready)
	if code != exit.OK || !strings.Contains(stderr, "done in") {
		t.Fatalf("fetch: exit %d, %s", code, stderr)
	}
	if _, err := os.Stat(ready); err != nil {
		t.Error("nobody tells the chaincode that its code is there:", err)
	}
	code, stderr, _ = process(t, "pivt", "launcher", "return", "--ticket", ticket, "--from", pod)
	if code != exit.OK {
		t.Fatalf("return: exit %d, %s", code, stderr)
	}
	if err := <-taken; err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(output, "main.go")); err != nil || string(data) != "package main" {
		t.Errorf("the peer got %q, %v", data, err)
	}
}

func TestTransferFails(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		ticket func(t *testing.T) string
		code   exit.Code
		want   string
	}{
		"NoTicket": {"A pod without its Secret.", func(*testing.T) string { return "/nonexistent/ticket.json" }, exit.Failed, "reading the ticket: "},
		"NoJSON": {"What cannot be read is not printed: it may hold a token.", func(t *testing.T) string { return ticketFile(t, []string{"SECRET"}) },
			exit.Failed, "ticket ticket.json does not parse"},
		"Empty": {"A Secret of another version.", func(t *testing.T) string { return ticketFile(t, map[string]string{"url": "x"}) }, exit.Failed, "has not all of url, pin and token"},
		"Nobody": {"The peer is gone, and so will be the pod.", func(t *testing.T) string {
			return ticketFile(t, transfer.Ticket{URL: "https://127.0.0.1:1", Pin: "00", Token: "SECRET"})
		}, exit.TimedOut, "https://127.0.0.1:1"},
		"Token": {"Another transfer's ticket.", func(t *testing.T) string {
			s, _ := serve(t)
			s.Give(t.TempDir())
			ticket := s.Ticket()
			ticket.Token = "SECRET"
			return ticketFile(t, ticket)
		}, exit.Failed, "401"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun, timeout := time.Now(), 20*time.Second
			if tc.code == exit.TimedOut {
				timeout = 300 * time.Millisecond
			}
			ready := filepath.Join(t.TempDir(), "ready")
			code, stderr, termination := process(t, "pivt", "launcher", "fetch", "--ticket", tc.ticket(t), "--to", t.TempDir(), "--ready", ready, "--timeout", timeout.String())
			if code != tc.code || !strings.Contains(stderr, tc.want) || !strings.Contains(termination, tc.want) {
				t.Errorf("%s\nexit %d after %s, stderr %q, termination %q; want %d, %q", tc.reason, code, time.Since(begun), stderr, termination, tc.code, tc.want)
			}
			if strings.Contains(stderr+termination, "SECRET") {
				t.Errorf("a token is in %q or %q", stderr, termination)
			}
			if _, err := os.Stat(ready); err == nil {
				t.Error("the chaincode would start without its code")
			}
		})
	}
}

func TestTransferUsage(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"fetch", "return"} {
		if code, stderr, _ := process(t, "pivt", "launcher", command); code != exit.Invalid || !strings.Contains(stderr, `"ticket"`) {
			t.Errorf("%s without flags: exit %d, %s", command, code, stderr)
		}
	}
}

// TestFetchStays: the container that has fetched ends when its pod does, and not before.
func TestFetchStays(t *testing.T) {
	t.Parallel()
	s, ticket := serve(t)
	given := s.Give(t.TempDir())
	ready := filepath.Join(t.TempDir(), "ready")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan exit.Code, 1)
	go func() {
		ended <- pod.Main(ctx, pod.Process{Name: "pivt", Env: func(string) string { return "" }, Stderr: io.Discard,
			Args: []string{"launcher", "fetch", "--ticket", ticket, "--to", t.TempDir(), "--ready", ready, "--stay"}})
	}()
	<-given
	select {
	case code := <-ended:
		t.Fatalf("ended with %d while its pod runs", code)
	case <-time.After(100 * time.Millisecond):
	}
	stop()
	if code := <-ended; code != exit.OK {
		t.Errorf("exit %d when its pod ends, want 0", code)
	}
}
