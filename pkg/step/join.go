package step

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/network"
)

// join makes every peer of one organisation join the channel.
func (s *session) join(ctx context.Context) error {
	ch, err := s.channel()
	if err != nil {
		return err
	}
	org, err := s.org(network.Peer)
	if err != nil {
		return err
	}
	if !slices.Contains(ch.Orgs, org) {
		return exit.With(fmt.Errorf("channel %q: org %q is not a member in network.yaml", ch.Name, org.Name), exit.Invalid)
	}
	admin, err := s.admin(org)
	if err != nil {
		return err
	}
	err = each(org.Nodes, func(node *network.Node) error {
		return s.until(ctx, tryTimeout, func(ctx context.Context) error { return s.joinPeer(ctx, ch, node, admin) })
	})
	if err != nil {
		return fmt.Errorf("channel %q: %w", ch.Name, err)
	}
	return nil
}

func (s *session) joinPeer(ctx context.Context, ch *network.Channel, node *network.Node, admin fabric.Identity) error {
	peer, err := s.peer(node, admin)
	if err != nil {
		return err
	}
	channels, err := peer.Channels(ctx)
	if err != nil {
		return err
	}
	if slices.Contains(channels, ch.Name) {
		s.log.Info("nothing to do", "peer", node.Name(), "found", "has joined")
		return nil
	}
	block, err := s.readGenesis(ctx, ch, ch.Orderers(), admin)
	if err != nil {
		return err
	}
	if s.p.DryRun {
		s.changed("channel %s: %s joined", ch.Name, node.Name())
		return nil
	}
	err = peer.Join(ctx, block)
	faster := errors.Is(err, fabric.ErrExists)
	if err != nil && !faster {
		return err
	}
	if channels, err = peer.Channels(ctx); err != nil {
		return err
	}
	if !slices.Contains(channels, ch.Name) {
		// Somebody else's join, seen half done.
		return exit.Transient(fmt.Errorf("%s: is still joining", peer.Address()))
	}
	if !faster {
		s.changed("channel %s: %s joined", ch.Name, node.Name())
	}
	return nil
}
