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

// install puts the chaincode on every peer of one organisation and approves its definition
// on every channel where the organisation is asked to.
func (s *session) install(ctx context.Context) error {
	cc, err := s.chaincode()
	if err != nil {
		return err
	}
	org, err := s.org(network.Peer)
	if err != nil {
		return err
	}
	admin, err := s.admin(org)
	if err != nil {
		return err
	}
	p := pack{cc: cc, org: org, admin: admin} // without id approves without running the chaincode itself
	if slices.Contains(cc.Orgs, org) {
		if p, err = s.packageFor(ctx, p); err != nil {
			return err
		}
		if err := s.unchanged(ctx, p); err != nil {
			return fmt.Errorf("chaincode %q: %w", cc.Name, err)
		}
		err = each(org.Nodes, func(node *network.Node) error {
			return s.until(ctx, p.timeout(), func(ctx context.Context) error { return s.installOn(ctx, p, node) })
		})
		if err != nil {
			return fmt.Errorf("chaincode %q: %w", cc.Name, err)
		}
	}
	err = each(cc.Channels, func(on *network.ChaincodeChannel) error {
		if !slices.Contains(on.Orgs, org) {
			return nil
		}
		wanted, err := chaincode.Wanted(cc, on)
		if err != nil {
			return err
		}
		err = s.until(ctx, tryTimeout, func(ctx context.Context) error {
			return s.approve(ctx, approval{cc, on, org, admin, wanted, p.id})
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

func (s *session) installOn(ctx context.Context, p pack, node *network.Node) error {
	peer, err := s.peer(node, p.admin)
	if err != nil {
		return err
	}
	installed, err := peer.Installed(ctx)
	if err != nil {
		return err
	}
	if slices.Contains(installed, p.id) {
		s.log.Info("nothing to do", "peer", node.Name(), "found", "is installed")
		return nil
	}
	if s.p.DryRun {
		s.changed("chaincode %s: %s installed on %s", p.cc.Name, p.id, node.Name())
		return nil
	}
	// If somebody is installing it already, or an earlier try ended before the build did, the
	// peer answers when that build is done, and does not build twice.
	_, err = peer.Install(ctx, p.data)
	faster := errors.Is(err, fabric.ErrExists)
	if errors.Is(err, fabric.ErrBuild) {
		return exit.WithHint(err, fmt.Sprintf("the builder's own words are in the peer's log: kubectl logs %s --container peer", node.Pod()))
	}
	if err != nil && !faster {
		return err
	}
	if installed, err = peer.Installed(ctx); err != nil {
		return err
	}
	if !slices.Contains(installed, p.id) {
		return exit.Transient(fmt.Errorf("%s: is still installing %s", peer.Address(), p.id))
	}
	if !faster {
		s.changed("chaincode %s: %s installed on %s", p.cc.Name, p.id, node.Name())
	}
	return nil
}

// approval is one organisation's approval of a chaincode on one channel.
type approval struct {
	cc        *network.Chaincode
	on        *network.ChaincodeChannel
	org       *network.Org
	admin     fabric.Identity
	wanted    chaincode.Parameters
	packageID string
}

// decideApprove reports whether the organisation still has to approve want. An organisation that
// starts to run the chaincode names its package by a second approval, under the same sequence
// number.
func decideApprove(want chaincode.Definition, have *fabric.Approved, packageID string) bool {
	return have == nil || have.Sequence != want.Sequence || !have.Equal(want.Parameters) || have.PackageID != packageID
}

func (s *session) approve(ctx context.Context, a approval) error {
	name, channel := a.cc.Name, a.on.Channel.Name
	peer, committed, err := s.look(ctx, a.org.Nodes, a.admin, channel, name)
	if err != nil {
		return err
	}
	have, err := s.inUse(ctx, peer, channel, committed, a.cc, a.packageID)
	if err != nil {
		return err
	}
	want := chaincode.Next(name, a.wanted, committed)
	if committed == nil || want.Sequence != committed.Sequence {
		if have, err = peer.Approved(ctx, channel, name, want.Sequence); err != nil {
			return err
		}
	}
	if !decideApprove(want, have, a.packageID) {
		s.log.Info("nothing to do", "channel", channel, "peer", peer.Address(), "found", "is approved", "sequence", want.Sequence)
		return nil
	}
	if committed != nil && !committed.Equal(a.wanted) {
		s.log.Info("definition differs", "channel", channel, "sequence", want.Sequence, "differences", a.wanted.Differences(committed.Parameters))
	}
	if s.p.DryRun {
		s.changed("chaincode %s: version %s, sequence %d approved by %s on channel %s", name, want.Version, want.Sequence, a.org.Name, channel)
		return nil
	}
	refusal := peer.Approve(ctx, channel, want, a.packageID)
	// Fabric 2.5 has another word for "unchanged": it finds the second of two equal approvals
	// invalid. Whether that was the reason shows when we look again.
	faster := errors.Is(refusal, fabric.ErrUnchanged) || errors.Is(refusal, fabric.ErrInvalidated)
	if refusal != nil && !faster {
		return later(refusal, fabric.ErrNoEndorsers, fabric.ErrNoChannel)
	}
	if have, err = peer.Approved(ctx, channel, name, want.Sequence); err != nil {
		return err
	}
	if decideApprove(want, have, a.packageID) {
		if errors.Is(refusal, fabric.ErrInvalidated) {
			return refusal
		}
		return exit.Transient(fmt.Errorf("%s: does not have the approval yet", peer.Address()))
	}
	if !faster {
		s.changed("chaincode %s: version %s, sequence %d approved by %s on channel %s", name, want.Version, want.Sequence, a.org.Name, channel)
	}
	return nil
}

// look finds a peer that has joined the channel, and what the channel has under the
// chaincode's name, nil for nothing.
func (s *session) look(ctx context.Context, nodes []*network.Node, id fabric.Identity, channel, name string) (*fabric.Peer, *chaincode.Definition, error) {
	var errs []error
	for _, node := range nodes {
		peer, err := s.peer(node, id)
		if err != nil {
			return nil, nil, err
		}
		oneCtx, cancel := context.WithTimeout(ctx, tryTimeout/3) // a silent peer must not use up the try
		committed, err := peer.Committed(oneCtx, channel, name)
		cancel()
		switch {
		case err == nil:
			return peer, &committed.Definition, nil
		case errors.Is(err, fabric.ErrNotDefined):
			return peer, nil, nil
		}
		errs = append(errs, later(err, fabric.ErrNoChannel))
	}
	return nil, nil, together(errs)
}
