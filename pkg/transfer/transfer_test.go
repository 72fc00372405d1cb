package transfer

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
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

// TestTakenFirst: a pod that knows of its output's fate may end at once, and the news of its end
// must not come before that of the output. What it has been told reaches it all the same.
func TestTakenFirst(t *testing.T) {
	t.Parallel()
	s := started(t, Options{})
	taken := s.Take(filepath.Join(t.TempDir(), "out"), Limits{})
	r := httptest.NewRequest(http.MethodPut, pathOutput, strings.NewReader("no archive")) // will be broken
	r.Header.Set("Authorization", "Bearer "+s.Ticket().Token)
	r.Trailer = http.Header{trailerError: {"the output cannot be read"}} // and for this reason refused for good
	w := &answering{ResponseRecorder: httptest.NewRecorder(), taken: taken}
	s.ServeHTTP(w, r)
	if w.Code != http.StatusUnprocessableEntity || w.early {
		t.Errorf("answer %d, before the result: %t", w.Code, w.early)
	}

	s = started(t, Options{})
	taken = s.Take(filepath.Join(t.TempDir(), "out"), Limits{})
	returned, pod := make(chan error, 1), plant(t)
	go func() { returned <- Return(t.Context(), s.Ticket(), pod, Limits{}) }()
	if err := await(t, "the output", taken); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := await(t, "the answer", returned); err != nil {
		t.Errorf("Return to a server that was closed once it knew the result = %v", err)
	}
}

// answering is an answer that knows whether it came before the result.
type answering struct {
	*httptest.ResponseRecorder
	taken <-chan error
	early bool
}

func (a *answering) WriteHeader(code int) {
	a.early = a.early || len(a.taken) == 0
	a.ResponseRecorder.WriteHeader(code)
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
