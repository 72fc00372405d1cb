package exit_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"pivt.io/pivt/pkg/exit"
)

func TestCodeOf(t *testing.T) {
	t.Parallel()
	leaf := errors.New("peer0: connection refused")
	cases := map[string]struct {
		reason string
		err    error
		want   exit.Code
	}{
		"Nil":         {"No error is success.", nil, exit.OK},
		"Plain":       {"An error nobody classified is a failure.", leaf, exit.Failed},
		"Attached":    {"An attached code is found through wrapping.", fmt.Errorf("joining: %w", exit.Transient(leaf)), exit.TryAgain},
		"InnerWins":   {"Whoever is nearer to the cause knows it better.", exit.With(fmt.Errorf("x: %w", exit.With(leaf, exit.Invalid)), exit.Failed), exit.Invalid},
		"Interrupted": {"Ctrl-C cancels the context.", fmt.Errorf("waiting: %w", context.Canceled), exit.Interrupted},
		"Deadline":    {"A deadline is a time-out unless someone knew better.", fmt.Errorf("waiting: %w", context.DeadlineExceeded), exit.TimedOut},
		"Joined":      {"A code is found in a joined error too.", errors.Join(leaf, exit.With(leaf, exit.Partly)), exit.Partly},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := exit.CodeOf(tc.err); got != tc.want {
				t.Errorf("%s\nCodeOf(%v) = %d, want %d", tc.reason, tc.err, got, tc.want)
			}
		})
	}
}

func TestHintOf(t *testing.T) {
	t.Parallel()
	err := exit.WithHint(fmt.Errorf("a: %w", exit.WithHint(errors.New("b"), "inner")), "outer")
	if got := exit.HintOf(err); got != "inner" {
		t.Errorf("HintOf = %q, want the innermost hint", got)
	}
	if got := exit.HintOf(errors.New("b")); got != "" {
		t.Errorf("HintOf of a plain error = %q, want none", got)
	}
	if exit.With(nil, exit.Failed) != nil || exit.WithHint(nil, "x") != nil {
		t.Error("attaching to nil must stay nil, or success becomes failure")
	}
}

func TestDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/exit-codes.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range exit.Codes() {
		line := fmt.Sprintf("| %d | %s |", c.Code, c.Meaning)
		if !strings.Contains(string(doc), line) {
			t.Errorf("docs/exit-codes.md lacks the line\n%s", line)
		}
	}
}
