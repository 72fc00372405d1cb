package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/deploy"
)

// clock moves only when told to.
type clock struct{ t time.Time }

func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }

func tell(r deploy.Reporter, c *clock) {
	a := r.Start("nodes")
	b := r.Start("channel mychannel")
	a.Update("1 of 2 ready")
	a.Update("1 of 2 ready") // the same again is no news
	c.advance(3 * time.Second)
	a.Done("2 ready")
	b.Skip("up to date")
	r.Start("chaincode basic").Fail(errors.New("endorsement policy\nsecond line"))
}

func TestPlainReporter(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &clock{time.Unix(0, 0)}
	tell(&plainReporter{w: &out, now: c.now}, c)
	want := `..     nodes: 1 of 2 ready
ok     nodes: 2 ready (3.0 s)
ok     channel mychannel: up to date
failed chaincode basic: endorsement policy
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("a log has one line per change: -want, +got:\n%s", diff)
	}
}

func TestJSONReporter(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &clock{time.Unix(0, 0)}
	tell(&jsonReporter{w: &out, now: c.now}, c)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 8 {
		t.Fatalf("got %d events, want 8:\n%s", len(lines), out.String())
	}
	want := `{"time":"1970-01-01T00:00:03Z","step":"nodes","state":"done","note":"2 ready"}`
	if lines[4] != want {
		t.Errorf("event = %s\nwant    %s", lines[4], want)
	}
}

// TestLiveReporter reads what stands on the screen when all steps have ended.
func TestLiveReporter(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &clock{time.Unix(0, 0)}
	r := newLiveReporter(&State{Stderr: &out, Now: c.now, Width: func() int { return 40 }}, false)
	tell(r, c)
	want := []string{" ✓ nodes: 2 ready (3.0 s)", " ✓ channel mychannel: up to date", " ✗ chaincode basic: endorsement policy"}
	if diff := cmp.Diff(want, screen(out.String())); diff != "" {
		t.Errorf("screen after the last step: -want, +got:\n%s", diff)
	}
}

// screen plays the few control sequences that the reporter uses.
func screen(s string) []string {
	var lines []string
	row := 0
	for len(s) > 0 {
		switch {
		case strings.HasPrefix(s, "\x1b[") && strings.HasPrefix(s[3:], "A"):
			row -= int(s[2] - '0')
			s = s[4:]
		case strings.HasPrefix(s, "\r\x1b[J"):
			lines, s = lines[:row], s[4:]
		default:
			line, rest, _ := strings.Cut(s, "\n")
			lines, s = append(lines, line), rest
			row++
		}
	}
	return lines
}

func TestLiveLineNeverWraps(t *testing.T) {
	t.Parallel()
	if got := cut("• channel mychannel: joining peers", 12); got != "• channel m…" {
		t.Errorf("cut = %q", got)
	}
	if got := cut("short", 12); got != "short" {
		t.Errorf("cut = %q", got)
	}
}
