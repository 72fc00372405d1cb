package step

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/network"
)

// A probe must not hold up a network that is only just starting.
const (
	probeTimeout = 5 * time.Second // for the whole probe
	askTimeout   = 3 * time.Second // for one question
)

// probe looks what a flow has left to do and names those tasks. It only has clients'
// identities. What it cannot find out is to do: its answer is advice, the steps look again.
//
// Every node is asked itself and not about others: what peers know of each other is many
// seconds old, and a task too many costs a pod.
func (s *session) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	switch s.p.Flow {
	case "channel":
		views := make([]channelView, len(s.n.FlowChannels))
		err := eachIndex(s.n.FlowChannels, func(i int, ch *network.Channel) error {
			var err error
			views[i], err = s.viewChannel(ctx, ch)
			return err
		})
		if err != nil {
			return err
		}
		for _, v := range views {
			s.result.Todo = append(s.result.Todo, v.todo()...)
		}
	case "chaincode":
		todo := make([][]string, len(s.n.FlowChaincodes))
		err := eachIndex(s.n.FlowChaincodes, func(i int, cc *network.Chaincode) error {
			if !cc.Deployable() {
				return nil // not part of the flow
			}
			views := make([]definitionView, len(cc.Channels))
			err := eachIndex(cc.Channels, func(i int, on *network.ChaincodeChannel) error {
				var err error
				views[i], err = s.viewDefinitionTwice(ctx, cc, on)
				return err
			})
			todo[i] = todoChaincode(cc, views)
			return err
		})
		if err != nil {
			return err
		}
		s.result.Todo = slices.Concat(todo...)
	default:
		return exit.With(fmt.Errorf("flow %q does not exist; flows are channel, chaincode", s.p.Flow), exit.Invalid)
	}
	s.log.Info("probed", "todo", s.result.Todo)
	return nil
}

func eachIndex[T any](items []T, do func(int, T) error) error {
	indexes := make([]int, len(items))
	for i := range items {
		indexes[i] = i
	}
	return each(indexes, func(i int) error { return do(i, items[i]) })
}

// channelView is what the nodes say about one channel.
type channelView struct {
	ch   *network.Channel
	have map[*network.Node]bool // has joined; false also if it did not answer
}

func (v channelView) todo() []string {
	var tasks []string
	for _, o := range v.ch.OrdererOrgs {
		if !v.all(o) {
			tasks = append(tasks, v.ch.CreateTask(o))
		}
	}
	for _, o := range v.ch.Orgs {
		if !v.all(o) {
			tasks = append(tasks, v.ch.JoinTask(o))
		}
	}
	return tasks
}

func (v channelView) all(o *network.Org) bool {
	return !slices.ContainsFunc(o.Nodes, func(node *network.Node) bool { return !v.have[node] })
}

func (s *session) viewChannel(ctx context.Context, ch *network.Channel) (channelView, error) {
	v := channelView{ch: ch, have: map[*network.Node]bool{}}
	nodes := ch.Orderers()
	for _, o := range ch.Orgs {
		nodes = append(nodes, o.Nodes...)
	}
	_, id, err := s.client(ch.Orgs)
	if errors.Is(err, errNoClient) {
		s.log.Warn("cannot look", "channel", ch.Name, "found", err.Error())
		return v, nil
	}
	if err != nil {
		return v, fmt.Errorf("channel %q: %w", ch.Name, err)
	}
	errs := make([]error, len(nodes))
	err = eachIndex(nodes, func(i int, node *network.Node) error {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		if node.Org.Kind == network.Orderer {
			o, err := s.orderer(node, id)
			if err != nil {
				return err
			}
			_, errs[i] = o.Newest(ctx, ch.Name)
			if errors.Is(errs[i], fabric.ErrDenied) {
				errs[i] = nil // it is there; why it refuses us is for join to find out
			}
			return nil
		}
		p, err := s.peer(node, id)
		if err != nil {
			return err
		}
		_, errs[i] = p.Members(ctx, ch.Name)
		return nil
	})
	for i, node := range nodes {
		v.have[node] = err == nil && errs[i] == nil
		if errs[i] != nil {
			s.log.Info("not joined", "channel", ch.Name, "node", node.Name(), "found", errs[i].Error())
		}
	}
	return v, err
}

// definitionView is what the nodes say about a chaincode on one channel.
type definitionView struct {
	on        *network.ChaincodeChannel
	wanted    chaincode.Parameters
	committed *fabric.Committed        // nil for none, or if nobody could tell
	runs      map[*network.Node]string // sequence number of the definition that it could run
	silent    bool                     // somebody did not answer
	uncalled  bool                     // the init call is missing, for all that is known
}

// done reports whether the channel has the definition that is asked for.
func (v definitionView) done() bool {
	return v.committed != nil && v.committed.Equal(v.wanted)
}

// ready reports whether an organisation has nothing left to do on the channel. A peer that
// could run the committed definition has a package that its organisation approved for it.
func (v definitionView) ready(o *network.Org) bool {
	if !v.done() {
		return false
	}
	if slices.Contains(v.on.Orgs, o) && !v.committed.Approvals[o.MSPID] {
		return false
	}
	if !slices.Contains(v.on.Channel.Orgs, o) {
		return true
	}
	sequence := strconv.FormatInt(v.committed.Sequence, 10)
	return !slices.ContainsFunc(o.Nodes, func(node *network.Node) bool { return v.runs[node] != sequence })
}

// fresh reports whether all that is missing is that peers say they could run what is
// committed. Peers tell that only every 4 seconds, so it may be a matter of moments.
func (v definitionView) fresh(cc *network.Chaincode) bool {
	if v.silent || !v.done() || slices.ContainsFunc(v.on.Orgs, func(o *network.Org) bool { return !v.committed.Approvals[o.MSPID] }) {
		return false
	}
	return slices.ContainsFunc(cc.Orgs, func(o *network.Org) bool { return !v.ready(o) })
}

func todoChaincode(cc *network.Chaincode, views []definitionView) []string {
	var tasks []string
	for _, o := range cc.Orgs {
		if slices.ContainsFunc(views, func(v definitionView) bool { return !v.ready(o) }) {
			tasks = append(tasks, cc.InstallTask(o))
		}
	}
	if slices.ContainsFunc(views, func(v definitionView) bool { return !v.done() }) {
		tasks = append(tasks, cc.CommitTask())
	}
	// The smoke test makes the init call, so it is to do also if only that is missing.
	if len(tasks) > 0 || slices.ContainsFunc(views, func(v definitionView) bool { return v.uncalled }) {
		tasks = append(tasks, cc.SmokeTask())
	}
	return tasks
}

// viewDefinitionTwice looks again, as long as there is time, at what was only just committed:
// a task too many costs more than these seconds.
func (s *session) viewDefinitionTwice(ctx context.Context, cc *network.Chaincode, on *network.ChaincodeChannel) (definitionView, error) {
	for {
		v, err := s.viewDefinition(ctx, cc, on)
		if err != nil || !v.fresh(cc) {
			return v, err
		}
		if pause(ctx, s.env.Poll) != nil {
			return v, nil
		}
	}
}

func (s *session) viewDefinition(ctx context.Context, cc *network.Chaincode, on *network.ChaincodeChannel) (definitionView, error) {
	v := definitionView{on: on, runs: map[*network.Node]string{}}
	var err error
	if v.wanted, err = chaincode.Wanted(cc, on); err != nil {
		return v, err
	}
	org, id, err := s.client(on.Orgs)
	if errors.Is(err, errNoClient) {
		s.log.Warn("cannot look", "chaincode", cc.Name, "channel", on.Channel.Name, "found", err.Error())
		return v, nil
	}
	if err != nil {
		return v, fmt.Errorf("chaincode %q on channel %q: %w", cc.Name, on.Channel.Name, err)
	}
	nodes := slices.Clone(org.Nodes) // whoever answers first about the definition
	for _, o := range runners(cc, on.Channel) {
		if o != org {
			nodes = append(nodes, o.Nodes...)
		}
	}
	found := make([]*fabric.Committed, len(nodes))
	runs, silent := make([]string, len(nodes)), make([]bool, len(nodes))
	err = eachIndex(nodes, func(i int, node *network.Node) error {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		p, err := s.peer(node, id)
		if err != nil {
			return err
		}
		members, err := p.Members(ctx, on.Channel.Name)
		if err == nil {
			found[i], err = p.Committed(ctx, on.Channel.Name, cc.Name)
		}
		if err != nil {
			silent[i] = !errors.Is(err, fabric.ErrNotDefined)
			s.log.Info("not defined", "chaincode", cc.Name, "channel", on.Channel.Name, "peer", node.Name(), "found", err.Error())
			return nil
		}
		for _, m := range members {
			if m.MSPID == node.Org.MSPID && m.Endpoint == node.Address() {
				runs[i] = m.Chaincodes[cc.Name]
			}
		}
		return nil
	})
	for i, node := range nodes {
		v.runs[node] = runs[i]
		v.silent = v.silent || silent[i]
		// The highest sequence wins: a peer that is behind tells old news.
		if found[i] != nil && (v.committed == nil || found[i].Sequence > v.committed.Sequence) {
			v.committed = found[i]
		}
	}
	if err == nil && cc.Init != nil && v.done() {
		v.uncalled = !s.initialized(ctx, cc, on, id)
	}
	return v, err
}

// initialized asks the peers that run the chaincode, one after the other, whether it had its
// init call. Only a yes is believed.
func (s *session) initialized(ctx context.Context, cc *network.Chaincode, on *network.ChaincodeChannel, id fabric.Identity) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for _, o := range runners(cc, on.Channel) {
		for _, node := range o.Nodes {
			p, err := s.peer(node, id)
			var yes bool
			if err == nil {
				yes, err = p.Initialized(ctx, on.Channel.Name, cc.Name, cc.Init.Function, cc.Init.Args...)
			}
			if err == nil {
				return yes
			}
			s.log.Info("not initialized", "chaincode", cc.Name, "channel", on.Channel.Name, "peer", node.Name(), "found", err.Error())
		}
	}
	return false
}
