package cli

import (
	"bytes"
	"errors"
	"fmt"
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

// TestStoryOfABuild: what a compiler said is told whole, by printers for people.
func TestStoryOfABuild(t *testing.T) {
	t.Parallel()
	failed := &deploy.BuildError{Chaincode: "basic_1.0", Node: "peer0", Reason: "exit status 1", Log: []string{"# basic", "./main.go:7:2: undefined: x"}}
	const want = "build of basic_1.0: exit status 1\n    # basic\n    ./main.go:7:2: undefined: x\n"
	var plain, live bytes.Buffer
	c := &clock{time.Unix(0, 0)}
	(&plainReporter{w: &plain, now: c.now}).Start("build of basic_1.0").Fail(fmt.Errorf("wrapped: %w", failed))
	r := &liveReporter{w: &live, now: c.now, width: func() int { return 80 }}
	r.Start("build of basic_1.0").Fail(failed)
	for name, got := range map[string]string{"plain": plain.String(), "live": live.String()} {
		if !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q in it", name, got, want)
		}
	}
}

// TestErrorOfABuild: where no story is told, the error has the compiler's words.
func TestErrorOfABuild(t *testing.T) {
	t.Parallel()
	failed := fmt.Errorf("installing: %w", &deploy.BuildError{Chaincode: "basic_1.0", Node: "peer0", Reason: "exit status 1", Log: []string{"# basic", "./main.go:7:2: undefined: x"}})
	cases := map[string]struct {
		reason string
		g      globals
		want   string
	}{
		"Told":  {"The story has had it already.", globals{}, "Error: installing: chaincode basic_1.0 did not build at peer0: exit status 1: ./main.go:7:2: undefined: x\n"},
		"Quiet": {"With -q there is no story.", globals{quiet: true}, "Error: installing: chaincode basic_1.0 did not build at peer0: exit status 1: ./main.go:7:2: undefined: x\n    # basic\n    ./main.go:7:2: undefined: x\n"},
		"JSON":  {"Programs get it as a list.", globals{output: outputJSON}, `"log":["# basic","./main.go:7:2: undefined: x"]`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stderr bytes.Buffer
			printError(&State{Stderr: &stderr}, &tc.g, nil, failed)
			if got := stderr.String(); got != tc.want && !(tc.g.output == outputJSON && strings.Contains(got, tc.want)) {
				t.Errorf("%s\ngot  %q\nwant %q", tc.reason, got, tc.want)
			}
		})
	}
}
