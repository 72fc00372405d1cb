package volume

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/ledger"
	"pivt.io/pivt/pkg/network"
)

// votes compare the nodes of a channel. Whoever agrees on a block agrees on all before it, so
// it is enough to remember the hashes of those blocks with which some node ends. What peers
// found out about transactions is not part of that chain and gets one of its own.
type votes struct {
	ends     map[string]map[uint64]bool // by channel: blocks with which a node ends
	channels map[string]*poll
}

// poll is what all nodes said about a channel.
type poll struct {
	hashes   map[span][]vote
	outcomes map[span][]vote
}

// span are the blocks that a vote is about. Everybody who has a block's hash speaks for all
// before it; an outcome is only as old as the peer's first block.
type span struct{ first, last uint64 }

type vote struct{ node, value string }

func newVotes(m backup.Manifest) *votes {
	v := &votes{ends: map[string]map[uint64]bool{}, channels: map[string]*poll{}}
	for _, n := range m.Nodes {
		for _, c := range n.Channels {
			if v.ends[c.Name] == nil {
				v.ends[c.Name] = map[uint64]bool{}
				v.channels[c.Name] = &poll{hashes: map[span][]vote{}, outcomes: map[span][]vote{}}
			}
			v.ends[c.Name][c.Height-1] = true
		}
	}
	return v
}

// ballot is what one node says about a channel.
type ballot struct {
	node    string
	ends    map[uint64]bool
	poll    *poll
	peer    bool
	began   bool
	first   uint64
	outcome [sha256.Size]byte
}

func (v *votes) ballot(n backup.Node, channel string) *ballot {
	return &ballot{node: n.Name, ends: v.ends[channel], poll: v.channels[channel], peer: n.Kind == string(network.Peer)}
}

func (b *ballot) block(at ledger.Block) {
	if !b.began {
		b.began, b.first = true, at.Number
	}
	if b.peer {
		b.outcome = sha256.Sum256(append(b.outcome[:], at.Outcome...))
	}
	if !b.ends[at.Number] {
		return
	}
	hash, outcome := span{0, at.Number}, span{b.first, at.Number}
	b.poll.hashes[hash] = append(b.poll.hashes[hash], vote{b.node, hex.EncodeToString(at.Hash)})
	if b.peer {
		b.poll.outcomes[outcome] = append(b.poll.outcomes[outcome], vote{b.node, hex.EncodeToString(b.outcome[:])})
	}
}

// findings name the nodes that differ from most others, each once for a channel.
func (v *votes) findings() []Finding {
	var all []Finding
	for _, channel := range slices.Sorted(maps.Keys(v.channels)) {
		p, named := v.channels[channel], map[string]bool{}
		differ := func(votes map[span][]vote, reason func(is, most vote) string) {
			for _, at := range slices.SortedFunc(maps.Keys(votes), span.compare) {
				// Who has been named has other blocks, and no say in what follows from them.
				say := slices.DeleteFunc(votes[at], func(v vote) bool { return named[v.node] })
				if len(say) == 0 {
					continue
				}
				most := majority(say)
				for _, is := range say {
					if is.value == most.value {
						continue
					}
					named[is.node] = true
					all = append(all, Finding{Node: is.node, Volume: Data, Channel: channel, Block: fmt.Sprint(at.last), Reason: reason(is, most)})
				}
			}
		}
		differ(p.hashes, func(is, most vote) string {
			return fmt.Sprintf("it has hash %s, on %s it has %s", is.value, most.node, most.value)
		})
		differ(p.outcomes, func(_, most vote) string {
			return fmt.Sprintf("validation codes or state hashes, here or earlier, are not those of %s", most.node)
		})
	}
	return all
}

func (s span) compare(other span) int {
	return cmp.Or(cmp.Compare(s.last, other.last), cmp.Compare(s.first, other.first))
}

// majority is the vote of which there are most, the first of them if there are as many of
// another.
func majority(votes []vote) vote {
	count := map[string]int{}
	for _, v := range votes {
		count[v.value]++
	}
	return slices.MaxFunc(votes, func(a, b vote) int { return cmp.Compare(count[a.value], count[b.value]) })
}
