package step_test

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/fabric/fabrictest"
	"pivt.io/pivt/pkg/step"
)

// TestProcesses brings up a channel and a chaincode on real orderers and peers, twice.
func TestProcesses(t *testing.T) {
	n := load(t, cryptoConfig, networkYAML)
	dir := t.TempDir()
	m := material(t, dir, n)
	nodes := fabrictest.StartProcesses(t, n, m)
	p := pod{t: t, dir: dir, n: n, m: m, files: []string{cryptoConfig, networkYAML}, env: step.Env{Dial: nodes.Dial}}
	wait := 60 * time.Second

	begin := time.Now()
	steps := []struct {
		verb    string
		params  step.Params
		admin   string
		clients []string
	}{
		{"create", step.Params{Channel: "mychannel", Org: "Orderer", Wait: wait}, "Orderer", nil},
		{"join", step.Params{Channel: "mychannel", Org: "Org1", Wait: wait}, "Org1", nil},
		{"join", step.Params{Channel: "mychannel", Org: "Org2", Wait: wait}, "Org2", nil},
		{"install", step.Params{Chaincode: "basic", Org: "Org1", Wait: wait}, "Org1", nil},
		{"install", step.Params{Chaincode: "basic", Org: "Org2", Wait: wait}, "Org2", nil},
		{"commit", step.Params{Chaincode: "basic", Wait: wait}, "", []string{"Org1"}},
		{"smoke", step.Params{Chaincode: "basic", Wait: wait}, "", []string{"Org1"}},
	}
	for _, s := range steps {
		r, err := p.run(s.verb, s.params, s.admin, s.clients...)
		if err != nil {
			t.Fatalf("%s: %v", s.verb, err)
		}
		if len(r.Changed)+len(r.Verified) == 0 {
			t.Errorf("%s of %+v says that it did nothing", s.verb, s.params)
		}
	}
	t.Logf("whole bring-up: %s", time.Since(begin))
	for _, flow := range []string{"channel", "chaincode"} {
		r, err := p.run("probe", step.Params{Flow: flow}, "", "Org1")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string(nil), r.Todo); diff != "" {
			t.Errorf("probe of an up-to-date %s flow: -want, +got:\n%s", flow, diff)
		}
	}
	for _, s := range steps[:6] {
		r, err := p.run(s.verb, s.params, s.admin, s.clients...)
		if err != nil {
			t.Fatalf("%s again: %v", s.verb, err)
		}
		if len(r.Changed) > 0 {
			t.Errorf("%s again changed: %q", s.verb, r.Changed)
		}
	}
}

// TestProcessesAtOnceTwice starts the nodes and, before they are up, every step of both
// flows, each of them twice. Whatever the order is in the end, all must succeed.
func TestProcessesAtOnceTwice(t *testing.T) {
	bft := strings.NewReplacer("{Hostname: orderer2}", "{Hostname: orderer2}, {Hostname: orderer3}").Replace(cryptoConfig)
	twoOrgs := strings.Replace(cryptoConfig, "PeerOrgs:", `  - {Name: Orderer2, Domain: example.org, EnableNodeOUs: true, Template: {Count: 2}}
PeerOrgs:`, 1)
	cases := map[string]struct {
		reason string
		files  []string
	}{
		"Raft": {"The usual network.", []string{cryptoConfig, networkYAML}},
		"BFT": {"Consensus with four orderers that sign every block.",
			[]string{bft, strings.Replace(networkYAML, "network:\n", "network:\n  consensus: BFT\n", 1)}},
		"TwoOrdererOrgs": {"Each makes only its own orderers join, and both make the same genesis block.", []string{twoOrgs, networkYAML}},
		"TwoPeersTwoChannels": {"More than one of everything.", []string{strings.ReplaceAll(cryptoConfig, "Template: {Count: 1}", "Template: {Count: 2}"), `
network:
  channels:
    - {name: common, orgs: [Org1, Org2], batch: {timeout: 100ms}}
    - {name: private, orgs: [Org1], batch: {timeout: 100ms}}
  chaincodes:
    - name: basic
      version: "1.0"
      image: example.com/basic@` + digest + `
      smoke: {function: hello, args: [you], invoke: true}
      channels: [{name: common, policy: "AND('Org1MSP.peer','Org2MSP.peer')"}, {name: private}]
    - name: My_CC
      version: "2.0"
      image: example.com/my_cc@` + digest + `
      init: {function: init, args: [you]}
      collections: [{name: secrets, policy: "OR('Org1MSP.member')", requiredPeerCount: 0, maxPeerCount: 1, blockToLive: 0, memberOnlyRead: true}]
      channels: [{name: common}]
`}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			version := fabrictest.Version(t)
			if name == "BFT" && strings.HasPrefix(version, "2.") {
				t.Skip("Fabric 2 has no BFT")
			}
			tc.files = append(tc.files, "hyperledgerVersion: "+version)
			n := load(t, tc.files...)
			dir := t.TempDir()
			m := material(t, dir, n)
			nodes := fabrictest.StartProcesses(t, n, m)
			p := pod{t: t, dir: dir, n: n, m: m, files: tc.files, env: step.Env{Dial: nodes.Dial}}
			begin := time.Now()
			atOnceTwice(t, p, 90*time.Second)
			t.Logf("%s: %s", tc.reason, time.Since(begin))
			for _, flow := range []string{"channel", "chaincode"} {
				r, err := p.run("probe", step.Params{Flow: flow}, "", "Org1")
				if err != nil || len(r.Todo) > 0 {
					t.Errorf("%s\nprobe afterwards: %v, %v", tc.reason, r.Todo, err)
				}
			}
		})
	}
}

// TestProcessesKilled kills an orderer and a peer at the worst moments. The steps that run
// must see it through once the nodes are back.
func TestProcessesKilled(t *testing.T) {
	n := load(t, cryptoConfig, networkYAML)
	dir := t.TempDir()
	m := material(t, dir, n)
	nodes := fabrictest.StartProcesses(t, n, m)
	type moment struct {
		change string // as soon as somebody reports it
		node   string // this one is killed and started again
	}
	moments := []moment{
		{"hlf-orderer--orderer--orderer1 joined", "orderer1"},
		{"hlf-peer--org1--peer0 joined", "org1"},
		{"installed on hlf-peer--org2--peer0", "org2"},
		{"approved by Org1", "orderer0"},
		{"committed to channel", "org1"},
	}
	var mu sync.Mutex
	log := slog.New(handler(func(r slog.Record) {
		line := r.Message
		r.Attrs(func(a slog.Attr) bool {
			line += " " + a.String()
			return true
		})
		t.Log(line)
		mu.Lock()
		defer mu.Unlock()
		i := slices.IndexFunc(moments, func(m moment) bool {
			return strings.HasPrefix(line, "changed") && strings.Contains(line, m.change)
		})
		if i < 0 {
			return
		}
		for _, node := range n.Nodes() {
			if strings.Contains(node.Name(), moments[i].node) {
				nodes.Stop(node)
				nodes.Start(node)
			}
		}
		t.Logf("killed %s after %q", moments[i].node, moments[i].change)
		moments = slices.Delete(moments, i, i+1)
	}))
	p := pod{t: t, dir: dir, n: n, m: m, files: []string{cryptoConfig, networkYAML}, env: step.Env{Dial: nodes.Dial, Log: log}}
	atOnceTwice(t, p, 90*time.Second)
	if len(moments) > 0 {
		t.Errorf("these moments never came: %+v", moments)
	}
	for _, flow := range []string{"channel", "chaincode"} {
		var todo []string
		for range 10 { // the last killed peer may still be starting
			r, err := p.run("probe", step.Params{Flow: flow}, "", "Org1")
			if err != nil {
				t.Fatal(err)
			}
			if todo = r.Todo; len(todo) == 0 {
				break
			}
		}
		if len(todo) > 0 {
			t.Errorf("probe of the %s flow: %v", flow, todo)
		}
	}
}
