package step

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/network"
)

// Metadata is the call that every chaincode made with the contract API answers. Others answer
// that they do not know it, which proves them alive as well.
const Metadata = "org.hyperledger.fabric:GetMetadata"

// maxLaunches is how often a chaincode may fail to start before the step believes it. The
// launcher retries what is worth retrying itself.
const maxLaunches = 3

// smoke calls the chaincode on each of its channels, as a client, and proves that there are
// peers to endorse its transactions. The init call, where the definition wants one, comes first.
func (s *session) smoke(ctx context.Context) error {
	cc, err := s.chaincode()
	if err != nil {
		return err
	}
	err = each(cc.Channels, func(on *network.ChaincodeChannel) error {
		org, id, err := s.client(callers(cc, on))
		if err != nil {
			return fmt.Errorf("on channel %q: %w", on.Channel.Name, err)
		}
		var e endorsing
		launches := 0
		err = s.until(ctx, tryTimeout, func(ctx context.Context) error {
			err := s.call(ctx, cc, on, caller{org, id}, &e)
			if errors.Is(err, fabric.ErrNotRunning) && !exit.IsTransient(err) {
				if launches++; launches < maxLaunches {
					return exit.Transient(err)
				}
			}
			return err
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

// callers are the organisations of the channel, those first that run the chaincode.
func callers(cc *network.Chaincode, on *network.ChaincodeChannel) []*network.Org {
	orgs := slices.Clone(on.Orgs)
	slices.SortStableFunc(orgs, func(a, b *network.Org) int {
		return rank(cc, a) - rank(cc, b)
	})
	return orgs
}

func rank(cc *network.Chaincode, o *network.Org) int {
	if slices.Contains(cc.Orgs, o) {
		return 0
	}
	return 1
}

// runners are the organisations of the channel that run the chaincode.
func runners(cc *network.Chaincode, ch *network.Channel) []*network.Org {
	return slices.DeleteFunc(slices.Clone(cc.Orgs), func(o *network.Org) bool { return !slices.Contains(ch.Orgs, o) })
}

// caller is as whom the chaincode is called.
type caller struct {
	org *network.Org
	id  fabric.Identity
}

func (s *session) call(ctx context.Context, cc *network.Chaincode, on *network.ChaincodeChannel, as caller, e *endorsing) error {
	channel := on.Channel.Name
	peer, committed, err := s.look(ctx, as.org.Nodes, as.id, channel, cc.Name)
	if err != nil {
		return err
	}
	wanted, err := chaincode.Wanted(cc, on)
	if err != nil {
		return err
	}
	if committed == nil || !committed.Equal(wanted) { // or the smoke test would be of the former version
		return exit.Transient(fmt.Errorf("%s: version %s is not committed", peer.Address(), cc.Version))
	}
	call := network.Call{Function: Metadata}
	if cc.Smoke != nil {
		call = *cc.Smoke
	}
	if s.p.DryRun {
		if cc.Init != nil {
			if err := s.initialize(ctx, peer, cc, on, as, e); err != nil {
				return err
			}
		}
		s.verified("chaincode %s: would call %s on channel %s as %s", cc.Name, call.Function, channel, as.org.Name)
		return nil
	}
	if err := e.look(ctx, peer, on.Channel, runners(cc, on.Channel), cc.Name, committed.Sequence); err != nil {
		return err
	}
	// A query needs one peer and a transaction as many as the policy says: only asking for them
	// shows a policy that nobody can satisfy before the first user does.
	if err := peer.Endorsable(ctx, channel, cc.Name); errors.Is(err, fabric.ErrNoEndorsers) {
		return e.decide(peer.Address(), err)
	} else if err != nil {
		return err
	}
	if cc.Init != nil {
		if err := s.initialize(ctx, peer, cc, on, as, e); err != nil {
			return err
		}
	}
	do := peer.Evaluate
	if call.Invoke {
		do = peer.Submit
	}
	answer, err := do(ctx, channel, cc.Name, call.Function, call.Args...)
	switch {
	case err == nil:
	case errors.Is(err, fabric.ErrRejected) && cc.Smoke == nil:
		s.log.Info("chaincode does not know the call but answers", "channel", channel, "said", err.Error())
	case errors.Is(err, fabric.ErrNoEndorsers):
		return e.decide(peer.Address(), err)
	default:
		return later(fmt.Errorf("calling %s: %w", call.Function, err), fabric.ErrNoChannel, fabric.ErrNotInstalled, fabric.ErrNotInitialized)
	}
	if call.Invoke {
		s.changed("chaincode %s: %s submitted to channel %s by %s", cc.Name, call.Function, channel, as.org.Name)
		return nil
	}
	s.verified("chaincode %s: answers %s on channel %s with %d bytes", cc.Name, call.Function, channel, len(answer))
	return nil
}

// initialize makes the init call, unless the committed version has had it. Two steps may try at
// once: Fabric lets one of them through.
func (s *session) initialize(ctx context.Context, peer *fabric.Peer, cc *network.Chaincode, on *network.ChaincodeChannel, as caller, e *endorsing) error {
	channel := on.Channel.Name
	if s.p.DryRun {
		if done, err := peer.Initialized(ctx, channel, cc.Name, cc.Init.Function, cc.Init.Args...); err != nil || done {
			return later(err, fabric.ErrNoChannel, fabric.ErrNotInstalled)
		}
		s.changed("chaincode %s: init call %s submitted to channel %s by %s", cc.Name, cc.Init.Function, channel, as.org.Name)
		return nil
	}
	err := peer.Init(ctx, channel, cc.Name, cc.Init.Function, cc.Init.Args...)
	switch {
	case err == nil:
		s.changed("chaincode %s: init call %s submitted to channel %s by %s", cc.Name, cc.Init.Function, channel, as.org.Name)
		return nil
	case errors.Is(err, fabric.ErrInitialized):
		s.log.Info("nothing to do", "channel", channel, "peer", peer.Address(), "found", "is initialized")
		return nil
	case errors.Is(err, fabric.ErrNoEndorsers):
		return e.decide(peer.Address(), err)
	}
	return later(fmt.Errorf("init call %s: %w", cc.Init.Function, err), fabric.ErrNoChannel, fabric.ErrNotInstalled)
}
