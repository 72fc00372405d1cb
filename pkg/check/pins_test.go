package check_test

import (
	"errors"
	"testing"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/check"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// TestPins asks networks in all states for the code of a version.
func TestPins(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		arrange func(*world)
		pins    int
		unasked bool // the version may be committed
	}{
		"Committed":    {"Both organisations approved a package.", (*world).complete, 2, false},
		"OtherVersion": {"What is committed is another version.", func(w *world) { w.complete(); w.n.Chaincodes[0].Version = "2.0" }, 0, false},
		"NotCommitted": {"A chaincode that is only joined for has no pin.", func(w *world) { w.create(); w.join("Org1"); w.join("Org2") }, 0, false},
		"NotJoined":    {"Peers without the channel have no pin of it either.", (*world).create, 0, false},
		"NotInstalled": {"An empty namespace holds nothing.", func(w *world) { w.access.Kube = w.cluster.Client("elsewhere") }, 0, false},
		"OneOrgAway":   {"What one organisation cannot tell, nobody knows.", func(w *world) { w.complete(); w.nodes.Stop(w.n.Org("Org2").Nodes[0]) }, 1, true},
		"Keyless":      {"Without keys nobody is asked.", func(w *world) { w.complete(); w.access.Material = nil }, 0, true},
		"Denied":       {"Without the right to see nodes nobody is asked.", func(w *world) { w.complete(); w.cluster.Refuse("list", "statefulsets", "") }, 0, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tc.arrange(w)
			cc := w.n.Chaincodes[0]
			found := check.Pins(t.Context(), w.access, w.n.Chaincodes)
			if len(found.Pins) != tc.pins || (len(found.Unasked) > 0) != tc.unasked {
				t.Errorf("%s\n%d pins, %d unasked; want %d and %v", tc.reason, len(found.Pins), len(found.Unasked), tc.pins, tc.unasked)
			}
			if has := found.Has(cc); has != (tc.pins > 0 || tc.unasked) {
				t.Errorf("%s\nthe version may be in use: %v", tc.reason, has)
			}
			for _, p := range found.Pins {
				if chaincode.Label(p.PackageID) != cc.Label() || p.Sequence != 1 || p.Channel != "common" {
					t.Errorf("%s\n%+v", tc.reason, p)
				}
			}
		})
	}
}

// TestRefuse compares pins with what files make.
func TestRefuse(t *testing.T) {
	t.Parallel()
	cc := &network.Chaincode{Name: "basic", Version: "1.0"}
	broken := errors.New("no such directory")
	cases := map[string]struct {
		reason       string
		pinned, made string
		err          error
		code         exit.Code
	}{
		"Same":       {"The same code may be installed again and again.", "basic_1.0:aa", "basic_1.0:aa", nil, exit.OK},
		"Other":      {"Other code under the same version would never run, or break endorsement.", "basic_1.0:aa", "basic_1.0:bb", nil, exit.Invalid},
		"NoPackage":  {"Who approved without running may get a package later.", "", "basic_1.0:bb", nil, exit.OK},
		"Unknown":    {"What cannot be told here, the flow's steps will see.", "basic_1.0:aa", "", nil, exit.OK},
		"Unmakeable": {"A package that cannot be made would stop the flow, too.", "basic_1.0:aa", "", broken, exit.Failed},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &check.Pinned{Pins: []check.Pin{{Chaincode: cc, Channel: "common", Org: &network.Org{Name: "Org1"}, Sequence: 1, PackageID: tc.pinned}}}
			err := p.Refuse(func(*network.Chaincode, *network.Org) (string, error) { return tc.made, tc.err })
			if exit.CodeOf(err) != tc.code || tc.code == exit.Invalid && exit.HintOf(err) == "" {
				t.Errorf("%s\n%v (exit %d, hint %q), want exit %d", tc.reason, err, exit.CodeOf(err), exit.HintOf(err), tc.code)
			}
		})
	}
}
