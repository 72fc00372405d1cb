package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/keeper"
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
	// Backup is what the namespace remembers of its backups; nil if it has never had one.
	Backup *backup.Status `json:"backup,omitempty"`
}

// Node is one peer or orderer.
type Node struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`
	Org    string `json:"org"`
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
	// Held is set while a backup or a restore has the node in hand.
	Held *Held `json:"held,omitempty"`
}

// Held says who has a node in hand, and how it comes to be let go.
type Held struct {
	By    string    `json:"by"` // backup or restore
	Key   string    `json:"key"`
	Since time.Time `json:"since"`
	Cure  string    `json:"cure"`
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
	Height uint64 `json:"height,omitempty"` // as the peer last told others, so it may lag a second
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

// notInstalled is the reason of a node that the cluster does not know.
const notInstalled = "not installed"

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
	held, err := keeper.Held(ctx, a.Kube.Core(), a.Kube.Namespace())
	if err != nil {
		return nil, kube.Explain(err)
	}
	up := s.nodes(a, state, held)
	s.backups(ctx, a)
	stuck, err := a.Kube.StuckPods(ctx, chaincodePods)
	if err != nil {
		stuck = nil // without the right to see pods there is nothing to tell of them
	}
	var mu sync.Mutex
	var g errgroup.Group
	for i, ch := range a.Network.Channels {
		g.Go(func() error {
			channel, chaincodes := a.channel(ctx, ch, up, stuck)
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

func (s *Status) nodes(a *Access, state kube.State, held []keeper.Hold) (up map[string]bool) {
	found := map[string]kube.Workload{}
	for _, w := range state.Workloads {
		found[w.Name] = w
	}
	holds := map[string]keeper.Hold{}
	for _, h := range held {
		holds[h.Node] = h
	}
	up = map[string]bool{}
	for _, n := range a.Network.Nodes() {
		w, ok := found[n.Name()]
		one := Node{Name: n.Name(), Kind: string(n.Org.Kind), Org: n.Org.Name, Ready: w.Ready, Reason: w.Reason}
		if !ok {
			one.Reason = notInstalled
		}
		if h, ok := holds[n.Name()]; ok {
			one.Held = &Held{By: string(h.By), Key: h.Key, Since: h.Since, Cure: h.Cure()}
			if !h.Running { // Kubernetes calls a set of no pods complete
				one.Ready, one.Reason = false, fmt.Sprintf("stopped by %s %s", h.By, h.Key)
			}
		}
		up[n.Name()] = one.Ready
		s.Nodes = append(s.Nodes, one)
	}
	return up
}

// backups takes over what is known of backups; without the right to read it there is nothing
// to tell.
func (s *Status) backups(ctx context.Context, a *Access) {
	known, err := keeper.ReadStatus(ctx, a.Kube.Core(), a.Kube.Namespace())
	if err == nil && known.Any() {
		s.Backup = &known
	}
}

func (s *Status) complete() bool {
	for _, n := range s.Nodes {
		if !n.Ready {
			return false
		}
	}
	for _, c := range s.Channels {
		if !c.complete() {
			return false
		}
	}
	for _, c := range s.Chaincodes {
		if !c.Ready {
			return false
		}
	}
	return true
}

func (c Channel) complete() bool {
	return c.Height > 0 && !slices.ContainsFunc(c.Peers, func(p ChannelPeer) bool { return !p.Joined })
}

// channel asks the orderers for the channel's height, and every peer about itself.
func (a *Access) channel(ctx context.Context, ch *network.Channel, up map[string]bool, stuck []kube.StuckPod) (Channel, []Chaincode) {
	out := Channel{Name: ch.Name}
	out.Height, out.Reason = a.height(ctx, ch, up)
	views := a.peers(ctx, ch, up)
	for _, v := range views {
		p := ChannelPeer{Name: v.node.Name(), Joined: v.self != nil}
		if v.self != nil {
			p.Height = v.self.Height
		} else if out.Reason == "" && !errors.Is(v.err, fabric.ErrNoChannel) {
			out.Reason = v.err.Error()
		}
		out.Peers = append(out.Peers, p)
	}
	var chaincodes []Chaincode
	for _, cc := range a.Network.Chaincodes {
		for _, on := range cc.Channels {
			if on.Channel == ch && cc.Deployable() {
				chaincodes = append(chaincodes, a.chaincode(ctx, cc, on, views, stuck))
			}
		}
	}
	return out, chaincodes
}

// peerView is what one peer says about itself; self is nil if it has not joined.
type peerView struct {
	node *network.Node
	self *fabric.Member
	err  error
}

func (a *Access) peers(ctx context.Context, ch *network.Channel, up map[string]bool) []peerView {
	var views []peerView
	for _, o := range ch.Orgs {
		for _, n := range o.Nodes {
			views = append(views, peerView{node: n, err: errors.New(n.Name() + " is not ready")})
		}
	}
	var wg sync.WaitGroup
	for i := range views {
		if v := &views[i]; up[v.node.Name()] {
			wg.Go(func() { v.self, v.err = a.member(ctx, v.node, ch) })
		}
	}
	wg.Wait()
	return views
}

// member asks a peer about itself; what others have heard of it may be old.
func (a *Access) member(ctx context.Context, n *network.Node, ch *network.Channel) (*fabric.Member, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	p, err := a.Peer(n, AsClient)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	members, err := p.Members(ctx, ch.Name)
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		if m.MSPID == n.Org.MSPID && m.Endpoint == n.Address() {
			return &m, nil
		}
	}
	return nil, fmt.Errorf("%s does not name itself among the peers of channel %q", n.Name(), ch.Name)
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
