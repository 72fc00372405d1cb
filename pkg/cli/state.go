package cli

import (
	"context"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/term"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/kube"
)

// State is everything of the process that a command may touch.
type State struct {
	Args   []string // without the program's name
	Env    func(string) string
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	// StdinTTY, StdoutTTY and StderrTTY say whether a person is at the other end.
	StdinTTY, StdoutTTY, StderrTTY bool
	// Width is the terminal's, in columns, asked anew for every drawing.
	Width func() int
	// Dir is the directory that relative file names start from.
	Dir string
	Now func() time.Time
	// Dial connects to a node by its address in the cluster; nil means by port-forward.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Ask has the backup repository answer a question; nil means by a pod in the namespace.
	Ask func(ctx context.Context, k *kube.Client, s backup.Settings, args []string) ([]byte, error)
}

// OS returns the State of the real process.
func OS() *State {
	dir, err := os.Getwd()
	if err != nil {
		dir = "."
	}
	return &State{
		Args:      os.Args[1:],
		Env:       os.Getenv,
		Stdin:     os.Stdin,
		Stdout:    os.Stdout,
		Stderr:    os.Stderr,
		StdinTTY:  term.IsTerminal(int(os.Stdin.Fd())),
		StdoutTTY: term.IsTerminal(int(os.Stdout.Fd())),
		StderrTTY: term.IsTerminal(int(os.Stderr.Fd())),
		Width:     stderrWidth,
		Dir:       dir,
		Now:       time.Now,
	}
}

const defaultWidth = 80

func stderrWidth() int {
	w, _, err := term.GetSize(int(os.Stderr.Fd()))
	if err != nil || w < 20 {
		return defaultWidth
	}
	return w
}

// path resolves a file name as the user gave it.
func (s *State) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.Dir, name)
}

// relative is path's inverse, for printing.
func (s *State) relative(path string) string {
	if r, err := filepath.Rel(s.Dir, path); err == nil && filepath.IsLocal(r) {
		return r
	}
	return path
}

func (s *State) readFile(name string) ([]byte, error) { return os.ReadFile(s.path(name)) }

// live reports whether progress may be redrawn on stderr.
func (s *State) live() bool {
	return s.StderrTTY && s.Env("TERM") != "dumb" && s.Env("CI") == ""
}

// colour reports whether stderr may be coloured. Colour only repeats what words say.
func (s *State) colour(flagOff bool) bool {
	return s.live() && !flagOff && s.Env("NO_COLOR") == ""
}

// Interruptible returns a context that the first SIGINT or SIGTERM cancels; the second
// one ends the process at once, as the signal's default would.
func Interruptible(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-c:
			signal.Stop(c)
			cancel(errInterrupted)
		case <-ctx.Done():
			signal.Stop(c)
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}
