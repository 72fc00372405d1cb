package launcher

import (
	"bytes"
	"io"
	"slices"
	"sync"
	"time"
)

const (
	// maxLine stays below the 64 KiB after which the peer stops reading for good.
	maxLine = 32 << 10
	// maxReports wait for a peer that reads slowly; more are dropped.
	maxReports = 100
	// lastReports is how long the end of the program waits for them to be read.
	lastReports = 300 * time.Millisecond
)

// speaker writes whole lines to standard error, for the chaincode and for the launcher.
// The first may wait for the peer to read them, the launcher itself must not: a peer that
// has stopped reading still expects it to end when told so.
type speaker struct {
	mu      sync.Mutex
	w       io.Writer
	broken  func() // called once writing fails: the peer is gone
	reports chan string
	ending  chan struct{} // closed by close
	done    chan struct{} // closed when all reports are written
}

func newSpeaker(w io.Writer, broken func()) *speaker {
	s := &speaker{w: w, broken: broken, reports: make(chan string, maxReports), ending: make(chan struct{}), done: make(chan struct{})}
	go s.speak()
	return s
}

func (s *speaker) speak() {
	defer close(s.done)
	for {
		select {
		case text := <-s.reports:
			s.write("", []byte(text))
		case <-s.ending:
			for {
				select {
				case text := <-s.reports:
					s.write("", []byte(text))
				default:
					return
				}
			}
		}
	}
}

// report writes text, soon. Reports after close are lost: a goroutine that is about to end
// may still have one.
func (s *speaker) report(text string) {
	select {
	case s.reports <- text:
	default:
	}
}

// close waits for the reports to be written, but not long.
func (s *speaker) close() {
	close(s.ending)
	t := time.NewTimer(lastReports)
	defer t.Stop()
	select {
	case <-s.done:
	case <-t.C:
	}
}

// write writes every line of text after a prefix, cut where it is too long.
func (s *speaker) write(prefix string, text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range bytes.Lines(text) {
		line = bytes.TrimRight(line, "\r\n")
		for first := true; first || len(line) > 0; first = false {
			piece := line[:min(len(line), maxLine)]
			line = line[len(piece):]
			if _, err := s.w.Write(slices.Concat([]byte(prefix), piece, []byte("\n"))); err != nil {
				s.broken()
				return
			}
		}
	}
}

// prefixed is the speaker as a writer of the chaincode's lines.
type prefixed struct {
	*speaker
	prefix string
}

func (p prefixed) Write(b []byte) (int, error) {
	p.write(p.prefix, b)
	return len(b), nil
}
