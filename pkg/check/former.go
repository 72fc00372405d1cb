package check

import (
	"context"
	"errors"
	"fmt"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/network"
)

// Former is the definition that a channel had of a chaincode before the one it has now.
type Former struct {
	On       *network.ChaincodeChannel
	Now      chaincode.Definition
	Before   chaincode.Definition
	Packages map[*network.Org]string // the ids approved then; "" or missing where none was
}

// ErrNoFormer means that the channel never had another definition.
var ErrNoFormer = errors.New("no former definition")

// Formers asks what each channel of a chaincode had before. Fabric keeps no history of
// definitions; what the organisations approved for the sequence before is what was committed.
func Formers(ctx context.Context, a *Access, cc *network.Chaincode) ([]Former, error) {
	var all []Former
	for _, on := range cc.Channels {
		f, err := a.former(ctx, cc, on)
		if err != nil {
			return nil, fmt.Errorf("chaincode %q on channel %q: %w", cc.Name, on.Channel.Name, err)
		}
		all = append(all, *f)
	}
	return all, nil
}

func (a *Access) former(ctx context.Context, cc *network.Chaincode, on *network.ChaincodeChannel) (*Former, error) {
	f := &Former{On: on, Packages: map[*network.Org]string{}}
	approved := map[*network.Org]*fabric.Approved{}
	for _, org := range on.Channel.Orgs {
		err := a.ask(ctx, org, func(ctx context.Context, p *fabric.Peer) error {
			now, err := p.Committed(ctx, on.Channel.Name, cc.Name)
			if err != nil {
				return err
			}
			if now.Sequence == 1 {
				return exit.With(fmt.Errorf("%w: the channel has sequence 1, version %s", ErrNoFormer, now.Version), exit.Invalid)
			}
			f.Now = now.Definition
			before, err := p.Approved(ctx, on.Channel.Name, cc.Name, now.Sequence-1)
			if before != nil { // else it was not asked to approve
				approved[org] = before
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	most := 0
	for _, org := range on.Channel.Orgs {
		if approved[org] == nil {
			continue
		}
		packages := agreeing(approved, approved[org])
		if len(packages) > most {
			f.Before, f.Packages, most = approved[org].Definition, packages, len(packages)
		}
	}
	if most == 0 {
		return nil, exit.With(fmt.Errorf("%w: no organisation remembers what it approved for sequence %d", ErrNoFormer, f.Now.Sequence-1), exit.Invalid)
	}
	return f, nil
}

// agreeing are the packages of those who approved this definition. What most approved is what
// could be committed; a minority may have approved something else.
func agreeing(approved map[*network.Org]*fabric.Approved, d *fabric.Approved) map[*network.Org]string {
	packages := map[*network.Org]string{}
	for org, a := range approved {
		if a.Equal(d.Parameters) {
			packages[org] = a.PackageID
		}
	}
	return packages
}

// Fetch gets an installed package back from one of the organisation's peers.
func Fetch(ctx context.Context, a *Access, org *network.Org, packageID string) ([]byte, error) {
	var pkg []byte
	var failed error
	for _, n := range org.Nodes {
		err := a.askPeer(ctx, n, func(ctx context.Context, p *fabric.Peer) (err error) {
			pkg, err = p.InstalledPackage(ctx, packageID)
			return err
		})
		if err == nil {
			return pkg, nil
		}
		failed = err
	}
	return nil, fmt.Errorf("fetching package %s: %w", packageID, failed)
}

// ask puts a question to the first of the organisation's peers that answers, as its admin.
func (a *Access) ask(ctx context.Context, org *network.Org, question func(context.Context, *fabric.Peer) error) error {
	err := fmt.Errorf("org %q has no peer", org.Name)
	for _, n := range org.Nodes {
		if err = a.askPeer(ctx, n, question); !exit.IsTransient(err) {
			return err
		}
	}
	return err
}

func (a *Access) askPeer(ctx context.Context, n *network.Node, question func(context.Context, *fabric.Peer) error) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	p, err := a.Peer(n, AsAdmin)
	if err != nil {
		return err
	}
	defer p.Close()
	return question(ctx, p)
}
