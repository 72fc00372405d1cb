package backup

import (
	"pivt.io/pivt/pkg/network"
)

// Replacement is one channel of an orderer that is restored from another orderer's copy.
type Replacement struct {
	Channel string `json:"channel"`
	From    Node   `json:"from"`
	// Log says whether the consensus log comes along. Raft's must: it belongs to the blocks.
	// That of BFT is signed by its node and stays empty; the last block says where to go on.
	Log bool `json:"log,omitempty"`
}

// Replacements says which channels of an orderer come from another one's copy when all
// orderers of the network are restored.
//
// Orderers are saved one after the other while the rest goes on, so their copies are of
// different moments. Put together they would be a quorum whose members have forgotten, each by
// another amount, what they had acknowledged: two could elect a leader that never heard of
// blocks which the third has already written, and the channel would fork. So all of a channel's
// orderers start from one copy. It is the earliest that has every block any peer was
// saved with: what came later may name private data that no peer's copy has.
//
// A single orderer that is restored while the others serve has none: it learns from them, once
// they have forgotten what it had acknowledged (see package keeper).
func Replacements(m Manifest, node string) []Replacement {
	own, ok := m.Node(node)
	if !ok || own.Kind != string(network.Orderer) {
		return nil
	}
	var all []Replacement
	for _, c := range own.Channels {
		from := m.leader(c.Name)
		if from.Name == node {
			continue
		}
		all = append(all, Replacement{Channel: c.Name, From: from, Log: m.Consensus[c.Name] != network.BFT})
	}
	return all
}

// leader is the orderer from whose copy a channel goes on.
func (m Manifest) leader(channel string) Node {
	var best, top Node
	floor := m.top(channel, network.Peer).Height
	height := func(n Node) uint64 { c, _ := n.Channel(channel); return c.Height }
	for _, n := range m.Nodes {
		if n.Kind != string(network.Orderer) || height(n) == 0 {
			continue
		}
		if top.Name == "" || height(n) > height(top) {
			top = n
		}
		if height(n) >= floor && (best.Name == "" || height(n) < height(best)) {
			best = n
		}
	}
	if best.Name == "" {
		return top
	}
	return best
}

// Resumes is the height from which each channel goes on after all nodes are restored.
func (m Manifest) Resumes() map[string]uint64 {
	all := map[string]uint64{}
	for _, n := range m.Nodes {
		for _, c := range n.Channels {
			if n.Kind == string(network.Orderer) {
				leader, _ := m.leader(c.Name).Channel(c.Name)
				all[c.Name] = leader.Height
			} else if _, ok := all[c.Name]; !ok {
				all[c.Name] = m.top(c.Name, network.Peer).Height
			}
		}
	}
	return all
}
