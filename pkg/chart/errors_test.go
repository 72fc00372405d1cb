package chart

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// list looks like the error of Helm's library for several at once; a test of package deploy
// meets the real one.
type list []error

func (l list) Error() string          { return fmt.Sprintf("%d errors occurred:\n", len(l)) }
func (l list) WrappedErrors() []error { return l }

func TestObjectErrors(t *testing.T) {
	t.Parallel()
	denied := errors.New("networkpolicies is forbidden")
	cases := map[string]struct {
		reason string
		errs   []error
		want   string
	}{
		"Repeated": {"Ten objects of a kind lack the same right.", []error{denied, denied, denied}, "networkpolicies is forbidden"},
		"Few":      {"Different reasons are all told.", []error{denied, errors.New("quota exceeded\n")}, "networkpolicies is forbidden; quota exceeded"},
		"Many": {"A line has an end.", []error{errors.New("a"), errors.New("b"), errors.New("c"), errors.New("d"), errors.New("e")},
			"a; b; c; and 2 more"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := explain(fmt.Errorf("release failed: %w", list(tc.errs)))
			if err.Error() != tc.want || strings.Contains(err.Error(), "\n") || !errors.Is(err, tc.errs[0]) {
				t.Errorf("%s\nexplain = %q, want %q, wrapping the first", tc.reason, err, tc.want)
			}
		})
	}
}
