package step_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/fabric/fabrictest"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/step"
)

// world is a network in memory and the pods that work on it.
type world struct {
	pod
	nodes *fabrictest.Nodes
}

func newWorld(t *testing.T, files ...string) *world {
	t.Helper()
	n := load(t, files...)
	dir := t.TempDir()
	m := material(t, dir, n)
	nodes := fabrictest.StartNodes(t, n, m)
	return &world{pod{t: t, dir: dir, n: n, m: m, files: files, env: step.Env{Dial: nodes.Dial, Poll: 5 * time.Millisecond}}, nodes}
}

// with is the same network after the files changed.
func (w *world) with(files ...string) *world {
	p := w.pod
	p.files, p.n = files, load(w.t, files...)
	return &world{p, w.nodes}
}

func (w *world) must(verb string, params step.Params, admin string, clients ...string) step.Result {
	w.t.Helper()
	r, err := w.run(verb, params, admin, clients...)
	if err != nil {
		w.t.Fatalf("%s: %v", verb, err)
	}
	return r
}

func (w *world) channels() {
	w.t.Helper()
	for _, ch := range w.n.Channels {
		for _, o := range ch.OrdererOrgs {
			w.must("create", step.Params{Channel: ch.Name, Org: o.Name}, o.Name)
		}
		for _, o := range ch.Orgs {
			w.must("join", step.Params{Channel: ch.Name, Org: o.Name}, o.Name)
		}
	}
}

func (w *world) installs() {
	w.t.Helper()
	for _, cc := range w.n.Chaincodes {
		for _, o := range cc.Orgs {
			w.must("install", step.Params{Chaincode: cc.Name, Org: o.Name}, o.Name)
		}
	}
}

func (w *world) commits() {
	w.t.Helper()
	for _, cc := range w.n.Chaincodes {
		w.must("commit", step.Params{Chaincode: cc.Name}, "", "Org1", "Org2")
	}
}

func (w *world) todo(flow string) []string {
	w.t.Helper()
	return w.must("probe", step.Params{Flow: flow}, "", "Org1", "Org2").Todo
}

func (w *world) node(part string) *network.Node {
	w.t.Helper()
	i := slices.IndexFunc(w.n.Nodes(), func(n *network.Node) bool { return strings.Contains(n.Name(), part) })
	if i < 0 {
		w.t.Fatalf("no node %q", part)
	}
	return w.n.Nodes()[i]
}

func TestBringUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cryptoConfig, networkYAML)
	want := []string{"create-mychannel", "join-mychannel-org1", "join-mychannel-org2"}
	if diff := cmp.Diff(want, w.todo("channel")); diff != "" {
		t.Errorf("probe of a new network: -want, +got:\n%s", diff)
	}
	want = []string{"install-basic-org1", "install-basic-org2", "commit-basic", "smoke-basic"}
	if diff := cmp.Diff(want, w.todo("chaincode")); diff != "" {
		t.Errorf("probe of a new network: -want, +got:\n%s", diff)
	}
	w.channels()
	w.installs()
	w.commits()
	r := w.must("smoke", step.Params{Chaincode: "basic"}, "", "Org1")
	if diff := cmp.Diff([]string{"chaincode basic: answers org.hyperledger.fabric:GetMetadata on channel mychannel with 34 bytes"}, r.Verified); diff != "" {
		t.Errorf("smoke: -want, +got:\n%s", diff)
	}
	if todo := append(w.todo("channel"), w.todo("chaincode")...); len(todo) > 0 {
		t.Errorf("probe of an up-to-date network: %v", todo)
	}
}

// Whoever reads the flow's result reads these sentences.
func TestResults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cryptoConfig, networkYAML)
	steps := []struct {
		verb           string
		params         step.Params
		admin, clients string
		want           []string
	}{
		{"create", step.Params{Channel: "mychannel"}, "Orderer", "", []string{
			"channel mychannel: hlf-orderer--orderer--orderer0 joined",
			"channel mychannel: hlf-orderer--orderer--orderer1 joined",
			"channel mychannel: hlf-orderer--orderer--orderer2 joined"}},
		{"join", step.Params{Channel: "mychannel", Org: "Org1"}, "Org1", "", []string{"channel mychannel: hlf-peer--org1--peer0 joined"}},
		{"join", step.Params{Channel: "mychannel", Org: "Org2"}, "Org2", "", []string{"channel mychannel: hlf-peer--org2--peer0 joined"}},
		{"install", step.Params{Chaincode: "basic", Org: "Org1"}, "Org1", "", []string{
			"chaincode basic: basic_1.0:4c0b435a773b1bf2568f0c496d515476f5bf45b8ee055e28045bc80a782fbae2 installed on hlf-peer--org1--peer0",
			"chaincode basic: version 1.0, sequence 1 approved by Org1 on channel mychannel"}},
		{"install", step.Params{Chaincode: "basic", Org: "Org2"}, "Org2", "", []string{
			"chaincode basic: basic_1.0:4c0b435a773b1bf2568f0c496d515476f5bf45b8ee055e28045bc80a782fbae2 installed on hlf-peer--org2--peer0",
			"chaincode basic: version 1.0, sequence 1 approved by Org2 on channel mychannel"}},
		{"commit", step.Params{Chaincode: "basic"}, "", "Org1", []string{"chaincode basic: version 1.0, sequence 1 committed to channel mychannel"}},
	}
	for _, s := range steps {
		dry := s.params
		dry.DryRun = true
		for _, run := range []struct {
			what   string
			params step.Params
			want   []string
		}{{"dry run of", dry, s.want}, {"", s.params, s.want}, {"repeated", s.params, nil}, {"dry run after", dry, nil}} {
			clients := strings.Fields(s.clients)
			r := w.must(s.verb, run.params, s.admin, clients...)
			if diff := cmp.Diff(run.want, r.Changed); diff != "" {
				t.Errorf("%s %s: -want, +got:\n%s", run.what, s.verb, diff)
			}
		}
	}
}

// A flow that was started twice, and both flows at once, must end as one would.
func TestEverythingAtOnceTwice(t *testing.T) {
	t.Parallel()
	atOnceTwice(t, newWorld(t, cryptoConfig, networkYAML).pod, 20*time.Second)
}

func atOnceTwice(t *testing.T, p pod, wait time.Duration) {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	changed := map[string]int{}
	run := func(verb string, params step.Params, admin string, clients ...string) {
		params.Wait = wait
		for range 2 {
			wg.Go(func() {
				r, err := p.run(verb, params, admin, clients...)
				if err != nil {
					t.Errorf("%s: %v", verb, err)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, c := range r.Changed {
					changed[c]++
				}
			})
		}
	}
	for _, ch := range p.n.Channels {
		for _, o := range ch.OrdererOrgs {
			run("create", step.Params{Channel: ch.Name, Org: o.Name}, o.Name)
		}
		for _, o := range ch.Orgs {
			run("join", step.Params{Channel: ch.Name, Org: o.Name}, o.Name)
		}
	}
	for _, cc := range p.n.Chaincodes {
		for _, o := range cc.Orgs {
			run("install", step.Params{Chaincode: cc.Name, Org: o.Name}, o.Name)
		}
		run("commit", step.Params{Chaincode: cc.Name}, "", "Org1")
		run("smoke", step.Params{Chaincode: cc.Name}, "", "Org1")
	}
	wg.Wait()
	if len(changed) == 0 {
		t.Error("nobody changed anything")
	}
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cryptoConfig, networkYAML)
	w.channels()
	w.installs()
	w.commits()

	v2 := w.with(cryptoConfig, strings.Replace(networkYAML, `"1.0"`, `"2.0"`, 1))
	want := []string{"install-basic-org1", "install-basic-org2", "commit-basic", "smoke-basic"}
	if diff := cmp.Diff(want, v2.todo("chaincode")); diff != "" {
		t.Errorf("probe after the version changed: -want, +got:\n%s", diff)
	}
	v2.installs()
	r := v2.must("commit", step.Params{Chaincode: "basic"}, "", "Org2")
	if diff := cmp.Diff([]string{"chaincode basic: version 2.0, sequence 2 committed to channel mychannel"}, r.Changed); diff != "" {
		t.Errorf("commit: -want, +got:\n%s", diff)
	}
	if todo := v2.todo("chaincode"); len(todo) > 0 {
		t.Errorf("probe after the upgrade: %v", todo)
	}

	// Other code under a version that is in use is refused, and before it is on any peer.
	image := v2.with(cryptoConfig, strings.Replace(v2.files[1], strings.Repeat("ab", 32), strings.Repeat("cd", 32), 1))
	for _, files := range [][]string{image.files, {cryptoConfig, strings.Replace(image.files[1], "{name: mychannel}", `{name: mychannel, policy: "OR('Org1MSP.peer','Org2MSP.peer')"}`, 1)}} {
		w := image.with(files...)
		r, err := w.run("install", step.Params{Chaincode: "basic", Org: "Org1", Wait: time.Minute}, "Org1")
		if exit.CodeOf(err) != exit.Invalid || !strings.Contains(err.Error(), "version 2.0 is committed with package basic_2.0:") || len(r.Changed) > 0 {
			t.Errorf("install of another image: %v, changed %q", err, r.Changed)
		}
	}

	// Back to the former version, whose package the peers still have.
	w.installs()
	r = w.must("commit", step.Params{Chaincode: "basic"}, "", "Org2")
	if diff := cmp.Diff([]string{"chaincode basic: version 1.0, sequence 3 committed to channel mychannel"}, r.Changed); diff != "" {
		t.Errorf("commit of the former version: -want, +got:\n%s", diff)
	}
	w.must("smoke", step.Params{Chaincode: "basic"}, "", "Org1")
	if n := w.nodes.Builds(w.node("org1"), "basic_1.0"); n != 1 {
		t.Errorf("the former version was built %d times, want once", n)
	}
}

// The block in use counts and not what the files would make now.
func TestCreateNeverSplitsAChannel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cryptoConfig, networkYAML)
	w.nodes.Stop(w.node("orderer2"))
	if _, err := w.run("create", step.Params{Channel: "mychannel"}, "Orderer"); exit.CodeOf(err) != exit.TryAgain {
		t.Errorf("create while an orderer is silent: %v, want to be called again", err)
	}
	w.nodes.Start(w.node("orderer2"))
	w.must("create", step.Params{Channel: "mychannel"}, "Orderer")

	more := strings.Replace(cryptoConfig, "{Hostname: orderer2}", "{Hostname: orderer2}, {Hostname: orderer3}", 1)
	grown := newGrown(t, w, more, strings.Replace(networkYAML, "100ms", "900ms", 1))
	r := grown.must("create", step.Params{Channel: "mychannel"}, "Orderer")
	if diff := cmp.Diff([]string{"channel mychannel: hlf-orderer--orderer--orderer3 joined"}, r.Changed); diff != "" {
		t.Errorf("create for a new orderer: -want, +got:\n%s", diff)
	}
}

// newGrown is w's network with nodes added, which the fakes learn about.
func newGrown(t *testing.T, w *world, files ...string) *world {
	t.Helper()
	p := w.pod
	p.files, p.n = files, load(t, files...)
	p.m = material(t, p.dir, p.n)
	w.nodes.Grow(p.n, p.m)
	return &world{p, w.nodes}
}

func TestGivesUp(t *testing.T) {
	t.Parallel()
	policy := func(p string) string {
		return strings.Replace(networkYAML, "{name: mychannel}", "{name: mychannel, policy: \""+p+"\"}", 1)
	}
	submit := "\n      smoke: {function: hello, invoke: true}\n"
	three := cryptoConfig + "  - {Name: Org3, Domain: org3.example.com, EnableNodeOUs: true, Template: {Count: 1}, Users: {Count: 1}}\n"
	install := func(w *world) { w.channels(); w.installs() }

	cases := map[string]struct {
		reason  string
		files   []string
		arrange func(*world)
		verb    string
		params  step.Params
		admin   string
		code    exit.Code
		says    string
	}{
		"CreateNodesDown": {"Nodes that start are not there yet.", []string{cryptoConfig, networkYAML},
			func(w *world) { w.nodes.Stop(w.node("orderer0")) },
			"create", step.Params{Channel: "mychannel"}, "Orderer", exit.TryAgain, "hlf-orderer--orderer--orderer0:7053"},
		"JoinTooEarly": {"The channel is being created by another pod.", []string{cryptoConfig, networkYAML}, nil,
			"join", step.Params{Channel: "mychannel", Org: "Org1"}, "Org1", exit.TryAgain, `channel "mychannel" is not there`},
		"JoinStranger": {"The channel on the network was made without Org3; only a configuration update helps.",
			[]string{three, networkYAML}, func(w *world) {
				w.channels()
				*w = *w.with(three, strings.Replace(networkYAML, "[Org1, Org2]", "[Org1, Org2, Org3]", 1))
			}, "join", step.Params{Channel: "mychannel", Org: "Org3"}, "Org3", exit.Failed, "Org3MSP may not read"},
		"JoinNotAMember": {"A wrong flag is not tried again.", []string{three, networkYAML}, nil,
			"join", step.Params{Channel: "mychannel", Org: "Org3"}, "Org3", exit.Invalid, `org "Org3" is not a member`},
		"InstallTooEarly": {"Flows run side by side; this one is faster.", []string{cryptoConfig, networkYAML}, nil,
			"install", step.Params{Chaincode: "basic", Org: "Org1"}, "Org1", exit.TryAgain, "channel 'mychannel' not found"},
		"InstallAsAnother": {"An admin of another organisation will never be let in.", []string{cryptoConfig, networkYAML}, (*world).channels,
			"install", step.Params{Chaincode: "basic", Org: "Org1"}, "Org2", exit.Failed, "access denied"},
		"ApproveWithoutOrderers": {"Orderers restart.", []string{cryptoConfig, networkYAML}, func(w *world) {
			w.channels()
			w.nodes.Stop(w.node("orderer0"))
			w.nodes.Stop(w.node("orderer1"))
		}, "install", step.Params{Chaincode: "basic", Org: "Org1"}, "Org1", exit.TryAgain, "no Raft leader"},
		"CommitTooEarly": {"Org2 has not approved yet.", []string{cryptoConfig, networkYAML}, func(w *world) {
			w.channels()
			w.must("install", step.Params{Chaincode: "basic", Org: "Org1"}, "Org1")
		}, "commit", step.Params{Chaincode: "basic"}, "", exit.TryAgain, "sequence 1 is not approved by Org2MSP"},
		"CommitBeforeGossip": {"The gateway has not heard of Org2 yet; it will.", []string{cryptoConfig, networkYAML}, func(w *world) {
			install(w)
			w.nodes.Gossip(w.node("org2"), false)
		}, "commit", step.Params{Chaincode: "basic"}, "", exit.TryAgain, "has not heard of hlf-peer--org2--peer0"},
		"CommitNoMajority": {"The file asks one organisation of two: nobody else is going to approve.",
			[]string{cryptoConfig, strings.Replace(networkYAML, "{name: mychannel}", "{name: mychannel, orgs: [Org1]}", 1)}, install,
			"commit", step.Params{Chaincode: "basic"}, "", exit.Failed, "1 of the channel's 2 organisations"},
		"SmokeTooEarly": {"Nothing is committed.", []string{cryptoConfig, networkYAML}, install,
			"smoke", step.Params{Chaincode: "basic"}, "", exit.TryAgain, "version 1.0 is not committed"},
		"SmokeImpossiblePolicy": {"Peers are no admins: no peer in the world satisfies this policy.",
			[]string{cryptoConfig, policy("AND('Org1MSP.admin','Org2MSP.admin')")}, func(w *world) { install(w); w.commits() },
			"smoke", step.Params{Chaincode: "basic", Wait: 10 * time.Second}, "", exit.Failed, "no peers can satisfy the endorsement policy"},
		"SmokePolicyBeforeGossip": {"The same words, but this time they pass.",
			[]string{cryptoConfig, policy("AND('Org1MSP.peer','Org2MSP.peer')") + submit}, func(w *world) {
				install(w)
				w.commits()
				w.nodes.Gossip(w.node("org2"), false)
			}, "smoke", step.Params{Chaincode: "basic"}, "", exit.TryAgain, "has not heard of hlf-peer--org2--peer0"},
		"SmokeDoesNotStart": {"The kubelet's reason must reach the user.", []string{cryptoConfig, networkYAML}, func(w *world) {
			install(w)
			w.commits()
			w.nodes.BreakChaincode("basic_1.0:4c0b435a773b1bf2568f0c496d515476f5bf45b8ee055e28045bc80a782fbae2", errors.New("ImagePullBackOff: no such image"))
		}, "smoke", step.Params{Chaincode: "basic", Wait: 10 * time.Second}, "", exit.Failed, "ImagePullBackOff: no such image"},
		"SmokeRefused": {"The call is the user's; its failure is final.",
			[]string{cryptoConfig, networkYAML + "      smoke: {function: fail}\n"}, func(w *world) { install(w); w.commits() },
			"smoke", step.Params{Chaincode: "basic"}, "", exit.Failed, "this function fails"},
		"UnknownVerb":    {"A typing error.", []string{cryptoConfig, networkYAML}, nil, "crate", step.Params{}, "", exit.Invalid, "steps are probe, create"},
		"UnknownFlow":    {"A typing error.", []string{cryptoConfig, networkYAML}, nil, "probe", step.Params{Flow: "backup"}, "", exit.Invalid, "flows are channel, chaincode"},
		"UnknownChannel": {"A typing error.", []string{cryptoConfig, networkYAML}, nil, "create", step.Params{Channel: "nope"}, "", exit.Invalid, `channel "nope"`},
		"NoAdmin":        {"The pod lacks a Secret; trying again does not mount it.", []string{cryptoConfig, networkYAML}, nil, "join", step.Params{Channel: "mychannel", Org: "Org1"}, "", exit.Failed, "admin/cert.pem"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tc.files...)
			if tc.arrange != nil {
				tc.arrange(w)
			}
			_, err := w.run(tc.verb, tc.params, tc.admin, "Org1", "Org2")
			if exit.CodeOf(err) != tc.code || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%s\n%s ended with code %d: %v\nwant code %d and %q", tc.reason, tc.verb, exit.CodeOf(err), err, tc.code, tc.says)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("%s\nthe error has several lines:\n%v", tc.reason, err)
			}
		})
	}
}

// What a step waits for may come while it waits.
func TestWaits(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		arrange func(*world)
		verb    string
		params  step.Params
		admin   string
		relieve func(*world)
	}{
		"NodeStarts": {"An orderer comes up.", func(w *world) { w.nodes.Stop(w.node("orderer1")) },
			"create", step.Params{Channel: "mychannel"}, "Orderer", func(w *world) { w.nodes.Start(w.node("orderer1")) }},
		"ChannelCreated": {"Another pod creates the channel.", func(*world) {},
			"join", step.Params{Channel: "mychannel", Org: "Org1"}, "Org1", func(w *world) {
				w.must("create", step.Params{Channel: "mychannel"}, "Orderer")
			}},
		"Approved": {"Another pod approves.", func(w *world) {
			w.channels()
			w.must("install", step.Params{Chaincode: "basic", Org: "Org1"}, "Org1")
		}, "commit", step.Params{Chaincode: "basic"}, "", func(w *world) {
			w.must("install", step.Params{Chaincode: "basic", Org: "Org2"}, "Org2")
		}},
		"GossipConverges": {"Gossip comes round.", func(w *world) {
			w.channels()
			w.installs()
			w.nodes.Gossip(w.node("org2"), false)
		}, "commit", step.Params{Chaincode: "basic"}, "", func(w *world) { w.nodes.Gossip(w.node("org2"), true) }},
		"PeerRestarts": {"A peer is killed in the middle and comes back.", func(w *world) {
			w.channels()
			w.nodes.Stop(w.node("org1"))
		}, "install", step.Params{Chaincode: "basic", Org: "Org1"}, "Org1", func(w *world) { w.nodes.Start(w.node("org1")) }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, cryptoConfig, networkYAML)
			tc.arrange(w)
			waiting := make(chan struct{})
			w.env.Log = signalWhenWaiting(waiting)
			done := make(chan error, 1)
			params := tc.params
			params.Wait = 30 * time.Second
			waiter := *w
			go func() {
				_, err := waiter.run(tc.verb, params, tc.admin, "Org1", "Org2")
				done <- err
			}()
			select {
			case err := <-done:
				t.Fatalf("%s\n%s did not wait: %v", tc.reason, tc.verb, err)
			case <-waiting:
			}
			w.env.Log = nil
			tc.relieve(w)
			if err := <-done; err != nil {
				t.Errorf("%s\n%s: %v", tc.reason, tc.verb, err)
			}
		})
	}
}

func TestProbeSeesWhatIsMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cryptoConfig, networkYAML)
	w.channels()
	w.installs()
	w.commits()

	w.nodes.Stop(w.node("org2"))
	if diff := cmp.Diff([]string{"join-mychannel-org2"}, w.todo("channel")); diff != "" {
		t.Errorf("a silent peer is to do: -want, +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"install-basic-org2", "smoke-basic"}, w.todo("chaincode")); diff != "" {
		t.Errorf("a silent peer is to do: -want, +got:\n%s", diff)
	}
	w.nodes.Start(w.node("org2"))
	w.nodes.Gossip(w.node("org2"), false)
	if todo := append(w.todo("channel"), w.todo("chaincode")...); len(todo) > 0 {
		t.Errorf("a peer that gossip has not reached is asked itself: %v", todo)
	}

	// No client of a channel's organisations is mounted: nothing can be known, all is to do.
	r := w.must("probe", step.Params{Flow: "channel"}, "")
	if diff := cmp.Diff([]string{"create-mychannel", "join-mychannel-org1", "join-mychannel-org2"}, r.Todo); diff != "" {
		t.Errorf("probe without a client: -want, +got:\n%s", diff)
	}
}

// A flow has no tasks for what it does not include, and its pods no clients.
func TestProbeOfPartOfTheNetwork(t *testing.T) {
	t.Parallel()
	two := strings.Replace(networkYAML, "  chaincodes:", "    - {name: private, orgs: [Org2]}\n  chaincodes:", 1)
	w := newWorld(t, cryptoConfig, two, "flow: {channel: {include: [private]}}")
	r := w.must("probe", step.Params{Flow: "channel"}, "", "Org2")
	if diff := cmp.Diff([]string{"create-private", "join-private-org2"}, r.Todo); diff != "" {
		t.Errorf("probe: -want, +got:\n%s", diff)
	}
}
