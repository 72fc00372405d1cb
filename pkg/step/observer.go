package step

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/network"
)

// closeBehind is how many blocks a node may be behind the others and still count as serving:
// while transactions keep coming, two questions asked one after the other are never answered
// alike.
const closeBehind = 3

// Observer looks at nodes for those who stop and start them. It asks as a client, with what
// the pod mounts, and changes nothing.
type Observer struct{ s *session }

// NewObserver makes an observer of the network in env.Root.
func NewObserver(env Env) (*Observer, error) {
	s, err := newSession("observe", Params{}, env.withDefaults())
	if err != nil {
		return nil, err
	}
	return &Observer{s}, nil
}

// Network is the network that is observed.
func (o *Observer) Network() *network.Network { return o.s.n }

// Close ends all connections.
func (o *Observer) Close() { o.s.close() }

// Heights are the numbers of blocks a node has, by channel. A channel that the node has not
// joined is left out; a node that does not answer is an error.
func (o *Observer) Heights(ctx context.Context, node *network.Node) (map[string]uint64, error) {
	node, err := o.own(node)
	if err != nil {
		return nil, err
	}
	heights := map[string]uint64{}
	for _, ch := range o.channels(node) {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		h, err := o.height(ctx, ch, node)
		cancel()
		if errors.Is(err, fabric.ErrNoChannel) {
			continue
		}
		if err != nil {
			return nil, err
		}
		heights[ch.Name] = h
	}
	return heights, nil
}

// Serving is nil if the node does its part in every channel that floor names, so that
// another one may be stopped: it has those blocks and is close behind the others, an orderer
// would order, and a peer knows enough others, and others know it, to have transactions endorsed.
func (o *Observer) Serving(ctx context.Context, node *network.Node, floor map[string]uint64) error {
	node, err := o.own(node)
	if err != nil {
		return err
	}
	for _, ch := range o.channels(node) {
		least, joined := floor[ch.Name]
		if !joined {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 2*askTimeout)
		err := o.serving(ctx, ch, node, least)
		cancel()
		if err != nil {
			return exit.Transient(fmt.Errorf("channel %q: %w", ch.Name, err))
		}
	}
	return nil
}

func (o *Observer) serving(ctx context.Context, ch *network.Channel, node *network.Node, least uint64) error {
	height, err := o.height(ctx, ch, node)
	if err != nil {
		return err
	}
	for _, other := range ch.Orderers() {
		if other == node {
			continue
		}
		if h, err := o.height(ctx, ch, other); err == nil && h > closeBehind {
			least = max(least, h-closeBehind)
		}
	}
	if height < least {
		return fmt.Errorf("%s has %d blocks, others %d", node.Name(), height, least)
	}
	if node.Org.Kind == network.Orderer {
		client, err := o.orderer(ch, node)
		if err != nil {
			return err
		}
		return client.Ready(ctx, ch.Name)
	}
	return o.endorsing(ctx, ch, node)
}

// endorsing is nil if the peer knows peers that satisfy each chaincode's policy, and another
// peer of its organisation, or if it has none of the channel, knows it with what it has
// installed: the gateways of others would choose it.
func (o *Observer) endorsing(ctx context.Context, ch *network.Channel, node *network.Node) error {
	peer, err := o.peer(ch, node)
	if err != nil {
		return err
	}
	members, err := peer.Members(ctx, ch.Name)
	if err != nil {
		return err
	}
	own := slices.IndexFunc(members, func(m fabric.Member) bool { return m.Endpoint == node.Address() })
	if own < 0 {
		return fmt.Errorf("%s does not list itself yet", node.Name())
	}
	for _, name := range slices.Sorted(maps.Keys(members[own].Chaincodes)) {
		if strings.HasPrefix(name, "_") { // the peer's own, like _lifecycle
			continue
		}
		if err := peer.Endorsable(ctx, ch.Name, name); err != nil {
			return fmt.Errorf("%s, chaincode %s: %w", node.Name(), name, err)
		}
	}
	return o.known(ctx, ch, node, len(members[own].Chaincodes))
}

// known asks the neighbours whether they know the peer with its chaincodes. One that does is
// enough, and so is having no neighbour that answers.
func (o *Observer) known(ctx context.Context, ch *network.Channel, node *network.Node, chaincodes int) error {
	var doubt error
	for _, other := range neighbours(ch, node) {
		peer, err := o.peer(ch, other)
		if err != nil {
			return err
		}
		members, err := peer.Members(ctx, ch.Name)
		if err != nil {
			continue // it may be down itself
		}
		at := slices.IndexFunc(members, func(m fabric.Member) bool { return m.Endpoint == node.Address() })
		if at >= 0 && len(members[at].Chaincodes) >= chaincodes {
			return nil
		}
		doubt = fmt.Errorf("%s has not heard of %s and its chaincodes yet", other.Name(), node.Name())
	}
	return doubt
}

// neighbours are the channel's other peers: those of the organisation, or everybody's if it
// has none.
func neighbours(ch *network.Channel, node *network.Node) []*network.Node {
	var near, far []*network.Node
	for _, org := range ch.Orgs {
		for _, n := range org.Nodes {
			switch {
			case n == node:
			case org == node.Org:
				near = append(near, n)
			default:
				far = append(far, n)
			}
		}
	}
	if len(near) > 0 {
		return near
	}
	return far
}

// own is the node of the observer's network: callers may have loaded the files themselves.
func (o *Observer) own(node *network.Node) (*network.Node, error) {
	for _, n := range o.s.n.Nodes() {
		if n.Name() == node.Name() {
			return n, nil
		}
	}
	return nil, fmt.Errorf("%s is not in crypto-config.yaml", node.Name())
}

// channels are those the node's organisation takes part in.
func (o *Observer) channels(node *network.Node) []*network.Channel {
	var all []*network.Channel
	for _, ch := range o.s.n.Channels {
		if slices.Contains(ch.Orgs, node.Org) || slices.Contains(ch.OrdererOrgs, node.Org) {
			all = append(all, ch)
		}
	}
	return all
}

func (o *Observer) height(ctx context.Context, ch *network.Channel, node *network.Node) (uint64, error) {
	if node.Org.Kind == network.Orderer {
		client, err := o.orderer(ch, node)
		if err != nil {
			return 0, err
		}
		block, err := client.Newest(ctx, ch.Name)
		if err != nil {
			return 0, err
		}
		return block.GetHeader().GetNumber() + 1, nil
	}
	peer, err := o.peer(ch, node)
	if err != nil {
		return 0, err
	}
	return peer.Height(ctx, ch.Name)
}

func (o *Observer) orderer(ch *network.Channel, node *network.Node) (*fabric.Orderer, error) {
	_, id, err := o.s.client(ch.Orgs)
	if err != nil {
		return nil, err
	}
	return o.s.orderer(node, id)
}

func (o *Observer) peer(ch *network.Channel, node *network.Node) (*fabric.Peer, error) {
	_, id, err := o.s.client(ch.Orgs)
	if err != nil {
		return nil, err
	}
	return o.s.peer(node, id)
}
