package network

import "testing"

func TestClosest(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason, name, want string
		known              []string
	}{
		"OneLetter":     {"The usual slip.", "Kargo", "Karga", []string{"Atlantis", "Karga"}},
		"Swap":          {"Two letters in the wrong order are one slip.", "nmae", "name", []string{"name", "orgs"}},
		"Case":          {"Another case is the same word.", "NODEOUS", "NodeOUs", []string{"NodeOUt", "NodeOUs"}},
		"Nearest":       {"The nearest wins, not the first.", "Org22", "Org2", []string{"Org1", "Org2"}},
		"TooFar":        {"A wild guess helps nobody.", "Zeus", "", []string{"Karga", "Atlantis"}},
		"ShortIsStrict": {"Among short names almost everything is near.", "ab", "", []string{"cd"}},
		"Nothing":       {"There may be nothing to suggest.", "x", "", nil},
		"Huge":          {"A megabyte of name is not compared.", string(make([]byte, 1<<20)), "", []string{string(make([]byte, 1<<20-1)) + "x"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := closest(tc.name, tc.known); got != tc.want {
				t.Errorf("%s\nclosest(%.20q, %.40q) = %.20q, want %q", tc.reason, tc.name, tc.known, got, tc.want)
			}
		})
	}
}
