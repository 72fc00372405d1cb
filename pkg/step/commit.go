package step

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/network"
)

// commit commits the chaincode's definition to each of its channels.
func (s *session) commit(ctx context.Context) error {
	cc, err := s.chaincode()
	if err != nil {
		return err
	}
	err = each(cc.Channels, func(on *network.ChaincodeChannel) error {
		wanted, err := chaincode.Wanted(cc, on)
		if err != nil {
			return err
		}
		org, id, err := s.committer(on)
		if err != nil {
			return err
		}
		var e endorsing
		err = s.until(ctx, tryTimeout, func(ctx context.Context) error {
			return s.commitOn(ctx, approval{cc: cc, on: on, org: org, admin: id, wanted: wanted}, &e)
		})
		if err != nil {
			return fmt.Errorf("on channel %q: %w", on.Channel.Name, err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("chaincode %q: %w", cc.Name, err)
	}
	return nil
}

// committer is who commits on a channel. Any writer may, so a client does; the mounted admin
// is the way out if no client of the channel's organisations is mounted.
func (s *session) committer(on *network.ChaincodeChannel) (*network.Org, fabric.Identity, error) {
	org, id, err := s.client(on.Orgs)
	if err == nil {
		return org, id, nil
	}
	if o := s.n.Org(s.p.Org); o != nil && slices.Contains(on.Channel.Orgs, o) {
		if id, adminErr := s.admin(o); adminErr == nil {
			return o, id, nil
		}
	}
	return nil, fabric.Identity{}, fmt.Errorf("on channel %q: %w", on.Channel.Name, err)
}

// readiness is what commit observed of the approvals; the keys are MSP ids.
type readiness struct {
	asked    []string // whom the files ask to approve
	approved map[string]bool
}

// missing are those who are asked to approve and have not; while there are any, to commit
// would be to leave them behind.
func (r readiness) missing() []string {
	var names []string
	for _, mspID := range r.asked {
		if !r.approved[mspID] {
			names = append(names, mspID)
		}
	}
	return names
}

// short reports whether the approvals are no majority, which is what channels ask for unless
// somebody changed their lifecycle policy.
func (r readiness) short() (have, of int, short bool) {
	for _, ok := range r.approved {
		of++
		if ok {
			have++
		}
	}
	return have, of, have <= of/2
}

func (s *session) commitOn(ctx context.Context, a approval, e *endorsing) error {
	name, channel := a.cc.Name, a.on.Channel.Name
	peer, committed, err := s.look(ctx, a.org.Nodes, a.admin, channel, name)
	if err != nil {
		return err
	}
	if committed != nil && committed.Equal(a.wanted) {
		s.log.Info("nothing to do", "channel", channel, "peer", peer.Address(), "found", "is committed", "sequence", committed.Sequence)
		return nil
	}
	want := chaincode.Next(name, a.wanted, committed)
	approved, err := peer.Readiness(ctx, channel, want)
	if err != nil {
		return later(err, fabric.ErrStale)
	}
	ready := readiness{approved: approved}
	for _, o := range a.on.Orgs {
		ready.asked = append(ready.asked, o.MSPID)
	}
	if missing := ready.missing(); len(missing) > 0 && !s.p.DryRun {
		return exit.Transient(fmt.Errorf("version %s, sequence %d is not approved by %s", want.Version, want.Sequence, strings.Join(missing, ", ")))
	}
	if !s.p.DryRun {
		if err := e.look(ctx, peer, a.on.Channel, a.on.Channel.Orgs, "_lifecycle", 1); err != nil {
			return err
		}
		err := peer.Commit(ctx, channel, want)
		if errors.Is(err, fabric.ErrNoEndorsers) {
			return e.decide(peer.Address(), err)
		}
		if err != nil {
			return explainCommit(ready, err)
		}
		after, err := peer.Committed(ctx, channel, name)
		if err != nil {
			return later(err, fabric.ErrNotDefined)
		}
		if !after.Equal(a.wanted) {
			return exit.Transient(fmt.Errorf("%s: has sequence %d with other parameters", peer.Address(), after.Sequence))
		}
	}
	s.changed("chaincode %s: version %s, sequence %d committed to channel %s", name, want.Version, want.Sequence, channel)
	return nil
}

// explainCommit tells what time cures from what it does not.
func explainCommit(ready readiness, err error) error {
	const add = "add organisations to the chaincode's orgs on this channel"
	switch have, of, short := ready.short(); {
	case errors.Is(err, fabric.ErrNotApproved) && short:
		// Everybody who is asked to has approved, so nobody else will.
		return exit.WithHint(fmt.Errorf("%d of the channel's %d organisations have approved, which is no majority: %w", have, of, final(err)), add)
	case errors.Is(err, fabric.ErrInvalidated):
		return exit.WithHint(fmt.Errorf("%d of the channel's %d organisations have approved: %w", have, of, err), add)
	}
	return err
}

// endorsing tells whether "no suitable endorsers" will pass. As long as the gateway's peer has
// not heard of all the peers there are, it may; after that, and if it is not just a moment
// that the gateway is behind, the policy asks for the impossible.
type endorsing struct {
	unheard string // a peer that the gateway's had not heard of before it was asked
	refused int    // how often it refused although it had heard of all
}

// maxRefused is how often a gateway that knows all peers may refuse before it is believed.
const maxRefused = 3

// look notes what the peer has heard of, before it is asked to find endorsers. Peers count
// that could run the chaincode as defined by sequence.
func (e *endorsing) look(ctx context.Context, peer *fabric.Peer, ch *network.Channel, orgs []*network.Org, chaincode string, sequence int64) error {
	members, err := peer.Members(ctx, ch.Name)
	if err != nil {
		return later(err, fabric.ErrNoChannel)
	}
	e.unheard = ""
	for _, o := range orgs {
		for _, node := range o.Nodes {
			if !knows(members, node, chaincode, sequence) {
				e.unheard = node.Name()
			}
		}
	}
	return nil
}

func (e *endorsing) decide(peer string, err error) error {
	if e.unheard != "" {
		return exit.Transient(fmt.Errorf("%w (%s has not heard of %s yet)", err, peer, e.unheard))
	}
	if e.refused++; e.refused < maxRefused {
		return exit.Transient(err)
	}
	return exit.WithHint(err, "all peers are known, so no peers there are can satisfy the policy: change it in network.yaml")
}

// knows reports whether a peer is among the members and could run the chaincode as defined
// by sequence.
func knows(members []fabric.Member, node *network.Node, chaincode string, sequence int64) bool {
	return slices.ContainsFunc(members, func(m fabric.Member) bool {
		return m.MSPID == node.Org.MSPID && m.Endpoint == node.Address() && m.Chaincodes[chaincode] == strconv.FormatInt(sequence, 10)
	})
}

// final takes the mark "try again" off an error by keeping only its words.
func final(err error) error { return errors.New(err.Error()) }
