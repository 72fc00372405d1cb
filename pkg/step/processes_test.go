package step_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/fabric/fabrictest"
	"pivt.io/pivt/pkg/step"
)

// TestProcesses brings up a channel and a chaincode on real orderers and peers, twice.
func TestProcesses(t *testing.T) {
	n := load(t, cryptoConfig, networkYAML)
	m := material(t, n)
	nodes := fabrictest.StartProcesses(t, n, m)
	p := pod{t: t, n: n, m: m, files: []string{cryptoConfig, networkYAML}, env: step.Env{Dial: nodes.Dial}}
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
