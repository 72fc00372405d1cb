package check

import (
	"context"
	"fmt"
	"net"

	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/kube"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// Access reaches nodes from outside the cluster.
type Access struct {
	Kube     *kube.Client
	Network  *network.Network
	Material *pki.Material
	// Dial connects to a node by its address in the cluster; nil means by port-forward.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// AsClient and AsAdmin choose whose keys sign.
const (
	AsClient = false
	AsAdmin  = true
)

// Peer connects to a peer as its organisation's first user, or as its admin.
func (a *Access) Peer(n *network.Node, admin bool) (*fabric.Peer, error) {
	id, err := a.identity(n.Org, admin)
	if err != nil {
		return nil, err
	}
	return fabric.NewPeer(a.endpoint(n), id)
}

// Orderer connects to an orderer as a user of org.
func (a *Access) Orderer(n *network.Node, org *network.Org) (*fabric.Orderer, error) {
	id, err := a.identity(org, AsClient)
	if err != nil {
		return nil, err
	}
	return fabric.NewOrderer(a.endpoint(n), id)
}

func (a *Access) identity(o *network.Org, admin bool) (fabric.Identity, error) {
	m := a.Material.Orgs[o.Name]
	if m == nil {
		return fabric.Identity{}, fmt.Errorf("org %q has no keys and certificates", o.Name)
	}
	id := m.Client
	if admin {
		id = m.Admin
	}
	return fabric.NewIdentity(o.MSPID, id.CertPEM, id.KeyPEM)
}

func (a *Access) endpoint(n *network.Node) fabric.Endpoint {
	public := a.Material.Orgs[n.Org.Name].Public
	dial := a.Dial
	if dial == nil {
		dial = func(ctx context.Context, _ string) (net.Conn, error) {
			return a.Kube.Forward(ctx, n.Pod(), n.Port())
		}
	}
	return fabric.Endpoint{Address: n.Address(), ServerName: n.Name(), Roots: [][]byte{public.TLSRoots()}, Dial: dial}
}
