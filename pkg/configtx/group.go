package configtx

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// capabilities of a channel. They are the oldest that give all features of the consensus, so
// that nodes of any release we run can serve the channel: 2.5 and 3.x know V2_0 and V2_5, and
// only 3.x knows V3_0, which BFT needs and etcdraft gains nothing from.
type capabilities struct{ channel, orderer, application string }

func capabilitiesOf(c network.Consensus) capabilities {
	if c == network.BFT {
		return capabilities{channel: "V3_0", orderer: "V2_0", application: "V2_5"}
	}
	return capabilities{channel: "V2_0", orderer: "V2_0", application: "V2_5"}
}

// group builds a ConfigGroup and keeps the first error, so that building reads as a list.
type group struct {
	*common.ConfigGroup
	err error
}

func newGroup() *group {
	return &group{ConfigGroup: &common.ConfigGroup{
		Groups:    map[string]*common.ConfigGroup{},
		Values:    map[string]*common.ConfigValue{},
		Policies:  map[string]*common.ConfigPolicy{},
		ModPolicy: admins,
	}}
}

func (g *group) value(key string, m proto.Message) {
	b, err := marshal(m)
	if err != nil {
		g.err = errors.Join(g.err, err)
		return
	}
	g.Values[key] = &common.ConfigValue{Value: b, ModPolicy: admins}
}

func (g *group) capability(name string) {
	g.value("Capabilities", &common.Capabilities{Capabilities: map[string]*common.Capability{name: {}}})
}

func (g *group) sub(name string, sub *group, err error) {
	g.err = errors.Join(g.err, err)
	if err != nil {
		return
	}
	g.err = errors.Join(g.err, sub.err)
	g.Groups[name] = sub.ConfigGroup
}

func channelGroup(ch *network.Channel, orgs map[string]*pki.Public) (*common.ConfigGroup, error) {
	if len(ch.Orgs) == 0 {
		return nil, errors.New("it has no peer organisation")
	}
	if len(ch.Orderers()) == 0 {
		return nil, errors.New("it has no orderer")
	}
	c := capabilitiesOf(ch.Consensus)
	g := newGroup()
	g.metaPolicies(readersWritersAdmins())
	g.value("HashingAlgorithm", &common.HashingAlgorithm{Name: "SHA256"})
	g.value("BlockDataHashingStructure", &common.BlockDataHashingStructure{Width: math.MaxUint32})
	g.capability(c.channel)
	o, err := ordererGroup(ch, orgs, c.orderer)
	g.sub("Orderer", o, err)
	a, err := applicationGroup(ch, orgs, c.application)
	g.sub("Application", a, err)
	return g.ConfigGroup, g.err
}

func ordererGroup(ch *network.Channel, orgs map[string]*pki.Public, capability string) (*group, error) {
	timeout, err := time.ParseDuration(ch.Batch.Timeout)
	if err != nil {
		return nil, fmt.Errorf("batch timeout: %w", err)
	}
	g := newGroup()
	g.metaPolicies(append(readersWritersAdmins(), metaPolicy{blockValidation, common.ImplicitMetaPolicy_ANY, writers}))
	g.value("BatchSize", &orderer.BatchSize{
		MaxMessageCount:   ch.Batch.MaxMessageCount,
		AbsoluteMaxBytes:  ch.Batch.AbsoluteMaxBytes,
		PreferredMaxBytes: ch.Batch.PreferredMaxBytes,
	})
	g.value("BatchTimeout", &orderer.BatchTimeout{Timeout: timeout.String()})
	g.value("ChannelRestrictions", &orderer.ChannelRestrictions{})
	g.capability(capability)
	if err := g.consensus(ch, orgs); err != nil {
		return nil, err
	}
	for _, o := range ch.OrdererOrgs {
		p, err := public(orgs, o)
		if err != nil {
			return nil, err
		}
		// Endpoints go to the organisation: Fabric 3 refuses a global list in a V3_0 channel.
		var endpoints common.OrdererAddresses
		for _, n := range o.Nodes {
			endpoints.Addresses = append(endpoints.Addresses, n.Address())
		}
		org := orgGroup(p, ordererOrgPolicies(p))
		if len(endpoints.Addresses) > 0 {
			org.value("Endpoints", &endpoints)
		}
		g.sub(o.Name, org, nil)
	}
	return g, g.err
}

func applicationGroup(ch *network.Channel, orgs map[string]*pki.Public, capability string) (*group, error) {
	g := newGroup()
	g.metaPolicies(append(readersWritersAdmins(),
		metaPolicy{"LifecycleEndorsement", common.ImplicitMetaPolicy_MAJORITY, endorsement},
		metaPolicy{endorsement, common.ImplicitMetaPolicy_MAJORITY, endorsement},
	))
	g.capability(capability)
	for _, o := range ch.Orgs {
		p, err := public(orgs, o)
		if err != nil {
			return nil, err
		}
		org := orgGroup(p, peerOrgPolicies(p))
		if len(o.Nodes) > 0 {
			// One anchor is enough for gossip to find the rest, and putting it here saves
			// a config update per organisation after the channel is made.
			org.value("AnchorPeers", &peer.AnchorPeers{AnchorPeers: []*peer.AnchorPeer{{
				Host: o.Nodes[0].Name(), Port: int32(o.Nodes[0].Port()),
			}}})
		}
		g.sub(o.Name, org, nil)
	}
	return g, g.err
}

func orgGroup(p *pki.Public, policies []signaturePolicy) *group {
	g := newGroup()
	g.signaturePolicies(p.MSPID, policies)
	g.msp(p)
	return g
}

// members lists the channel's organisations of both kinds.
func members(ch *network.Channel) []*network.Org {
	return append(append([]*network.Org(nil), ch.OrdererOrgs...), ch.Orgs...)
}

func public(orgs map[string]*pki.Public, o *network.Org) (*pki.Public, error) {
	p := orgs[o.Name]
	if p == nil {
		return nil, fmt.Errorf("%s org %q: its public certificates are not known", o.Kind, o.Name)
	}
	if p.MSPID != o.MSPID {
		return nil, fmt.Errorf("%s org %q: its certificates are of %s, the files say %s", o.Kind, o.Name, p.MSPID, o.MSPID)
	}
	return p, nil
}
