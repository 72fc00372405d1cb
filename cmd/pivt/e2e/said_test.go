//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// said is a test that says once more at its end what went wrong. A network's own logs come between,
// and who sees only the last lines of a run would look for the reason in vain.
type said struct {
	testing.TB
	mu       *sync.Mutex
	failures *[]string
}

func repeating(t testing.TB) *said { return &said{t, new(sync.Mutex), new([]string)} }

// in is the same for a subtest, whose failures the test repeats too.
func (s *said) in(t testing.TB) *said { return &said{t, s.mu, s.failures} }

func (s *said) note(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text = strings.TrimSpace(text)
	if n := len(text); n > 2000 {
		text = text[:500] + " … " + text[n-1500:]
	}
	*s.failures = append(*s.failures, s.Name()+": "+text)
}

func (s *said) Error(args ...any) {
	s.Helper()
	s.note(fmt.Sprintln(args...))
	s.TB.Error(args...)
}

func (s *said) Errorf(format string, args ...any) {
	s.Helper()
	s.note(fmt.Sprintf(format, args...))
	s.TB.Errorf(format, args...)
}

func (s *said) Fatal(args ...any) {
	s.Helper()
	s.note(fmt.Sprintln(args...))
	s.TB.Fatal(args...)
}

func (s *said) Fatalf(format string, args ...any) {
	s.Helper()
	s.note(fmt.Sprintf(format, args...))
	s.TB.Fatalf(format, args...)
}

// repeat logs what went wrong so far.
func (s *said) repeat() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range *s.failures {
		s.Logf("went wrong: %s", text)
	}
}
