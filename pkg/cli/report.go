package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/exit"
)

// heartbeat is how long a plain log may stay silent while something is awaited.
const heartbeat = 30 * time.Second

// newReporter chooses the printer; no other code asks whether a terminal is there.
func newReporter(s *State, g *globals) deploy.Reporter {
	switch {
	case g.quiet:
		return quietReporter{}
	case g.output == outputJSON:
		return &jsonReporter{w: s.Stderr, now: s.Now}
	case s.live():
		return newLiveReporter(s, s.colour(g.noColor))
	}
	return &plainReporter{w: s.Stderr, now: s.Now}
}

// plainReporter writes one line per change: for logs and pipes.
type plainReporter struct {
	mu  sync.Mutex
	w   io.Writer
	now func() time.Time
}

func (r *plainReporter) line(mark, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.w, "%-6s %s\n", mark, text)
}

// Start implements deploy.Reporter.
func (r *plainReporter) Start(title string) deploy.Step {
	s := &plainStep{r: r, title: title, began: r.now(), stop: make(chan struct{})}
	go s.beat()
	return s
}

type plainStep struct {
	r     *plainReporter
	title string
	began time.Time
	stop  chan struct{}
	once  sync.Once

	mu      sync.Mutex
	note    string
	printed time.Time
}

// beat repeats the last state when nothing was printed for a while, so that a log
// always tells what is awaited and for how long.
func (s *plainStep) beat() {
	t := time.NewTicker(heartbeat / 3)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
			s.mu.Lock()
			due, note := s.r.now().Sub(s.printed) >= heartbeat, s.note
			if due {
				s.printed = s.r.now()
			}
			s.mu.Unlock()
			if due {
				s.r.line("..", fmt.Sprintf("%s: waiting for %s%s", s.title, seconds(s.r.now().Sub(s.began)), prefixed(", last: ", note)))
			}
		}
	}
}

func (s *plainStep) Update(note string) {
	s.mu.Lock()
	same := s.note == note
	s.note, s.printed = note, s.r.now()
	s.mu.Unlock()
	if !same {
		s.r.line("..", s.title+prefixed(": ", note))
	}
}

// Progress prints a line now and then, so that a long log stays one that a person reads.
func (s *plainStep) Progress(note string) {
	s.mu.Lock()
	due := s.r.now().Sub(s.printed) >= heartbeat/3
	s.note = note
	if due {
		s.printed = s.r.now()
	}
	s.mu.Unlock()
	if due {
		s.r.line("..", s.title+prefixed(": ", note))
	}
}

func (s *plainStep) end(mark, text string) {
	s.once.Do(func() {
		close(s.stop)
		s.r.line(mark, text)
	})
}

func (s *plainStep) Done(note string) {
	s.end("ok", s.title+prefixed(": ", note)+took(s.r.now().Sub(s.began)))
}
func (s *plainStep) Skip(why string) { s.end("ok", s.title+prefixed(": ", why)) }
func (s *plainStep) Warn(note string) {
	s.end("warn", s.title+prefixed(": ", note))
}
func (s *plainStep) Fail(err error) {
	if stopped(err) {
		s.end("..", s.title+": interrupted")
		return
	}
	s.end("failed", s.title+": "+inStory(err))
}

// inStory is a failure as the story tells it: in one line, but for what a compiler said.
func inStory(err error) string {
	var b *deploy.BuildError
	if !errors.As(err, &b) || len(b.Log) == 0 {
		return firstLine(err.Error())
	}
	return b.Reason + "\n    " + strings.Join(b.Log, "\n    ")
}

// stopped tells a person's Ctrl-C, which is no failure of the step it met.
func stopped(err error) bool { return exit.CodeOf(err) == exit.Interrupted }

// jsonReporter writes one event per line, for programs.
type jsonReporter struct {
	mu  sync.Mutex
	w   io.Writer
	now func() time.Time
}

type event struct {
	Time  string `json:"time"`
	Step  string `json:"step"`
	State string `json:"state"` // started, running, done, unchanged, warning, failed
	Note  string `json:"note,omitempty"`
}

func (r *jsonReporter) emit(step, state, note string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, err := json.Marshal(event{r.now().UTC().Format(time.RFC3339Nano), step, state, note})
	if err != nil {
		return // four strings always marshal
	}
	fmt.Fprintf(r.w, "%s\n", b)
}

// Start implements deploy.Reporter.
func (r *jsonReporter) Start(title string) deploy.Step {
	r.emit(title, "started", "")
	return &jsonStep{r: r, title: title}
}

type jsonStep struct {
	r     *jsonReporter
	title string
}

func (s *jsonStep) Update(note string) { s.r.emit(s.title, "running", note) }

// Progress is an event like any other: a program can leave out what it does not want.
func (s *jsonStep) Progress(note string) { s.Update(note) }
func (s *jsonStep) Done(note string)     { s.r.emit(s.title, "done", note) }
func (s *jsonStep) Skip(why string)      { s.r.emit(s.title, "unchanged", why) }
func (s *jsonStep) Warn(note string)     { s.r.emit(s.title, "warning", note) }
func (s *jsonStep) Fail(err error)       { s.r.emit(s.title, "failed", err.Error()) }

type quietReporter struct{}

// Start implements deploy.Reporter.
func (quietReporter) Start(string) deploy.Step { return quietStep{} }

type quietStep struct{}

func (quietStep) Update(string)   {}
func (quietStep) Progress(string) {}
func (quietStep) Done(string)     {}
func (quietStep) Skip(string)     {}
func (quietStep) Warn(string)     {}
func (quietStep) Fail(error)      {}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

func seconds(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

// took is appended to a line only when the step was long enough for anyone to wonder.
func took(d time.Duration) string {
	if d < time.Second/2 {
		return ""
	}
	return " (" + seconds(d) + ")"
}
