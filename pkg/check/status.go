package check

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/kube"
	"pivt.io/pivt/pkg/network"
)

// Status is what a network looks like now. Its JSON is documented and versioned.
type Status struct {
	Namespace string `json:"namespace"`
	// Ready says that all nodes are ready and everything the files ask for is there.
	Ready      bool        `json:"ready"`
	Nodes      []Node      `json:"nodes"`
	Channels   []Channel   `json:"channels"`
	Chaincodes []Chaincode `json:"chaincodes"`
}

// Node is one peer or orderer.
type Node struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`
	Org    string `json:"org"`
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
}

// Channel is one channel of the files.
type Channel struct {
	Name string `json:"name"`
	// Height counts blocks, as the farthest orderer has them; 0 if the channel is not there.
	Height uint64        `json:"height"`
	Peers  []ChannelPeer `json:"peers"`
	Reason string        `json:"reason,omitempty"`
}

// ChannelPeer is one peer's share of a channel.
type ChannelPeer struct {
	Name   string `json:"name"`
	Joined bool   `json:"joined"`
	Height uint64 `json:"height,omitempty"` // as other peers last heard, so it may lag
}

// Chaincode is one chaincode on one channel of the files.
type Chaincode struct {
	Name      string   `json:"name"`
	Channel   string   `json:"channel"`
	Version   string   `json:"version,omitempty"`
	Sequence  int64    `json:"sequence,omitempty"`
	Approved  []string `json:"approved"`  // orgs
	Installed []string `json:"installed"` // peers that can run the committed version
	Ready     bool     `json:"ready"`
	Reason    string   `json:"reason,omitempty"`
}

// askTimeout bounds one question to one node.
const askTimeout = 10 * time.Second

// Collect gathers the status. A node that does not answer is part of the status and no
// error; an error means that the cluster itself could not be asked.
func Collect(ctx context.Context, a *Access) (*Status, error) {
	s := &Status{Namespace: a.Kube.Namespace(), Channels: make([]Channel, len(a.Network.Channels))}
	state, err := a.Kube.Workloads(ctx, "app.kubernetes.io/part-of="+network.Release)
	if err != nil {
		return nil, err
	}
	up := s.nodes(a, state)
	var mu sync.Mutex
	var g errgroup.Group
	for i, ch := range a.Network.Channels {
		g.Go(func() error {
			channel, chaincodes := a.channel(ctx, ch, up)
			mu.Lock()
			defer mu.Unlock()
			s.Channels[i] = channel
			s.Chaincodes = append(s.Chaincodes, chaincodes...)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	sort.Slice(s.Chaincodes, func(i, j int) bool {
		x, y := s.Chaincodes[i], s.Chaincodes[j]
		return x.Name < y.Name || x.Name == y.Name && x.Channel < y.Channel
	})
	s.Ready = s.complete()
	return s, ctx.Err()
}

func (s *Status) nodes(a *Access, state kube.State) (up map[string]bool) {
	found := map[string]kube.Workload{}
	for _, w := range state.Workloads {
		found[w.Name] = w
	}
	up = map[string]bool{}
	for _, n := range a.Network.Nodes() {
		w, ok := found[n.Name()]
		reason := w.Reason
		if !ok {
			reason = "not installed"
		}
		up[n.Name()] = w.Ready
		s.Nodes = append(s.Nodes, Node{Name: n.Name(), Kind: string(n.Org.Kind), Org: n.Org.Name, Ready: w.Ready, Reason: reason})
	}
	return up
}

func (s *Status) complete() bool {
	for _, n := range s.Nodes {
		if !n.Ready {
			return false
		}
	}
	for _, c := range s.Channels {
		if c.Height == 0 {
			return false
		}
		for _, p := range c.Peers {
			if !p.Joined {
				return false
			}
		}
	}
	for _, c := range s.Chaincodes {
		if !c.Ready {
			return false
		}
	}
	return true
}

// channel asks the orderers for the channel's height, and one peer that has joined for
// everything else.
func (a *Access) channel(ctx context.Context, ch *network.Channel, up map[string]bool) (Channel, []Chaincode) {
	out := Channel{Name: ch.Name}
	out.Height, out.Reason = a.height(ctx, ch, up)
	members, peer, err := a.members(ctx, ch, up)
	if peer != nil {
		defer peer.Close()
	}
	if err != nil && out.Reason == "" {
		out.Reason = err.Error()
	}
	byEndpoint := map[string]fabric.Member{}
	for _, m := range members {
		byEndpoint[m.Endpoint] = m
	}
	for _, o := range ch.Orgs {
		for _, n := range o.Nodes {
			m, joined := byEndpoint[n.Address()]
			out.Peers = append(out.Peers, ChannelPeer{Name: n.Name(), Joined: joined, Height: m.Height})
		}
	}
	var chaincodes []Chaincode
	for _, cc := range a.Network.Chaincodes {
		for _, on := range cc.Channels {
			if on.Channel == ch && cc.Image != "" {
				chaincodes = append(chaincodes, a.chaincode(ctx, cc, on, peer, byEndpoint))
			}
		}
	}
	return out, chaincodes
}

func (a *Access) height(ctx context.Context, ch *network.Channel, up map[string]bool) (height uint64, reason string) {
	reason = "no orderer is ready"
	for _, n := range ch.Orderers() {
		if !up[n.Name()] || len(ch.Orgs) == 0 {
			continue
		}
		h, err := a.ordererHeight(ctx, n, ch)
		switch {
		case errors.Is(err, fabric.ErrNoChannel):
			reason = "not created"
		case err != nil:
			reason = err.Error()
		case h > height:
			height = h
		}
	}
	if height > 0 {
		reason = ""
	}
	return height, reason
}

func (a *Access) ordererHeight(ctx context.Context, n *network.Node, ch *network.Channel) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	o, err := a.Orderer(n, ch.Orgs[0])
	if err != nil {
		return 0, err
	}
	defer o.Close()
	block, err := o.Newest(ctx, ch.Name)
	if err != nil {
		return 0, err
	}
	return block.GetHeader().GetNumber() + 1, nil
}

// members finds a peer that knows the channel's peers. The peer stays open for the caller.
func (a *Access) members(ctx context.Context, ch *network.Channel, up map[string]bool) ([]fabric.Member, *fabric.Peer, error) {
	err := errors.New("no peer is ready")
	for _, o := range ch.Orgs {
		for _, n := range o.Nodes {
			if !up[n.Name()] {
				continue
			}
			var members []fabric.Member
			var p *fabric.Peer
			if members, p, err = a.askMembers(ctx, n, ch); err == nil {
				return members, p, nil
			}
		}
	}
	return nil, nil, err
}

func (a *Access) askMembers(ctx context.Context, n *network.Node, ch *network.Channel) ([]fabric.Member, *fabric.Peer, error) {
	p, err := a.Peer(n, AsClient)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	members, err := p.Members(ctx, ch.Name)
	if err != nil {
		p.Close()
		return nil, nil, err
	}
	return members, p, nil
}

func (a *Access) chaincode(ctx context.Context, cc *network.Chaincode, on *network.ChaincodeChannel, p *fabric.Peer, members map[string]fabric.Member) Chaincode {
	out := Chaincode{Name: cc.Name, Channel: on.Channel.Name, Approved: []string{}, Installed: []string{}}
	if p == nil {
		out.Reason = "no peer of the channel answers"
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	d, err := p.Committed(ctx, on.Channel.Name, cc.Name)
	switch {
	case errors.Is(err, fabric.ErrNotDefined):
		out.Reason = "not committed"
		return out
	case err != nil:
		out.Reason = err.Error()
		return out
	}
	out.Version, out.Sequence = d.Version, d.Sequence
	for _, o := range on.Channel.Orgs {
		if d.Approvals[o.MSPID] {
			out.Approved = append(out.Approved, o.Name)
		}
	}
	missing := 0
	for _, o := range cc.Orgs {
		for _, n := range o.Nodes {
			m, joined := members[n.Address()]
			if joined && m.Chaincodes[cc.Name] == d.Version {
				out.Installed = append(out.Installed, n.Name())
			} else if contains(on.Channel.Orgs, o) {
				missing++
			}
		}
	}
	switch {
	case d.Version != cc.Version:
		out.Reason = fmt.Sprintf("the files ask for version %s", cc.Version)
	case missing > 0:
		out.Reason = fmt.Sprintf("%d peers cannot run it yet", missing)
	}
	out.Ready = out.Reason == ""
	return out
}

func contains(orgs []*network.Org, o *network.Org) bool {
	for _, x := range orgs {
		if x == o {
			return true
		}
	}
	return false
}
