package cli

import (
	"context"
	"slices"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/check"
	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// guard refuses, before anything is submitted, code that changed under a version that a channel
// has committed: peers would go on with what they have, and nobody would know why. A network that
// is not there yet, or does not answer, is no reason to refuse; the flow's own steps look again.
// It also tells the deployment which stored packages may be replaced.
func (g *globals) guard(ctx context.Context, s *State, d *deploy.Deployment, chaincodes []*network.Chaincode) (*check.Pinned, error) {
	chaincodes = slices.DeleteFunc(slices.Clone(chaincodes), func(cc *network.Chaincode) bool { return !cc.Deployable() })
	m, err := pki.Load(d.CryptoDir, d.Network)
	if err != nil {
		m = nil // without keys nobody can be asked
	}
	pinned := check.Pins(ctx, &check.Access{Kube: d.Kube, Network: d.Network, Material: m, Dial: s.Dial}, chaincodes)
	d.MayReplace = func(cc *network.Chaincode) bool { return !pinned.Has(cc) }
	return pinned, pinned.Refuse(func(cc *network.Chaincode, o *network.Org) (string, error) {
		pkg, err := d.Packages.Of(ctx, cc, o)
		switch {
		case err != nil && cc.Package != "":
			return "", nil // the registry is out of this machine's reach; the flow's pods may reach it
		case err != nil:
			return "", err
		}
		return chaincode.ID(pkg)
	})
}

// chosen are the named chaincodes; without names those that flows are about.
func chosen(n *network.Network, names []string) []*network.Chaincode {
	if len(names) == 0 {
		return n.FlowChaincodes
	}
	return slices.DeleteFunc(slices.Clone(n.Chaincodes), func(cc *network.Chaincode) bool { return !slices.Contains(names, cc.Name) })
}
