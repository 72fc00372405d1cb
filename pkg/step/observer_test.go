package step_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/fabric/fabrictest"
	"pivt.io/pivt/pkg/step"
)

func TestObserver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, strings.Replace(cryptoConfig, "Template: {Count: 1}", "Template: {Count: 2}", 1), networkYAML)
	w.channels()
	w.installs()
	w.commits()
	observe(t, w.pod, func() {
		t.Helper()
		victim := w.n.Org("Org1").Nodes[1]
		w.nodes.Stop(victim)
	})
}

// TestObserverOfProcesses is TestObserver with real nodes.
func TestObserverOfProcesses(t *testing.T) {
	files := []string{strings.Replace(cryptoConfig, "Template: {Count: 1}", "Template: {Count: 2}", 1), networkYAML}
	n := load(t, files...)
	dir := t.TempDir()
	m := material(t, dir, n)
	nodes := fabrictest.StartProcesses(t, n, m)
	p := pod{t: t, dir: dir, n: n, m: m, files: files, env: step.Env{Dial: nodes.Dial}}
	wait := 60 * time.Second
	for _, s := range []struct {
		verb, admin string
		params      step.Params
	}{
		{"create", "Orderer", step.Params{Channel: "mychannel", Org: "Orderer", Wait: wait}},
		{"join", "Org1", step.Params{Channel: "mychannel", Org: "Org1", Wait: wait}},
		{"join", "Org2", step.Params{Channel: "mychannel", Org: "Org2", Wait: wait}},
	} {
		if _, err := p.run(s.verb, s.params, s.admin); err != nil {
			t.Fatalf("%s: %v", s.verb, err)
		}
	}
	observe(t, p, func() { nodes.Stop(n.Org("Org1").Nodes[1]) })
}

// observe looks at a network that is up, and at one whose second peer of Org1 stopped.
func observe(t *testing.T, p pod, stop func()) {
	t.Helper()
	env := p.env
	env.Root = p.root("", "Org1")
	o, err := step.NewObserver(env)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	ctx := t.Context()
	floor, err := o.Heights(ctx, p.n.Org("Org2").Nodes[0])
	if err != nil || floor["mychannel"] == 0 {
		t.Fatalf("heights of a peer: %v, %v", floor, err)
	}
	serving := func(want bool, floor map[string]uint64, nodes ...int) {
		t.Helper()
		for _, i := range nodes {
			node := p.n.Nodes()[i]
			deadline := time.Now().Add(60 * time.Second)
			for {
				err := o.Serving(ctx, node, floor)
				if (err == nil) == want {
					if err != nil && !exit.IsTransient(err) {
						t.Errorf("%s: a node that may come back is called hopeless: %v", node.Name(), err)
					}
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s: serving %t: %v", node.Name(), !want, err)
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
	}
	serving(true, floor, 0, 1, 2, 3, 4, 5)
	ahead := maps.Clone(floor)
	ahead["mychannel"] += 5
	if err := o.Serving(ctx, p.n.Nodes()[3], ahead); !exit.IsTransient(err) {
		t.Errorf("a peer without the blocks it had before: %v", err)
	}
	if err := o.Serving(ctx, p.n.Nodes()[0], ahead); !exit.IsTransient(err) {
		t.Errorf("an orderer without the blocks it had before: %v", err)
	}
	if err := o.Serving(ctx, p.n.Nodes()[3], nil); err != nil {
		t.Errorf("a node that had joined nothing has nothing to come back to: %v", err)
	}
	heights, err := o.Heights(ctx, p.n.Nodes()[0])
	if diff := cmp.Diff(floor, heights); diff != "" || err != nil {
		t.Errorf("heights of an orderer: %v\n-peer, +orderer:\n%s", err, diff)
	}
	stop()
	serving(false, floor, 4)
	serving(true, floor, 3, 5)
	if _, err := o.Heights(ctx, p.n.Nodes()[4]); err == nil {
		t.Error("a node that is down has heights")
	}
}
