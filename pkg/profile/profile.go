package profile

import (
	"fmt"

	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// Version is the version of the format; SDKs refuse any other.
const Version = "1.0.0"

// Profile is a connection profile in the common format of Fabric's SDKs. Field order is that of
// Fabric's own samples.
type Profile struct {
	Name          string                  `json:"name"`
	Version       string                  `json:"version"`
	Description   string                  `json:"description,omitempty"`
	Client        Client                  `json:"client"`
	Channels      map[string]Channel      `json:"channels,omitempty"`
	Organizations map[string]Organization `json:"organizations"`
	Orderers      map[string]Node         `json:"orderers,omitempty"`
	Peers         map[string]Node         `json:"peers"`
}

// Client says whose application this is.
type Client struct {
	Organization string     `json:"organization"`
	Connection   Connection `json:"connection"`
}

// Connection holds time limits. SDKs want them as text, in seconds.
type Connection struct {
	Timeout struct {
		Peer struct {
			Endorser string `json:"endorser"`
		} `json:"peer"`
		Orderer string `json:"orderer"`
	} `json:"timeout"`
}

// Organization names an organisation's nodes by their keys in Peers.
type Organization struct {
	MSPID string   `json:"mspid"`
	Peers []string `json:"peers,omitempty"`
}

// Channel names a channel's nodes by their keys in Orderers and Peers.
type Channel struct {
	Orderers []string             `json:"orderers"`
	Peers    map[string]PeerRoles `json:"peers"`
}

// PeerRoles say what a peer of a channel is asked for.
type PeerRoles struct {
	EndorsingPeer  bool `json:"endorsingPeer"`
	ChaincodeQuery bool `json:"chaincodeQuery"`
	LedgerQuery    bool `json:"ledgerQuery"`
	EventSource    bool `json:"eventSource"`
}

// Node is a peer or an orderer.
type Node struct {
	URL         string         `json:"url"`
	GRPCOptions map[string]any `json:"grpcOptions,omitempty"`
	TLSCACerts  TLSCACerts     `json:"tlsCACerts"`
}

// TLSCACerts holds the certificates of the CAs that issue a node's TLS certificate.
type TLSCACerts struct {
	PEM string `json:"pem"`
}

// Options say where nodes are reached from outside the cluster.
type Options struct {
	// Domain, if set, is where nodes are reached by their Service's name: "<name>.<domain>", with
	// ":port" if it is not the node's own.
	Domain string
	// Addresses are host:port by Node.Name(); they win over Domain.
	Addresses map[string]string
}

// New makes the profile for an application of org: its channels, and all their nodes.
func New(n *network.Network, m *pki.Material, org *network.Org, o Options) (*Profile, error) {
	p := &Profile{
		Name: "pivt-" + org.Label(), Version: Version,
		Description:   "Connection profile for applications of " + org.Name + ", made by pivt from crypto-config.yaml and network.yaml",
		Channels:      map[string]Channel{},
		Organizations: map[string]Organization{},
		Orderers:      map[string]Node{},
		Peers:         map[string]Node{},
	}
	p.Client.Organization = org.Name
	p.Client.Connection.Timeout.Peer.Endorser = "300"
	p.Client.Connection.Timeout.Orderer = "300"
	add := func(to map[string]Node, node *network.Node) error {
		if _, ok := to[node.CommonName]; ok {
			return nil
		}
		om := m.Orgs[node.Org.Name]
		if om == nil {
			return fmt.Errorf("org %q has no certificates", node.Org.Name)
		}
		to[node.CommonName] = o.node(node, string(om.Public.TLSRoots()))
		return nil
	}
	organisation := func(org *network.Org) error {
		var peers []string
		for _, node := range org.Nodes {
			if err := add(p.Peers, node); err != nil {
				return err
			}
			peers = append(peers, node.CommonName)
		}
		p.Organizations[org.Name] = Organization{MSPID: org.MSPID, Peers: peers}
		return nil
	}
	if err := organisation(org); err != nil { // it may be on no channel yet
		return nil, err
	}
	for _, ch := range Channels(n, org) {
		c := Channel{Orderers: []string{}, Peers: map[string]PeerRoles{}}
		for _, node := range ch.Orderers() {
			if err := add(p.Orderers, node); err != nil {
				return nil, err
			}
			c.Orderers = append(c.Orderers, node.CommonName)
		}
		for _, member := range ch.Orgs {
			if err := organisation(member); err != nil {
				return nil, err
			}
			for _, node := range member.Nodes {
				// Others' peers endorse; they let no stranger query them or listen to their events.
				own := member == org
				c.Peers[node.CommonName] = PeerRoles{EndorsingPeer: true, ChaincodeQuery: own, LedgerQuery: own, EventSource: own}
			}
		}
		p.Channels[ch.Name] = c
	}
	return p, nil
}

// Channels are those the organisation is on, in file order.
func Channels(n *network.Network, org *network.Org) []*network.Channel {
	var all []*network.Channel
	for _, ch := range n.Channels {
		for _, o := range ch.Orgs {
			if o == org {
				all = append(all, ch)
			}
		}
	}
	return all
}
