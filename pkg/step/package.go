package step

import (
	"context"
	"fmt"
	"slices"
	"time"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/network"
)

// pack is what an organisation's admin puts on its peers.
type pack struct {
	cc    *network.Chaincode
	org   *network.Org
	admin fabric.Identity
	data  []byte
	id    string
}

func (p pack) timeout() time.Duration {
	if p.cc.Image != "" || p.cc.Service != nil {
		return installTimeout
	}
	return buildTimeout
}

// packageFor completes p with the package, from where it lies.
func (s *session) packageFor(ctx context.Context, p pack) (pack, error) {
	// Registries and API servers have bad moments too.
	err := s.until(ctx, installTimeout, func(ctx context.Context) (err error) {
		p.data, err = s.env.Package(ctx, p.cc, p.org)
		return err
	})
	if err != nil {
		if ctx.Err() == nil && !exit.IsTransient(err) && p.cc.Source != "" {
			if known, ok := s.known(ctx, p); ok {
				s.log.Info("takes the package that peers have", "found", err.Error(), "package", known.id)
				return known, nil
			}
		}
		return p, err
	}
	if p.id, err = chaincode.ID(p.data); err != nil {
		return p, fmt.Errorf("chaincode %q: %w", p.cc.Name, err)
	}
	return p, nil
}

// known completes p with the package that the organisation's peers have under the label, so
// that a former version can come back although its source is stored no more. If they have
// several, or one peer does not say, nobody can tell which one is meant.
func (s *session) known(ctx context.Context, p pack) (pack, bool) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	var from *fabric.Peer
	for _, node := range p.org.Nodes {
		peer, err := s.peer(node, p.admin)
		if err != nil {
			return p, false
		}
		packages, err := peer.Packages(ctx)
		if err != nil {
			return p, false
		}
		for _, pkg := range packages {
			if pkg.Label != p.cc.Label() || pkg.ID == p.id {
				continue
			}
			if p.id != "" {
				return p, false
			}
			p.id, from = pkg.ID, peer
		}
	}
	if from == nil {
		return p, false
	}
	var err error
	p.data, err = from.InstalledPackage(ctx, p.id)
	return p, err == nil
}

// unchanged refuses a package that would replace another one under a committed version, before
// the peers spend minutes on building it. What cannot be seen yet, approve will see.
func (s *session) unchanged(ctx context.Context, p pack) error {
	return each(p.cc.Channels, func(on *network.ChaincodeChannel) error {
		if !slices.Contains(on.Orgs, p.org) {
			return nil
		}
		peer, committed, err := s.look(ctx, p.org.Nodes, p.admin, on.Channel.Name, p.cc.Name)
		if err != nil {
			s.log.Info("cannot look", "channel", on.Channel.Name, "found", err.Error())
			return nil
		}
		_, err = s.inUse(ctx, peer, on.Channel.Name, committed, p.cc, p.id)
		if err != nil && !exit.IsTransient(err) {
			return fmt.Errorf("on channel %q: %w", on.Channel.Name, err)
		}
		return nil
	})
}

// inUse is what the organisation approved for the committed definition. It is an error if that
// is another package under the same version than the one of the files.
func (s *session) inUse(ctx context.Context, peer *fabric.Peer, channel string, committed *chaincode.Definition, cc *network.Chaincode, packageID string) (*fabric.Approved, error) {
	if committed == nil {
		return nil, nil
	}
	have, err := peer.Approved(ctx, channel, cc.Name, committed.Sequence)
	if err != nil {
		return nil, err
	}
	return have, decideUnchanged(cc.Name, cc.Version, have, packageID)
}

// decideUnchanged refuses other code under a version that is in use: nobody could tell any more
// which code a version is, and organisations would run different ones.
func decideUnchanged(name, version string, have *fabric.Approved, packageID string) error {
	if have == nil || have.Version != version || have.PackageID == "" || packageID == "" || have.PackageID == packageID {
		return nil
	}
	return exit.WithHint(exit.With(fmt.Errorf("version %s is committed with package %s, the files make %s", version, have.PackageID, packageID), exit.Invalid),
		fmt.Sprintf("raise the version: pivt chaincode upgrade --include %s --version …", name))
}
