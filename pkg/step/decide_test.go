package step

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/network"
)

func org(kind network.Kind, name string, hosts ...string) *network.Org {
	o := &network.Org{Name: name, MSPID: name + "MSP", Kind: kind}
	for _, h := range hosts {
		o.Nodes = append(o.Nodes, &network.Node{Org: o, Hostname: h})
	}
	return o
}

func TestDecideCreate(t *testing.T) {
	t.Parallel()
	own := org(network.Orderer, "Own", "orderer0", "orderer1")
	other := org(network.Orderer, "Other", "orderer2")
	silence := exit.Transient(errors.New("orderer: connection refused"))
	state := func(node *network.Node, is membership) ordererState {
		s := ordererState{node: node, own: node.Org == own, is: is}
		if is == unknown {
			s.err = silence
		}
		return s
	}
	a, b, c := own.Nodes[0], own.Nodes[1], other.Nodes[0]

	cases := map[string]struct {
		reason     string
		states     []ordererState
		join, from []*network.Node
		wait       bool
	}{
		"New": {"Nobody has the channel and everybody says so: make it.",
			[]ordererState{state(a, absent), state(b, absent), state(c, absent)}, []*network.Node{a, b}, nil, false},
		"UpToDate": {"Nothing is left to do for this organisation; the other has its own step.",
			[]ordererState{state(a, present), state(b, present), state(c, absent)}, nil, []*network.Node{a, b}, false},
		"HalfDone": {"A killed run left one behind. It takes the block in use and not a new one, whatever the files say by now.",
			[]ordererState{state(a, present), state(b, absent), state(c, absent)}, []*network.Node{b}, []*network.Node{a}, false},
		"OtherOrgFirst": {"The other organisation's step was faster.",
			[]ordererState{state(a, absent), state(b, absent), state(c, present)}, []*network.Node{a, b}, []*network.Node{c}, false},
		"SilentOther": {"Who is silent might have the channel, made from other files. A second genesis block would split it.",
			[]ordererState{state(a, absent), state(b, absent), state(c, unknown)}, nil, nil, true},
		"SilentOwn": {"The same within the organisation.",
			[]ordererState{state(a, absent), state(b, unknown), state(c, absent)}, nil, nil, true},
		"SilentButKnown": {"Once the block in use is known, who answers need not wait for who does not.",
			[]ordererState{state(a, present), state(b, absent), state(c, unknown)}, []*network.Node{b}, []*network.Node{a}, false},
		"OwnLater": {"An own orderer that is silent now must join later.",
			[]ordererState{state(a, unknown), state(b, absent), state(c, present)}, []*network.Node{b}, []*network.Node{c}, true},
		"OwnSilentRestDone": {"Everything else is done, but this step is not.",
			[]ordererState{state(a, unknown), state(b, present), state(c, present)}, nil, []*network.Node{b, c}, true},
		"SilentOtherDone": {"Another organisation's silent orderer is not this step's business.",
			[]ordererState{state(a, present), state(b, present), state(c, unknown)}, nil, []*network.Node{a, b}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := decideCreate(tc.states)
			if diff := cmp.Diff(names(tc.join), names(got.join)); diff != "" {
				t.Errorf("%s\njoin: -want, +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(names(tc.from), names(got.from)); diff != "" {
				t.Errorf("%s\nfrom: -want, +got:\n%s", tc.reason, diff)
			}
			if (got.wait != nil) != tc.wait || tc.wait && !exit.IsTransient(got.wait) {
				t.Errorf("%s\nwait = %v, want waiting %t", tc.reason, got.wait, tc.wait)
			}
		})
	}
}

func names(nodes []*network.Node) []string {
	var s []string
	for _, n := range nodes {
		s = append(s, n.Name())
	}
	return s
}

func TestDecideApprove(t *testing.T) {
	t.Parallel()
	want := chaincode.Definition{Name: "basic", Sequence: 2, Parameters: chaincode.Parameters{Version: "2.0"}}
	have := func(sequence int64, version, id string) *fabric.Approved {
		return &fabric.Approved{PackageID: id, Definition: chaincode.Definition{Name: "basic", Sequence: sequence, Parameters: chaincode.Parameters{Version: version}}}
	}
	cases := map[string]struct {
		reason string
		have   *fabric.Approved
		want   bool
	}{
		"Nothing":   {"The organisation has not spoken yet.", nil, true},
		"Same":      {"A second approval of the same would be an error to Fabric.", have(2, "2.0", "basic_2.0:aa"), false},
		"OtherText": {"It approved something else under this number, while it was not committed.", have(2, "1.0", "basic_2.0:aa"), true},
		"OtherCode": {"Nothing is committed, so nobody runs the former package.", have(2, "2.0", "basic_2.0:bb"), true},
		"NoCode":    {"It approved without running the chaincode, and now runs it.", have(2, "2.0", ""), true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := decideApprove(want, tc.have, "basic_2.0:aa"); got != tc.want {
				t.Errorf("%s\ndecideApprove = %t, want %t", tc.reason, got, tc.want)
			}
		})
	}
}

func TestDecideUnchanged(t *testing.T) {
	t.Parallel()
	approved := func(version, id string) *fabric.Approved {
		return &fabric.Approved{PackageID: id, Definition: chaincode.Definition{Sequence: 3, Parameters: chaincode.Parameters{Version: version}}}
	}
	cases := map[string]struct {
		reason    string
		have      *fabric.Approved
		packageID string
		refused   bool
	}{
		"NotApproved": {"The majority went ahead; this organisation may choose any package.", nil, "basic_1.0:bb", false},
		"Same":        {"Nothing changed.", approved("1.0", "basic_1.0:bb"), "basic_1.0:bb", false},
		"Changed":     {"Two codes under one version: which one did the auditor see?", approved("1.0", "basic_1.0:aa"), "basic_1.0:bb", true},
		"NewVersion":  {"That is how code changes.", approved("0.9", "basic_0.9:aa"), "basic_1.0:bb", false},
		"Rollback":    {"The former version is committed no more, so its package is as new.", approved("2.0", "basic_2.0:aa"), "basic_1.0:bb", false},
		"WithoutCode": {"Approved without running it; now it gets its package.", approved("1.0", ""), "basic_1.0:bb", false},
		"NoLonger":    {"The organisation stops running it.", approved("1.0", "basic_1.0:aa"), "", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := decideUnchanged("basic", "1.0", tc.have, tc.packageID)
			if (err != nil) != tc.refused {
				t.Errorf("%s\ndecideUnchanged = %v, want refused %t", tc.reason, err, tc.refused)
			}
			if err != nil && (exit.CodeOf(err) != exit.Invalid || !strings.Contains(exit.HintOf(err), "raise the version")) {
				t.Errorf("%s\ndecideUnchanged = %v with code %d and hint %q", tc.reason, err, exit.CodeOf(err), exit.HintOf(err))
			}
		})
	}
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason   string
		asked    []string
		approved map[string]bool
		missing  []string
		short    bool
	}{
		"All": {"Everybody agreed.", []string{"A", "B"}, map[string]bool{"A": true, "B": true}, nil, false},
		"OneMissing": {"Half of two is no majority, and B is going to approve.",
			[]string{"A", "B"}, map[string]bool{"A": true, "B": false}, []string{"B"}, true},
		"OutsidersIrrelevant": {"Who is not asked is not waited for, if the others are enough.",
			[]string{"A", "B"}, map[string]bool{"A": true, "B": true, "C": false}, nil, false},
		"NeverEnough": {"Only A is asked, and A alone will never be a majority of three.",
			[]string{"A"}, map[string]bool{"A": true, "B": false, "C": false}, nil, true},
		"NotMember": {"An organisation that the channel does not know cannot have approved.",
			[]string{"A", "Z"}, map[string]bool{"A": true}, []string{"Z"}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := readiness{tc.asked, tc.approved}
			_, _, short := r.short()
			if diff := cmp.Diff(tc.missing, r.missing()); diff != "" || short != tc.short {
				t.Errorf("%s\nmissing: -want, +got:\n%s\nshort = %t, want %t", tc.reason, diff, short, tc.short)
			}
		})
	}
}

func TestTodoChannel(t *testing.T) {
	t.Parallel()
	o1, o2 := org(network.Orderer, "Ord1", "a"), org(network.Orderer, "Ord2", "b")
	p1, p2 := org(network.Peer, "Org1", "peer0", "peer1"), org(network.Peer, "My_Org", "peer0")
	one := &network.Channel{Name: "common", OrdererOrgs: []*network.Org{o1}, Orgs: []*network.Org{p1, p2}}
	two := &network.Channel{Name: "common", OrdererOrgs: []*network.Org{o1, o2}, Orgs: []*network.Org{p1, p2}}
	all := []*network.Node{o1.Nodes[0], o2.Nodes[0], p1.Nodes[0], p1.Nodes[1], p2.Nodes[0]}

	cases := map[string]struct {
		reason  string
		ch      *network.Channel
		without []*network.Node
		want    []string
	}{
		"UpToDate":  {"Nothing to do costs no pod.", two, nil, nil},
		"Empty":     {"A new network; the only orderer organisation is not named.", one, all, []string{"create-common", "join-common-org1", "join-common-my-org"}},
		"EmptyTwo":  {"With several they are.", two, all, []string{"create-common-ord1", "create-common-ord2", "join-common-org1", "join-common-my-org"}},
		"NewPeer":   {"One new peer is one organisation's task.", two, all[3:4], []string{"join-common-org1"}},
		"Orderer":   {"So is one orderer.", two, all[1:2], []string{"create-common-ord2"}},
		"OnlyPeers": {"An interrupted run made the channel.", one, all[2:], []string{"join-common-org1", "join-common-my-org"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := channelView{ch: tc.ch, have: map[*network.Node]bool{}}
			for _, node := range all {
				v.have[node] = true
			}
			for _, node := range tc.without {
				v.have[node] = false
			}
			if diff := cmp.Diff(tc.want, v.todo()); diff != "" {
				t.Errorf("%s\ntodo: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestTodoChaincode(t *testing.T) {
	t.Parallel()
	p1, p2 := org(network.Peer, "Org1", "peer0", "peer1"), org(network.Peer, "Org2", "peer0")
	orgs := []*network.Org{p1, p2}
	cc := &network.Chaincode{Name: "My_CC", Version: "1.0", Orgs: orgs}
	on := &network.ChaincodeChannel{Channel: &network.Channel{Name: "common", Orgs: orgs}, Orgs: orgs}
	only1 := &network.ChaincodeChannel{Channel: &network.Channel{Name: "private", Orgs: orgs[:1]}, Orgs: orgs[:1]}
	wanted := chaincode.Parameters{Version: "1.0"}
	committed := func(version string, approvals ...string) *fabric.Committed {
		c := &fabric.Committed{Definition: chaincode.Definition{Sequence: 3, Parameters: chaincode.Parameters{Version: version}}, Approvals: map[string]bool{}}
		for _, a := range approvals {
			c.Approvals[a] = true
		}
		return c
	}
	runs := func(a, b, c string) map[*network.Node]string {
		return map[*network.Node]string{p1.Nodes[0]: a, p1.Nodes[1]: b, p2.Nodes[0]: c}
	}
	both := []string{"Org1MSP", "Org2MSP"}
	view := func(on *network.ChaincodeChannel, c *fabric.Committed, runs map[*network.Node]string) definitionView {
		return definitionView{on: on, wanted: wanted, committed: c, runs: runs}
	}
	good := view(on, committed("1.0", both...), runs("3", "3", "3"))
	everything := []string{"install-my-cc-org1", "install-my-cc-org2", "commit-my-cc", "smoke-my-cc"}

	cases := map[string]struct {
		reason string
		views  []definitionView
		want   []string
	}{
		"UpToDate": {"Nothing to do costs no pod.", []definitionView{good}, nil},
		"New":      {"Not defined: everything is to do.", []definitionView{view(on, nil, runs("", "", ""))}, everything},
		"Version":  {"Another version is defined.", []definitionView{view(on, committed("0.9", both...), runs("3", "3", "3"))}, everything},
		"NewPeer": {"A peer without the package is its organisation's task; the definition stays.",
			[]definitionView{view(on, committed("1.0", both...), runs("3", "", "3"))}, []string{"install-my-cc-org1", "smoke-my-cc"}},
		"OldPackage": {"A peer that runs an older definition has not the package of this one.",
			[]definitionView{view(on, committed("1.0", both...), runs("3", "3", "2"))}, []string{"install-my-cc-org2", "smoke-my-cc"}},
		"NotApproved": {"Committed by a majority without Org2: its peers cannot run it until it approves.",
			[]definitionView{view(on, committed("1.0", "Org1MSP"), runs("3", "3", "3"))}, []string{"install-my-cc-org2", "smoke-my-cc"}},
		"OneOfTwoChannels": {"One channel is done, the other new; Org2 is not on that one.",
			[]definitionView{good, view(only1, nil, runs("", "", ""))}, everything},
		"ForeignChannel": {"Org2 has nothing to do where it is not a member.",
			[]definitionView{good, view(only1, committed("1.0", "Org1MSP"), runs("3", "3", ""))}, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, todoChaincode(cc, tc.views)); diff != "" {
				t.Errorf("%s\ntodo: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestLooksAgain(t *testing.T) {
	t.Parallel()
	p1 := org(network.Peer, "Org1", "peer0")
	cc := &network.Chaincode{Name: "basic", Version: "1.0", Orgs: []*network.Org{p1}}
	on := &network.ChaincodeChannel{Channel: &network.Channel{Name: "common", Orgs: cc.Orgs}, Orgs: cc.Orgs}
	committed := &fabric.Committed{Definition: chaincode.Definition{Sequence: 1, Parameters: chaincode.Parameters{Version: "1.0"}},
		Approvals: map[string]bool{"Org1MSP": true}}
	unapproved := &fabric.Committed{Definition: committed.Definition, Approvals: map[string]bool{}}
	cases := map[string]struct {
		reason    string
		committed *fabric.Committed
		runs      string
		silent    bool
		want      bool
	}{
		"JustCommitted": {"The peer will say so within 4 seconds, or it lacks the package.", committed, "", false, true},
		"UpToDate":      {"There is nothing to wait for.", committed, "1", false, false},
		"NotCommitted":  {"Work is to do anyway.", nil, "", false, false},
		"NotApproved":   {"Work is to do anyway.", unapproved, "", false, false},
		"Silent":        {"A node that does not answer must not hold up the probe.", committed, "", true, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := definitionView{on: on, wanted: chaincode.Parameters{Version: "1.0"}, committed: tc.committed, silent: tc.silent,
				runs: map[*network.Node]string{p1.Nodes[0]: tc.runs}}
			if got := v.fresh(cc); got != tc.want {
				t.Errorf("%s\nfresh = %t, want %t", tc.reason, got, tc.want)
			}
		})
	}
}

func TestQuorum(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		consensus network.Consensus
		n, want   int
	}{{network.Raft, 1, 1}, {network.Raft, 3, 2}, {network.Raft, 4, 3}, {network.BFT, 4, 3}, {network.BFT, 5, 4}, {network.BFT, 7, 5}} {
		hosts := strings.Split(strings.Repeat("o ", tc.n), " ")[:tc.n]
		ch := &network.Channel{Consensus: tc.consensus, OrdererOrgs: []*network.Org{org(network.Orderer, "O", hosts...)}}
		if got := quorum(ch); got != tc.want {
			t.Errorf("quorum of %d %s orderers = %d, want %d", tc.n, tc.consensus, got, tc.want)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	passing, broken := exit.Transient(errors.New("peer1: connection refused")), errors.New("peer2: access denied")
	cases := map[string]struct {
		reason string
		errs   []error
		code   exit.Code
		text   string
	}{
		"None":      {"No failure is none.", []error{nil, nil}, exit.OK, ""},
		"Transient": {"Only time is missing.", []error{nil, passing}, exit.TryAgain, "peer1: connection refused"},
		"Mixed": {"What will never do decides, wherever it stands: trying again would waste the workflow's tries.",
			[]error{passing, broken}, exit.Failed, "peer2: access denied; peer1: connection refused"},
		"Many": {"Fifty peers would fill the screen.", []error{broken, broken, broken, broken, broken}, exit.Failed,
			"peer2: access denied; peer2: access denied; peer2: access denied; and 2 more"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := together(tc.errs)
			if exit.CodeOf(err) != tc.code {
				t.Errorf("%s\ncode = %d, want %d", tc.reason, exit.CodeOf(err), tc.code)
			}
			if err != nil && err.Error() != tc.text {
				t.Errorf("%s\ntext = %q, want %q", tc.reason, err, tc.text)
			}
		})
	}
}
