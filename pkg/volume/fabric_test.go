package volume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/network"
)

// TestRealOrderers saves real orderers one after the other while the rest goes on, loses all of
// them, and has all start from one's copy: with its log for Raft, without any for BFT, and
// without an index of blocks.
func TestRealOrderers(t *testing.T) {
	cases := map[string]func(*testing.T) string{
		"Raft": func(*testing.T) string { return raftFiles },
		"BFT":  bftFiles,
	}
	for name, files := range cases {
		t.Run(name, func(t *testing.T) {
			r := startReal(t, files(t))
			orderers := r.orderers()
			r.start(orderers...)
			r.create()
			for _, node := range orderers {
				r.order(node)
			}
			if _, err := Save(t.Context(), newStore(t), r.task(orderers[0], backup.AllParts())); !errors.Is(err, ErrInUse) {
				t.Errorf("an orderer that runs was saved: %v", err)
			}
			s := newStore(t)
			m := backup.Manifest{Key: "k1", Consensus: map[string]network.Consensus{"common": r.n.Channels[0].Consensus}}
			for _, node := range orderers {
				m.Nodes = append(m.Nodes, r.save(s, node, backup.AllParts()))
				r.order(orderers[0])
			}
			if findings, err := Verify(t.Context(), s, m, t.TempDir(), nil); err != nil || len(findings) > 0 {
				t.Fatalf("%v, %v", findings, err)
			}
			r.stop(orderers...)
			resumes := m.Resumes()["common"]
			for _, node := range orderers {
				r.lose(node)
				r.restore(s, node, m, backup.Replacements(m, node.Name()))
				heads, err := Inspect(r.volumes(node))
				if err != nil || len(heads) != 1 || heads[0].Height != resumes {
					t.Fatalf("%s has %+v and should have %d blocks: %v", node.Name(), heads, resumes, err)
				}
			}
			begin := time.Now()
			r.start(orderers...)
			for _, node := range orderers {
				r.order(node)
			}
			t.Logf("all order again after %s", time.Since(begin))
			r.reach(resumes+uint64(len(orderers)), orderers...)
			r.stop(orderers...)
			var heads []backup.Channel
			for _, node := range orderers {
				head, err := Inspect(r.volumes(node))
				if err != nil {
					t.Fatal(err)
				}
				heads = append(heads, head...)
			}
			for _, h := range heads {
				if h != heads[0] {
					t.Errorf("orderers have parted: %+v", heads)
				}
			}
		})
	}
}

// TestRealSingleOrderer puts one orderer back while the others serve. Raft's leader remembers
// what the orderer had acknowledged before, and tells it that more is committed than it has;
// Fabric panics then. A leader that was elected later remembers nothing. So the others are
// started again, one after the other, before it comes back.
func TestRealSingleOrderer(t *testing.T) {
	r := startReal(t, raftFiles)
	orderers := r.orderers()
	r.start(orderers...)
	r.create()
	for _, node := range orderers {
		r.order(node)
	}
	for i, node := range orderers { // each of them, since one is the leader
		s := newStore(t)
		m := backup.Manifest{Nodes: []backup.Node{r.save(s, node, backup.AllParts())}}
		others := []*network.Node{orderers[(i+1)%3], orderers[(i+2)%3]}
		r.order(node)
		for range 5 {
			r.order(others[0])
		}
		height, err := r.height(others[0])
		if err != nil {
			t.Fatal(err)
		}
		r.reach(height, orderers...)
		r.stop(node)
		r.lose(node)
		r.restore(s, node, m, nil)
		begin := time.Now()
		for _, other := range others {
			// The others must be level, or the one that is behind could be elected with the
			// help of the one that has forgotten.
			r.reach(height, others...)
			r.stop(other)
			r.start(other)
			r.order(other)
			height++
		}
		r.reach(height, others...)
		r.start(node)
		r.reach(height, node)
		r.order(node)
		t.Logf("%s is back after %s", node.Name(), time.Since(begin))
	}
}

// TestRealSingleOrdererBFT puts one back while the others serve. It asks them for what it
// lacks and needs nothing else.
func TestRealSingleOrdererBFT(t *testing.T) {
	r := startReal(t, bftFiles(t))
	orderers := r.orderers()
	r.start(orderers...)
	r.create()
	for _, node := range orderers {
		r.order(node)
	}
	node, other := orderers[1], orderers[2]
	s := newStore(t)
	m := backup.Manifest{Nodes: []backup.Node{r.save(s, node, backup.AllParts())}}
	for range 5 {
		r.order(other)
	}
	r.stop(node)
	r.lose(node)
	r.restore(s, node, m, nil)
	begin := time.Now()
	r.start(node)
	height, err := r.height(other)
	if err != nil {
		t.Fatal(err)
	}
	r.reach(height, node)
	for range 3 {
		r.order(node)
	}
	t.Logf("%s is back after %s", node.Name(), time.Since(begin))
}

// TestRealPeer restores a real peer from a copy without what Fabric can make again.
func TestRealPeer(t *testing.T) {
	r := startReal(t, raftFiles)
	orderers, peer := r.orderers(), r.n.PeerOrgs[0].Nodes[0]
	r.start(orderers...)
	r.start(peer)
	r.create()
	admin := r.m.Orgs["Org1"].Admin
	id, err := fabric.NewIdentity(r.m.Orgs["Org1"].Public.MSPID, admin.CertPEM, admin.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	connect := func() *fabric.Peer {
		p, err := fabric.NewPeer(r.endpoint(peer, peer.Address()), id)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		return p
	}
	p := connect()
	r.soon("joining", func(ctx context.Context) error { return p.Join(ctx, r.genesis()) })
	d := chaincode.Definition{Name: "basic", Sequence: 1, Parameters: chaincode.Parameters{Version: "1.0"}}
	r.soon("approving", func(ctx context.Context) error { return p.Approve(ctx, "common", d, "") })
	r.soon("committing", func(ctx context.Context) error {
		if err := p.Commit(ctx, "common", d); err != nil {
			return err
		}
		_, err := p.Committed(ctx, "common", "basic")
		return err
	})
	if _, err := Save(t.Context(), newStore(t), r.task(peer, backup.AllParts())); !errors.Is(err, ErrInUse) {
		t.Errorf("a peer that runs was saved: %v", err)
	}

	bare := backup.AllParts()
	bare.State, bare.Chaincodes, bare.Transient = false, false, false
	for name, parts := range map[string]backup.Parts{"All": backup.AllParts(), "Bare": bare} {
		s := newStore(t)
		m := backup.Manifest{Nodes: []backup.Node{r.save(s, peer, parts)}}
		if findings, err := Verify(t.Context(), s, m, t.TempDir(), nil); err != nil || len(findings) > 0 {
			t.Fatalf("%s: %v, %v", name, findings, err)
		}
		r.order(orderers[0]) // what the peer then has to learn
		height, err := r.height(orderers[0])
		if err != nil {
			t.Fatal(err)
		}
		r.stop(peer)
		r.lose(peer)
		r.restore(s, peer, m, nil)
		for _, dir := range append(stateDirs(), "production/transientstore", "production/lifecycle") {
			_, err := os.Stat(filepath.Join(r.procs.Volume(peer), dir))
			if name == "Bare" && err == nil {
				t.Errorf("%s was restored", dir)
			}
		}
		r.start(peer)
		p := connect()
		r.soon(name+": catching up", func(ctx context.Context) error {
			h, err := p.Height(ctx, "common")
			if err == nil && h < height {
				err = errors.New("behind")
			}
			return err
		})
		r.soon(name+": reading state", func(ctx context.Context) error {
			committed, err := p.Committed(ctx, "common", "basic")
			if err == nil && committed.Sequence != 1 {
				t.Errorf("%s: %+v", name, committed)
			}
			return err
		})
	}
}
