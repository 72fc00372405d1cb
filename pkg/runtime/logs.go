package runtime

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// logs copies the log of one container to a writer while it is written, each line once,
// over any number of interruptions.
type logs struct {
	r       *job
	started chan struct{} // closed by begin
	over    chan struct{} // closed by finish: the container writes no more
	done    chan struct{} // closed when all has been copied
	begun   sync.Once
	ended   sync.Once
	cancel  context.CancelFunc

	last time.Time // time stamp of the last line that was copied
	same int       // lines with that time stamp that were copied
}

func (r *job) followLogs(ctx context.Context) *logs {
	// Not ended by ctx itself but by finish, which leaves time for the last lines.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &logs{r: r, started: make(chan struct{}), over: make(chan struct{}), done: make(chan struct{}), cancel: cancel}
	go l.copy(ctx)
	return l
}

// begin starts reading; before the container has started there is nothing to read.
func (l *logs) begin() { l.begun.Do(func() { close(l.started) }) }

// finish waits until everything has been copied, but not longer than limit or ctx, and
// ends the copying for good if that is so.
func (l *logs) finish(ctx context.Context, limit time.Duration) {
	l.ended.Do(func() { close(l.over) })
	if !isClosed(l.started) {
		l.cancel()
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case <-l.done:
	case <-ctx.Done():
	}
	if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		l.cancel()
	}
}

func (l *logs) copy(ctx context.Context) {
	defer close(l.done)
	select {
	case <-ctx.Done():
		return
	case <-l.started:
	}
	var wait pause
	told := false
	for {
		over := isClosed(l.over)
		before := l.last
		err := l.stream(ctx)
		if apierrors.IsForbidden(err) && !told {
			told = true
			l.r.report("reading the log of pod %s: %v; it is not in the peer's", l.r.name, err)
		}
		if ctx.Err() != nil || apierrors.IsNotFound(err) || errors.Is(err, errOutput) || over && (err == nil || !away(err)) {
			return
		}
		if l.last.After(before) {
			wait = pause{}
		}
		// An end without an error may be the container's, whose last lines we have, or a
		// connection's. Only another look after the container's end tells.
		ending := l.over
		if over {
			ending = nil
		}
		if wait.sleepUntil(ctx, ending) != nil {
			return
		}
	}
}

var errOutput = errors.New("nobody reads the log")

// stream reads the log from the last line on that was copied.
func (l *logs) stream(ctx context.Context) error {
	o := &corev1.PodLogOptions{Container: l.r.voice, Follow: true, Timestamps: true}
	if !l.last.IsZero() {
		since := metav1.NewTime(l.last) // whole seconds on the wire; the rest is skipped below
		o.SinceTime = &since
	}
	body, err := l.r.pods.GetLogs(l.r.name, o).Stream(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	skip := l.same
	return eachLine(body, func(stamp time.Time, text string, first bool) error {
		if first {
			switch {
			case stamp.Before(l.last):
				return errSkip
			case stamp.Equal(l.last) && skip > 0:
				skip--
				return errSkip
			case stamp.Equal(l.last):
				l.same++
			default:
				l.last, l.same, skip = stamp, 1, 0
			}
		}
		if _, err := io.WriteString(l.r.o.Output, text+"\n"); err != nil {
			return errOutput
		}
		return nil
	})
}

var errSkip = errors.New("line was copied before")

// MaxLine is the longest line that is copied, in bytes; longer ones are cut into several.
// Fabric stops reading a launcher for good at 64 KiB, and what then waits in the pipe
// blocks it for ever.
const MaxLine = 16 << 10

// eachLine calls f with every line, without its time stamp, cut into pieces of MaxLine.
func eachLine(r io.Reader, f func(stamp time.Time, text string, first bool) error) error {
	in := bufio.NewReaderSize(r, MaxLine)
	for {
		piece, err := in.ReadSlice('\n')
		if len(piece) > 0 {
			stamp, text := cutStamp(string(piece))
			skip, e := false, f(stamp, strings.TrimRight(text, "\r\n"), true)
			switch {
			case errors.Is(e, errSkip):
				skip = true
			case e != nil:
				return e
			}
			for errors.Is(err, bufio.ErrBufferFull) {
				piece, err = in.ReadSlice('\n')
				rest := strings.TrimRight(string(piece), "\r\n")
				if skip || rest == "" {
					continue
				}
				if e := f(stamp, rest, false); e != nil {
					return e
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// cutStamp splits what the kubelet puts before each line, "2026-11-21T07:00:00.000000001Z text".
func cutStamp(line string) (time.Time, string) {
	stamp, text, ok := strings.Cut(line, " ")
	if !ok {
		return time.Time{}, line
	}
	t, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		return time.Time{}, line
	}
	return t, text
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
