package step

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"

	"pivt.io/pivt/pkg/configtx"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// leaderWait bounds how long create waits for a new channel's leader. It is a courtesy to the
// steps that follow: they wait themselves.
const leaderWait = 10 * time.Second

// membership is what is known of one orderer and the channel.
type membership int

const (
	unknown membership = iota // did not answer
	absent
	present
)

// ordererState is an orderer as create observed it.
type ordererState struct {
	node *network.Node
	own  bool // of the step's organisation, so that the step can make it join
	is   membership
	err  error // why unknown
}

// creation is what create decided.
type creation struct {
	join []*network.Node // these join now
	from []*network.Node // with the genesis block of one of these, or with a new one if there is none
	wait error           // and something remains that only time can tell
}

// decideCreate never makes a genesis block while any orderer of the channel is silent: it
// might have the channel, made from files that have changed since, and then the channel
// would split.
func decideCreate(states []ordererState) creation {
	var c creation
	var missing []*network.Node
	var silent, ownSilent []error
	for _, s := range states {
		switch {
		case s.is == present:
			c.from = append(c.from, s.node)
		case s.is == absent && s.own:
			missing = append(missing, s.node)
		case s.is == unknown:
			silent = append(silent, s.err)
			if s.own {
				ownSilent = append(ownSilent, s.err)
			}
		}
	}
	if len(missing) > 0 && len(c.from) == 0 && len(silent) > 0 {
		return creation{wait: together(silent)}
	}
	c.join = missing
	c.wait = together(ownSilent)
	return c
}

// create makes the orderers of one organisation join the channel.
func (s *session) create(ctx context.Context) error {
	ch, err := s.channel()
	if err != nil {
		return err
	}
	if s.p.Org == "" && len(ch.OrdererOrgs) == 1 {
		s.p.Org = ch.OrdererOrgs[0].Name
	}
	org, err := s.org(network.Orderer)
	if err != nil {
		return err
	}
	err = s.until(ctx, tryTimeout, func(ctx context.Context) error { return s.createOnce(ctx, ch, org) })
	if err != nil {
		return fmt.Errorf("channel %q: %w", ch.Name, err)
	}
	if len(s.result.Changed) == 0 {
		s.log.Info("nothing to do", "found", "all orderers have joined")
		return nil
	}
	s.awaitLeader(ctx, ch, org)
	return nil
}

func (s *session) createOnce(ctx context.Context, ch *network.Channel, org *network.Org) error {
	admin, err := s.admin(org)
	if err != nil {
		return err
	}
	states := make([]ordererState, len(ch.Orderers()))
	var toFill []*ordererState
	for i, node := range ch.Orderers() {
		states[i] = ordererState{node: node, own: node.Org == org}
		toFill = append(toFill, &states[i])
	}
	if err := each(toFill, func(state *ordererState) error { return s.observeOrderer(ctx, ch, state, admin) }); err != nil {
		return err
	}
	d := decideCreate(states)
	if len(d.join) == 0 {
		return d.wait
	}
	if s.p.DryRun {
		for _, node := range d.join {
			s.changed("channel %s: %s joined", ch.Name, node.Name())
		}
		return d.wait
	}
	block, err := s.firstBlock(ctx, ch, d.from, admin)
	if err != nil {
		return err
	}
	err = each(d.join, func(node *network.Node) error { return s.joinOrderer(ctx, ch, node, block) })
	if err != nil {
		return err
	}
	return d.wait
}

// observeOrderer fills in one state. Other organisations' orderers are asked for a block,
// because their admin API is not open to us.
func (s *session) observeOrderer(ctx context.Context, ch *network.Channel, state *ordererState, admin fabric.Identity) error {
	var err error
	if state.own {
		err = s.onParticipation(state.node, func(p *fabric.Participation) error {
			_, err := p.Channel(ctx, ch.Name)
			return err
		})
	} else {
		var o *fabric.Orderer
		if o, err = s.orderer(state.node, admin); err != nil {
			return err
		}
		_, err = o.Newest(ctx, ch.Name)
	}
	switch {
	case err == nil:
		state.is = present
	case errors.Is(err, fabric.ErrNoChannel):
		state.is = absent
	case exit.IsTransient(err):
		state.err = err
	default:
		return err
	}
	return nil
}

// firstBlock is the channel's genesis block: the one in use, or a new one.
func (s *session) firstBlock(ctx context.Context, ch *network.Channel, from []*network.Node, id fabric.Identity) (*common.Block, error) {
	if len(from) > 0 {
		return s.readGenesis(ctx, ch, from, id)
	}
	orgs := map[string]*pki.Public{}
	for _, list := range [][]*network.Org{ch.OrdererOrgs, ch.Orgs} {
		for _, o := range list {
			public, err := s.publicOf(o)
			if err != nil {
				return nil, err
			}
			orgs[o.Name] = public
		}
	}
	return configtx.Genesis(ch, orgs)
}

// readGenesis reads block 0 from the first of the orderers that gives it.
func (s *session) readGenesis(ctx context.Context, ch *network.Channel, from []*network.Node, id fabric.Identity) (*common.Block, error) {
	s.mu.Lock()
	block := s.genesis[ch.Name]
	s.mu.Unlock()
	if block != nil {
		return block, nil
	}
	var errs []error
	for _, node := range from {
		o, err := s.orderer(node, id)
		if err != nil {
			return nil, err
		}
		oneCtx, cancel := context.WithTimeout(ctx, 5*time.Second)
		block, err := o.Block(oneCtx, ch.Name, 0)
		cancel()
		switch {
		case err == nil:
			s.mu.Lock()
			s.genesis[ch.Name] = block
			s.mu.Unlock()
			return block, nil
		case errors.Is(err, fabric.ErrDenied):
			return nil, exit.WithHint(err, "the channel on the network was made without this organisation; it has to be added to the channel first")
		}
		errs = append(errs, later(err, fabric.ErrNoChannel))
	}
	return nil, together(errs)
}

func (s *session) joinOrderer(ctx context.Context, ch *network.Channel, node *network.Node, block *common.Block) error {
	return s.onParticipation(node, func(p *fabric.Participation) error {
		err := p.Join(ctx, block)
		faster := errors.Is(err, fabric.ErrExists)
		if err != nil && !faster {
			return err
		}
		info, err := p.Channel(ctx, ch.Name)
		if err != nil {
			return later(err, fabric.ErrNoChannel)
		}
		if !faster {
			s.changed("channel %s: %s joined", ch.Name, node.Name())
		}
		s.log.Info("orderer has the channel", "orderer", node.Name(), "relation", info.Relation, "status", info.Status, "height", info.Height)
		return nil
	})
}

func (s *session) onParticipation(node *network.Node, do func(*fabric.Participation) error) error {
	p, err := s.participation(node)
	if err != nil {
		return err
	}
	defer p.Close()
	return do(p)
}

// awaitLeader waits a little for the channel to order transactions, if this organisation's
// orderers are enough for that: those of others may be waiting for this very step to end.
func (s *session) awaitLeader(ctx context.Context, ch *network.Channel, org *network.Org) {
	if s.p.DryRun || len(org.Nodes) < quorum(ch) {
		return
	}
	begin := s.env.Now()
	ctx, cancel := context.WithTimeout(ctx, min(leaderWait, s.p.Wait))
	defer cancel()
	admin, err := s.admin(org)
	if err != nil {
		return
	}
	for {
		for _, node := range org.Nodes {
			o, err := s.orderer(node, admin)
			if err != nil {
				return
			}
			if err := o.Ready(ctx, ch.Name); err == nil {
				s.log.Info("channel has a leader", "elapsed", s.env.Now().Sub(begin).Round(time.Millisecond).String())
				return
			}
		}
		if pause(ctx, s.env.Poll/5) != nil {
			s.log.Warn("channel has no leader yet", "elapsed", s.env.Now().Sub(begin).Round(time.Millisecond).String())
			return
		}
	}
}

// quorum is how many orderers must agree before the channel orders anything.
func quorum(ch *network.Channel) int {
	n := len(ch.Orderers())
	if ch.Consensus == network.BFT {
		f := (n - 1) / 3
		return (n + f + 2) / 2 // ceil((n+f+1)/2), as in the SmartBFT library
	}
	return n/2 + 1
}
