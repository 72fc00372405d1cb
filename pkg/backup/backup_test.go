package backup_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

const files = `
OrdererOrgs:
  - {Name: Orderer, Domain: example.com, Specs: [{Hostname: o0}, {Hostname: o1}, {Hostname: o2}, {Hostname: o3}]}
PeerOrgs:
  - {Name: Org1, Domain: org1.example.com, Template: {Count: 2}}
  - {Name: Org2, Domain: org2.example.com, Template: {Count: 1}}
network:
  channels:
    - {name: common, orgs: [Org1, Org2]}
    - {name: final, orgs: [Org1], consensus: BFT}
`

func load(t *testing.T) *network.Network {
	t.Helper()
	n, _, err := network.Load([]network.Source{{Name: "network.yaml", Data: []byte(files)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// saved is a copy of a node; heights as "common:12".
func saved(name string, heights ...string) backup.Node {
	n := backup.Node{Name: name, Kind: strings.Split(strings.TrimPrefix(name, "hlf-"), "--")[0]}
	for _, h := range heights {
		var c backup.Channel
		channel, height, _ := strings.Cut(h, ":")
		c.Name = channel
		fmt.Sscan(height, &c.Height)
		n.Channels = append(n.Channels, c)
	}
	return n
}

func manifest(nodes ...backup.Node) backup.Manifest {
	return backup.Manifest{Key: "k", Parts: backup.AllParts(), Nodes: nodes}
}

func whole() backup.Manifest {
	return manifest(
		saved("hlf-peer--org1--peer0", "common:10", "final:5"), saved("hlf-peer--org1--peer1", "common:14", "final:6"),
		saved("hlf-peer--org2--peer0", "common:12"),
		saved("hlf-orderer--orderer--o0", "common:13", "final:6"), saved("hlf-orderer--orderer--o1", "common:15", "final:7"),
		saved("hlf-orderer--orderer--o2", "common:17", "final:8"), saved("hlf-orderer--orderer--o3", "common:17", "final:8"))
}

func TestReplacements(t *testing.T) {
	t.Parallel()
	m := whole()
	m.Consensus = map[string]network.Consensus{"common": network.Raft, "final": network.BFT}
	describe := func(node string) []string {
		var all []string
		for _, r := range backup.Replacements(m, node) {
			all = append(all, fmt.Sprintf("%s from %s log %t", r.Channel, r.From.Name, r.Log))
		}
		return all
	}
	cases := map[string]struct {
		reason string
		node   string
		want   []string
	}{
		"BehindAPeer": {"Its common has 13 blocks and a peer has 14: nobody may start from it.", "hlf-orderer--orderer--o0",
			[]string{"common from hlf-orderer--orderer--o1 log true"}},
		"Leader": {"The earliest that has all the peers have; final goes on from the first one, and BFT's log is signed.", "hlf-orderer--orderer--o1",
			[]string{"final from hlf-orderer--orderer--o0 log false"}},
		"Later": {"It is ahead, and would fork the channel all the same.", "hlf-orderer--orderer--o2",
			[]string{"common from hlf-orderer--orderer--o1 log true", "final from hlf-orderer--orderer--o0 log false"}},
		"Peer": {"Peers verify what they are sent; each keeps its own.", "hlf-peer--org1--peer0", nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, describe(tc.node)); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
	if diff := cmp.Diff(map[string]uint64{"common": 15, "final": 6}, m.Resumes()); diff != "" {
		t.Errorf("Resumes: -want, +got:\n%s", diff)
	}
}

func TestManifestCheck(t *testing.T) {
	t.Parallel()
	n := load(t)
	if err := whole().Check(n); err != nil {
		t.Errorf("a whole backup: %v", err)
	}
	cases := map[string]struct {
		change func(*backup.Manifest)
		want   string
	}{
		"NodeMissing":     {func(m *backup.Manifest) { m.Nodes = m.Nodes[1:] }, "hlf-peer--org1--peer0 is not saved"},
		"OrderersBehind":  {func(m *backup.Manifest) { m.Nodes[1].Channels[0].Height = 18 }, `channel "common": a peer was saved with 18 blocks and no orderer with more than 17`},
		"OrderersNotPart": {func(m *backup.Manifest) { m.Nodes, m.Parts.Orderers = m.Nodes[:3], false }, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := whole()
			tc.change(&m)
			switch err := m.Check(n); {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestAdmit(t *testing.T) {
	t.Parallel()
	n := load(t)
	now := time.Unix(1000, 0)
	identity := backup.Identity{Orgs: []backup.OrgIdentity{{MSPID: "OrdererMSP", Kind: "orderer", CAs: []string{"a"}}, {MSPID: "Org1MSP", Kind: "peer", CAs: []string{"b", "c"}}}}
	cases := map[string]struct {
		reason    string
		change    func(*backup.Manifest, *backup.Present)
		selection backup.Selection
		accept    backup.Accept
		verified  *time.Time
		want      []string
	}{
		"Empty": {"New nodes have nothing to lose.", nil, backup.Selection{}, nil, &now, nil},
		"All": {"Whoever is refused should be told everything at once.", func(m *backup.Manifest, p *backup.Present) {
			m.Nodes = m.Nodes[:3]
			m.Identity.Orgs[1].CAs = []string{"x"}
			p.Heights["hlf-peer--org1--peer0"] = map[string]uint64{"common": 11}
		}, backup.Selection{}, nil, nil,
			[]string{"not been verified", "peer org Org1 has other CAs", "no copy of hlf-orderer--orderer--o0", "hlf-peer--org1--peer0 runs with newer data: channel common has 11 blocks, the backup 10", "--accept unverified,other-network,missing-parts,newer-data"}},
		"Accepted": {"Told exactly what to accept, it does.", func(_ *backup.Manifest, p *backup.Present) {
			p.Heights["hlf-peer--org1--peer0"] = map[string]uint64{"common": 11}
		}, backup.Selection{}, backup.Accept{backup.NewerData, backup.Unverified}, nil, nil},
		"OneOfTwoCAs": {"A CA that was renewed beside the old one is no other network.", func(m *backup.Manifest, _ *backup.Present) { m.Identity.Orgs[1].CAs = []string{"c", "d"} }, backup.Selection{}, nil, &now, nil},
		"OrgUnknown":  {"An organisation of the backup that the target lacks.", func(_ *backup.Manifest, p *backup.Present) { p.Identity.Orgs = p.Identity.Orgs[:1] }, backup.Selection{}, nil, &now, []string{"peer org Org1 is not part of it"}},
		"OtherNodeRuns": {"A peer that serves with newer data is no reason against restoring its neighbour.", func(_ *backup.Manifest, p *backup.Present) {
			p.Heights["hlf-peer--org1--peer0"] = map[string]uint64{"common": 99}
		}, backup.Selection{Nodes: []string{"hlf-peer--org1--peer1"}}, nil, &now, nil},
		"PeersLeftAhead": {"Orderers put back while peers keep later blocks would order other blocks of the same numbers.", func(_ *backup.Manifest, p *backup.Present) {
			p.Heights["hlf-peer--org1--peer0"] = map[string]uint64{"common": 99}
		}, backup.Selection{Orgs: []string{"Orderer"}}, nil, &now, []string{"hlf-peer--org1--peer0 would stay ahead of all orderers: channel common has 99 blocks there, 15 with them"}},
		"PeersLeftAheadOfOneCopy": {"All orderers go on from one copy, so that another one has the peers' blocks is of no use.", func(_ *backup.Manifest, p *backup.Present) {
			p.Heights["hlf-peer--org1--peer0"] = map[string]uint64{"common": 16, "final": 6}
		}, backup.Selection{Orgs: []string{"Orderer"}}, nil, &now, []string{"hlf-peer--org1--peer0 would stay ahead of all orderers: channel common has 16 blocks there, 15 with them"}},
		"PeersLeftLevel": {"What the orderers go on from is what these peers have.", func(_ *backup.Manifest, p *backup.Present) {
			p.Heights["hlf-peer--org1--peer0"] = map[string]uint64{"common": 15, "final": 6}
		}, backup.Selection{Orgs: []string{"Orderer"}}, nil, &now, nil},
		"OrderersThatStay": {"An orderer that is left has the blocks, and the restored ones learn from it.", func(_ *backup.Manifest, p *backup.Present) {
			p.Heights["hlf-peer--org1--peer0"] = map[string]uint64{"common": 99}
			p.Heights["hlf-orderer--orderer--o3"] = map[string]uint64{"common": 99}
		}, backup.Selection{Nodes: []string{"hlf-orderer--orderer--o0", "hlf-orderer--orderer--o1", "hlf-orderer--orderer--o2"}}, nil, &now, nil},
		"PeerWithoutACopyAhead": {"A peer that is asked for and was not saved keeps its blocks, and diverges like one that was left out.", func(m *backup.Manifest, p *backup.Present) {
			m.Nodes = m.Nodes[1:]
			p.Heights["hlf-peer--org1--peer0"] = map[string]uint64{"common": 99}
		}, backup.Selection{}, backup.Accept{backup.MissingParts}, &now, []string{"hlf-peer--org1--peer0 would stay ahead of all orderers: channel common has 99 blocks there, 15 with them"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := whole()
			m.Identity = copied(t, identity)
			present := backup.Present{Identity: copied(t, identity), Heights: map[string]map[string]uint64{}}
			if tc.change != nil {
				tc.change(&m, &present)
			}
			nodes, err := tc.selection.Of(n)
			if err != nil {
				t.Fatal(err)
			}
			err = backup.Admit(m, tc.verified, nodes, present, tc.accept)
			if len(tc.want) == 0 {
				if err != nil {
					t.Errorf("%s\n%v", tc.reason, err)
				}
				return
			}
			if exit.CodeOf(err) != exit.NotReady {
				t.Fatalf("%s\ngot %v", tc.reason, err)
			}
			text := err.Error() + " " + exit.HintOf(err)
			for _, want := range tc.want {
				if !strings.Contains(text, want) {
					t.Errorf("%s\n%s\nlacks %q", tc.reason, text, want)
				}
			}
		})
	}
}

func copied(t *testing.T, id backup.Identity) backup.Identity {
	t.Helper()
	data, err := json.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	var c backup.Identity
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSelection(t *testing.T) {
	t.Parallel()
	n := load(t)
	if all, err := (backup.Selection{}).Of(n); err != nil || len(all) != 7 {
		t.Errorf("nothing selected: %d nodes, %v; want all", len(all), err)
	}
	some, err := backup.Selection{Orgs: []string{"Org2"}, Nodes: []string{"hlf-peer--org1--peer1"}}.Of(n)
	if err != nil || len(some) != 2 {
		t.Errorf("an org and a node: %d nodes, %v", len(some), err)
	}
	for _, s := range []backup.Selection{{Orgs: []string{"Org3"}}, {Nodes: []string{"peer0"}}} {
		if _, err := s.Of(n); exit.CodeOf(err) != exit.Invalid || !strings.Contains(err.Error(), "known") {
			t.Errorf("%v: got %v", s, err)
		}
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	at := func(s string) time.Time {
		when, err := time.Parse(time.RFC3339, s+":00Z")
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	list := func(keys ...string) []backup.Summary {
		var all []backup.Summary
		for _, key := range keys {
			s := backup.Summary{Key: key, Complete: true}
			if name, ok := strings.CutSuffix(key, "?"); ok {
				s.Complete, key = false, name
			}
			if name, ok := strings.CutSuffix(key, "+"); ok {
				when := at(name)
				s.Verified, key = &when, name
			}
			s.Finished = at(key)
			all = append(all, s)
		}
		return all
	}
	cases := map[string]struct {
		reason string
		keep   backup.Keep
		list   []string
		drop   []string
	}{
		"Nothing":  {"No numbers, no removals.", backup.Keep{}, []string{"2026-01-02T03:00", "2025-01-01T03:00"}, nil},
		"Last":     {"The newest two.", backup.Keep{Last: 2}, []string{"2026-01-03T03:00", "2026-01-02T03:00", "2026-01-01T03:00"}, []string{"2026-01-01T03:00"}},
		"Daily":    {"Of each day its newest; days without a backup do not count.", backup.Keep{Daily: 2}, []string{"2026-01-09T15:00", "2026-01-09T03:00", "2026-01-02T03:00", "2026-01-01T03:00"}, []string{"2026-01-09T03:00", "2026-01-01T03:00"}},
		"Weekly":   {"Weeks begin on Monday: the 4th of January 2026 is a Sunday.", backup.Keep{Weekly: 2}, []string{"2026-01-05T03:00", "2026-01-04T03:00", "2026-01-03T03:00"}, []string{"2026-01-03T03:00"}},
		"Monthly":  {"", backup.Keep{Monthly: 2}, []string{"2026-02-01T03:00", "2026-01-31T03:00", "2026-01-01T03:00"}, []string{"2026-01-01T03:00"}},
		"Together": {"A backup stays if any rule wants it.", backup.Keep{Last: 1, Monthly: 2}, []string{"2026-02-02T03:00", "2026-02-01T03:00", "2026-01-01T03:00"}, []string{"2026-02-01T03:00"}},
		"Verified": {"The only one that is known to be good outlives every rule.", backup.Keep{Last: 1}, []string{"2026-01-03T03:00", "2026-01-02T03:00+", "2026-01-01T03:00+"}, []string{"2026-01-01T03:00+"}},
		"Attempts": {"The newest attempt may be under way; an older one is debris.", backup.Keep{Last: 5}, []string{"2026-01-03T03:00?", "2026-01-02T03:00", "2026-01-01T03:00?"}, []string{"2026-01-01T03:00?"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keep, drop := tc.keep.Split(list(tc.list...))
			var got []string
			for _, s := range drop {
				got = append(got, s.Key)
			}
			if !slices.Equal(got, tc.drop) || len(keep)+len(drop) != len(tc.list) {
				t.Errorf("%s\ndropped %v of %v, want %v", tc.reason, got, tc.list, tc.drop)
			}
		})
	}
}

func TestCheckKey(t *testing.T) {
	t.Parallel()
	for key, good := range map[string]bool{"20261121-131500": true, "a": true, "before-upgrade": true, "": false, "A": false, "-a": false, "a-": false, "a.b": false,
		strings.Repeat("a", 40): true, strings.Repeat("a", 41): false} {
		if err := backup.CheckKey(key); (err == nil) != good {
			t.Errorf("CheckKey(%q) = %v", key, err)
		}
	}
	if key := backup.NewKey(time.Date(2026, 11, 21, 14, 15, 0, 0, time.FixedZone("", 3600))); key != "20261121-131500" || backup.CheckKey(key) != nil {
		t.Errorf("NewKey = %q", key)
	}
}

func TestStatusMerge(t *testing.T) {
	t.Parallel()
	event := func(key string, at int64) *backup.Event { return &backup.Event{Key: key, Time: time.Unix(at, 0)} }
	cases := map[string]struct {
		reason            string
		known, news, want backup.Status
	}{
		"Newest": {"Verifying an old backup again must not hide a newer one.",
			backup.Status{Last: event("b", 2), LastVerified: event("b", 2)}, backup.Status{Last: event("c", 3), LastVerified: event("a", 1)},
			backup.Status{Last: event("c", 3), LastVerified: event("b", 2)}},
		"Void": {"A backup that is gone or damaged is nothing to rely on; the newest that is left is, though it is older.",
			backup.Status{Last: event("b", 2), LastVerified: event("b", 2)}, backup.Status{Void: []string{"c", "b"}, LastVerified: event("a", 1), LastFailure: event("b", 4)},
			backup.Status{LastVerified: event("a", 1), LastFailure: event("b", 4)}},
		"NoneLeft": {"Without another one there is none.",
			backup.Status{LastVerified: event("b", 2), LastFailure: event("b", 1)}, backup.Status{Void: []string{"b"}}, backup.Status{LastFailure: event("b", 1)}},
		"OthersStay": {"What became of one backup says nothing of another.",
			backup.Status{Last: event("c", 3), LastVerified: event("b", 2)}, backup.Status{Void: []string{"a"}}, backup.Status{Last: event("c", 3), LastVerified: event("b", 2)}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, tc.known.Merge(tc.news)); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
	if data, err := json.Marshal(backup.Status{Void: []string{"a"}}); err != nil || string(data) != "{}" {
		t.Errorf("news are not remembered themselves: %s, %v", data, err)
	}
}

func TestNewestVerified(t *testing.T) {
	t.Parallel()
	one := func(key string, finished int64, verified bool) backup.Summary {
		s := backup.Summary{Key: key, Finished: time.Unix(finished, 0), Complete: true}
		if verified {
			s.Verified = &s.Finished
		}
		return s
	}
	list := []backup.Summary{one("d", 4, true), one("c", 3, false), one("b", 2, true), one("a", 1, true)}
	for by, want := range map[int64]string{0: "", 1: "a", 3: "b", 9: "d"} {
		if got, ok := backup.NewestVerified(list, time.Unix(by, 0)); got.Key != want || ok != (want != "") {
			t.Errorf("the newest verified backup by %d: %q, want %q", by, got.Key, want)
		}
	}
	known := func(verified, last string) backup.Status {
		return backup.Status{LastVerified: &backup.Event{Key: verified}, Last: &backup.Event{Key: last}}
	}
	for _, tc := range []struct {
		status backup.Status
		want   []string
	}{{backup.Status{}, nil}, {known("d", "c"), nil}, {known("c", "c"), []string{"c"}}, {known("y", "z"), []string{"y", "z"}}, {known("b", "z"), []string{"z"}}} {
		if got := tc.status.Outdated(list); !slices.Equal(got, tc.want) {
			t.Errorf("outdated of %+v: %v, want %v", tc.status, got, tc.want)
		}
	}
	want := backup.Status{Void: []string{"d", "c"}, LastVerified: &backup.Event{Key: "b", Time: time.Unix(2, 0)}}
	if diff := cmp.Diff(want, backup.Voided(list, "d", "c")); diff != "" {
		t.Errorf("without d and c: -want, +got:\n%s", diff)
	}
}
