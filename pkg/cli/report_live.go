package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"pivt.io/pivt/pkg/deploy"
)

const (
	green = "\x1b[32m"
	red   = "\x1b[31m"
	amber = "\x1b[33m"
	reset = "\x1b[0m"
)

// liveReporter redraws the steps that are under way at the bottom of the terminal and
// leaves a line for each that has ended.
type liveReporter struct {
	mu     sync.Mutex
	w      io.Writer
	now    func() time.Time
	width  func() int
	colour bool
	active []*liveStep
	drawn  int // live lines on the screen now
	ticker *time.Ticker
	stop   chan struct{}
}

func newLiveReporter(s *State, colour bool) *liveReporter {
	return &liveReporter{w: s.Stderr, now: s.Now, width: s.Width, colour: colour}
}

// Start implements deploy.Reporter.
func (r *liveReporter) Start(title string) deploy.Step {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &liveStep{r: r, title: title, began: r.now()}
	r.active = append(r.active, s)
	if r.ticker == nil {
		r.ticker, r.stop = time.NewTicker(200*time.Millisecond), make(chan struct{})
		go r.tick(r.ticker, r.stop)
	}
	r.draw("")
	return s
}

func (r *liveReporter) tick(t *time.Ticker, stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-t.C:
			r.mu.Lock()
			r.draw("")
			r.mu.Unlock()
		}
	}
}

// draw replaces the live lines, printing final above them. Callers hold mu.
func (r *liveReporter) draw(final string) {
	var b strings.Builder
	if r.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", r.drawn)
	}
	b.WriteString("\r\x1b[J")
	if final != "" {
		b.WriteString(final + "\n")
	}
	width := r.width()
	for _, s := range r.active {
		line := fmt.Sprintf(" %s %s%s", "•", s.title, prefixed(": ", s.note))
		suffix := "  " + seconds(r.now().Sub(s.began))
		b.WriteString(cut(line, width-1-len(suffix)) + suffix + "\n")
	}
	r.drawn = len(r.active)
	io.WriteString(r.w, b.String())
}

func (r *liveReporter) end(s *liveStep, mark, colour, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, a := range r.active {
		if a == s {
			r.active = append(r.active[:i:i], r.active[i+1:]...)
			if r.colour {
				mark = colour + mark + reset
			}
			r.draw(" " + mark + " " + text)
			break
		}
	}
	if len(r.active) == 0 && r.ticker != nil {
		r.ticker.Stop()
		close(r.stop)
		r.ticker = nil
	}
}

type liveStep struct {
	r     *liveReporter
	title string
	note  string
	began time.Time
}

func (s *liveStep) Update(note string) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.note = note
	s.r.draw("")
}

// Progress redraws, which costs nothing.
func (s *liveStep) Progress(note string) { s.Update(note) }

func (s *liveStep) Done(note string) {
	s.r.end(s, "✓", green, s.title+prefixed(": ", note)+took(s.r.now().Sub(s.began)))
}
func (s *liveStep) Skip(why string)  { s.r.end(s, "✓", green, s.title+prefixed(": ", why)) }
func (s *liveStep) Warn(note string) { s.r.end(s, "!", amber, s.title+prefixed(": ", note)) }
func (s *liveStep) Fail(err error) {
	if stopped(err) {
		s.r.end(s, "•", amber, s.title+": interrupted")
		return
	}
	s.r.end(s, "✗", red, s.title+": "+inStory(err))
}

// cut shortens s to n columns, so that a live line never wraps and redrawing holds.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	if n < 1 {
		return ""
	}
	return string([]rune(s)[:n-1]) + "…"
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
