package cli

import (
	"strings"
	"testing"
	"time"

	"pivt.io/pivt/pkg/exit"
)

// TestCall calls a chaincode whose organisation has two peers.
func TestCall(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		invoke bool
		org    string
		stop   []int // Org1's peers that do not answer
		code   exit.Code
		errs   string
	}{
		"First":         {"The first peer answers.", false, "Org1", nil, exit.OK, ""},
		"Next":          {"A peer that is away leaves the others.", false, "Org1", []int{0}, exit.OK, ""},
		"InvokeNext":    {"So it does for a transaction, which is sent once.", true, "Org1", []int{0}, exit.OK, ""},
		"Other":         {"A peer that is not asked may be away.", true, "Org1", []int{1}, exit.OK, ""},
		"NoneOfAll":     {"When all are away, what each said is told.", false, "Org1", []int{0, 1}, exit.Failed, `querying basic on channel "common": hlf-peer--org1--peer0:7051: `},
		"OnlyPeer":      {"An organisation with one peer has no other.", false, "Org2", []int{0, 1}, exit.OK, ""},
		"UnknownToOrg1": {"An org that has no peer there is told before anything is asked.", false, "Orderer", nil, exit.Invalid, `org "Orderer" has no peer on channel "common"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newLive(t)
			for _, i := range tc.stop {
				w.nodes.Stop(w.n.Org("Org1").Nodes[i])
			}
			s, stdout, _ := w.state()
			o := callOptions{invoke: tc.invoke, org: tc.org, timeout: 20 * time.Second}
			err := o.run(t.Context(), s, new(globals), w.access, "basic", "Echo", []string{"a", "b"})
			if exit.CodeOf(err) != tc.code && !(tc.code == exit.Failed && exit.IsTransient(err)) {
				t.Fatalf("%s\nexit %d, %v; want %d", tc.reason, exit.CodeOf(err), err, tc.code)
			}
			if tc.code == exit.OK && stdout.Len() == 0 {
				t.Errorf("%s\nno answer was printed", tc.reason)
			}
			if err != nil && !strings.HasPrefix(err.Error(), tc.errs) {
				t.Errorf("%s\n%v; want %q", tc.reason, err, tc.errs)
			}
		})
	}
}
