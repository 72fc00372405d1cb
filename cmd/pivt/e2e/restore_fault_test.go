//go:build e2e

package e2e

import (
	"context"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/keeper"
)

// newerData refuses to throw away what was written since, unless told.
func (v *vault) newerData(j *journal) {
	old := v.manifest("killed")
	w := v.writer("Org1", j)
	w.fill("b", 10, 40)
	peer := v.gatewayOf(v.names("hlf-peer--org1")[0])
	hashes := peer.hashes(labChannel, peer.height(labChannel))
	v.untouched(func() { v.says(v.pivt("restore", "killed", "--yes"), 3, "newer data", "--accept newer-data") })
	v.untouched(func() { v.says(v.pivt("restore", "killed"), 2, "--yes") })
	v.pivt("restore", "killed", "--yes", "--accept", "newer-data").ok()
	v.assertRestored(old, hashes, j)
	v.assertRunning()
}

func (v *vault) restoreKilled() {
	r := v.killing([]victim{
		{"check", "Nothing is stopped yet.", stepPod("check"), false},
		{"copy of a peer", "The volume holds half of the saved data, beside its own.", madePod("restore", "peer"), false},
		{"keeper of the restore", "Nodes are stopped and half of them restored.", stepPod("restore"), false},
		{"copy of an orderer", "Others are restored, and none may start.", madePod("restore", "orderer"), false},
		{"finish", "What was replaced is half removed.", madePod("finish", ""), true},
	}, "restore", "killed", "--yes", "--accept", "newer-data")
	if r.code != 0 {
		v.t.Errorf("restore ended with %d, want 0 after retries", r.code)
	}
	v.assertRunning()
	v.writer("Org2", &journal{}).fill("c", 5, 40)
}

// otherNetwork makes a network of the same names in another namespace, with keys of its own.
func (v *vault) otherNetwork() {
	s := newSite(v.t, v.ns+"-2")
	s.limit = v.limit
	there := v.at(s)
	s.write("crypto-config.yaml", v.file("crypto-config.yaml"))
	s.write("network.yaml", v.file("network.yaml"))
	there.credentials("hlf-backup", nil)
	v.says(s.pivt("restore", "killed", "--yes"), 3, "not the network that was saved", "--accept other-network")
}

// cancelled ends a restore when some nodes have their former data and others the saved, and takes it back.
func (v *vault) cancelled() {
	v.writer("Org1", &journal{}).fill("d", 10, 40) // what the restore would throw away
	peer := v.names("hlf-peer--org1")[0]
	g := v.gatewayOf(peer)
	height := g.height(labChannel)
	hashes, state := g.hashes(labChannel, height), g.all(false)

	p := v.start("restore", "killed", "--yes", "--accept", "newer-data")
	v.terminate(madePod("restore", "orderer"))
	v.says(p.wait(), 1, "restore killed", "--cancel")
	holds, err := keeper.Held(context.Background(), v.core, v.ns)
	v.must(err)
	if len(holds) == 0 {
		v.t.Error("half restored nodes were started")
	}

	v.pivt("restore", "killed", "--cancel", "--yes").ok()
	v.assertRunning()
	for _, node := range v.names("hlf-peer") {
		g := v.gatewayOf(node)
		if diff := cmp.Diff(hashes, g.hashes(labChannel, height)); diff != "" {
			v.t.Errorf("%s: blocks: -before, +cancelled:\n%s", node.Name(), diff)
		}
		if diff := cmp.Diff(state, g.all(false)); diff != "" {
			v.t.Errorf("%s: keys: -before, +cancelled:\n%s", node.Name(), diff)
		}
	}
	v.writer("Org2", &journal{}).fill("e", 5, 40)
}

// oneOrderer loses one of three orderers. Its copy is older than what the others remember of it,
// so those are restarted first.
func (v *vault) oneOrderer() {
	lost := v.names("hlf-orderer")[1]
	v.destroy(lost)
	v.pivt("restore", "killed", "--node", lost.Name(), "--yes").ok()
	v.assertRunning()
	v.writer("Org1", &journal{}).fill("f", 5, 40)

	height := v.gatewayOf(v.names("hlf-peer--org1")[0]).height(labChannel)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	o := v.orderer(lost)
	defer o.Close()
	v.until(ctx, lost.Name()+" to catch up", func() (bool, error) {
		_, err := o.Block(ctx, labChannel, height-1)
		return err == nil, err
	})
	for _, node := range v.names("hlf-orderer") {
		if diff := cmp.Diff(v.ordererHashes(lost, height), v.ordererHashes(node, height)); diff != "" {
			v.t.Errorf("%s: blocks: -restored, +its:\n%s", node.Name(), diff)
		}
	}
}
