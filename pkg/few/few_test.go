package few_test

import (
	"errors"
	"testing"
	"time"

	"pivt.io/pivt/pkg/few"
)

func TestLists(t *testing.T) {
	abc := []string{"a", "b", "c"}
	for want, got := range map[string]string{
		"":                 few.Names([]string{}, 3),
		"a, b, c":          few.Names(abc, 3),
		"a, b and 1 more":  few.Names(abc, 2),
		"a; b; c":          few.Sentences(abc, 4),
		"a; and 2 more":    few.Sentences(abc, 1),
		"a\nb\nc":          few.Lines(abc, 3),
		"a\nb\nand 1 more": few.Lines(abc, 2),
		"first; second":    few.Sentences([]error{errors.New("first"), errors.New("second")}, 2),
		"1s and 1 more":    few.Names([]time.Duration{time.Second, time.Minute}, 1),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
