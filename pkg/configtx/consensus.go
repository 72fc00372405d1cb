package configtx

import (
	"fmt"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer/etcdraft"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer/smartbft"
	"google.golang.org/protobuf/proto"

	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// consensus sets the consensus type and who takes part in it.
func (g *group) consensus(ch *network.Channel, orgs map[string]*pki.Public) error {
	list, err := consenters(ch, orgs)
	if err != nil {
		return err
	}
	var metadata proto.Message
	switch ch.Consensus {
	case network.Raft:
		metadata = raft(list)
	case network.BFT:
		// BFT keeps its consenters in a value of its own, and its metadata are options only.
		metadata = bftOptions()
		g.value("Orderers", &common.Orderers{ConsenterMapping: list})
		if err := g.bftBlockValidation(list); err != nil {
			return err
		}
	default:
		return fmt.Errorf("consensus type %q is neither %s nor %s", ch.Consensus, network.Raft, network.BFT)
	}
	b, err := marshal(metadata)
	if err != nil {
		return err
	}
	g.value("ConsensusType", &orderer.ConsensusType{Type: string(ch.Consensus), Metadata: b})
	return nil
}

// consenters lists the channel's orderers; ids begin at 1 and follow the files.
func consenters(ch *network.Channel, orgs map[string]*pki.Public) ([]*common.Consenter, error) {
	var list []*common.Consenter
	for _, n := range ch.Orderers() {
		p, err := public(orgs, n.Org)
		if err != nil {
			return nil, err
		}
		certs, ok := p.Nodes[n.Hostname]
		if !ok || certs.TLSCert == "" || certs.SignCert == "" {
			return nil, fmt.Errorf("orderer %q of org %q: its certificates are not known", n.Hostname, n.Org.Name)
		}
		list = append(list, &common.Consenter{
			Id:            uint32(len(list) + 1),
			Host:          n.Name(),
			Port:          uint32(n.Port()),
			MspId:         p.MSPID,
			Identity:      []byte(certs.SignCert),
			ClientTlsCert: []byte(certs.TLSCert),
			ServerTlsCert: []byte(certs.TLSCert),
		})
	}
	return list, nil
}

func raft(list []*common.Consenter) *etcdraft.ConfigMetadata {
	m := &etcdraft.ConfigMetadata{Options: &etcdraft.Options{
		TickInterval:         "500ms",
		ElectionTick:         10,
		HeartbeatTick:        1,
		MaxInflightBlocks:    5,
		SnapshotIntervalSize: 16 << 20,
	}}
	for _, c := range list {
		m.Consenters = append(m.Consenters, &etcdraft.Consenter{
			Host:          c.Host,
			Port:          c.Port,
			ClientTlsCert: c.ClientTlsCert,
			ServerTlsCert: c.ServerTlsCert,
		})
	}
	return m
}

// bftOptions are configtxgen's, which are SmartBFT's defaults. Orderers take the two batch
// limits from the channel's BatchSize and ignore these; leader rotation stays unspecified because
// Fabric 3.1 refuses a channel that turns it on.
func bftOptions() *smartbft.Options {
	return &smartbft.Options{
		RequestBatchMaxCount:      100,
		RequestBatchMaxBytes:      10 << 20,
		RequestBatchMaxInterval:   "50ms",
		IncomingMessageBufferSize: 200,
		RequestPoolSize:           400,
		RequestForwardTimeout:     "2s",
		RequestComplainTimeout:    "20s",
		RequestAutoRemoveTimeout:  "3m0s",
		ViewChangeResendInterval:  "5s",
		ViewChangeTimeout:         "20s",
		LeaderHeartbeatTimeout:    "1m0s",
		LeaderHeartbeatCount:      10,
		CollectTimeout:            "1s",
	}
}

// bftBlockValidation accepts a block that a Byzantine quorum of the consenters has signed,
// each with the very certificate that the channel lists. Orderers refuse any other policy.
func (g *group) bftBlockValidation(list []*common.Consenter) error {
	var principals []*msp.MSPPrincipal
	for _, c := range list {
		id, err := marshal(&msp.SerializedIdentity{Mspid: c.MspId, IdBytes: c.Identity})
		if err != nil {
			return err
		}
		principals = append(principals, &msp.MSPPrincipal{
			PrincipalClassification: msp.MSPPrincipal_IDENTITY,
			Principal:               id,
		})
	}
	g.policy(blockValidation, common.Policy_SIGNATURE, outOf(quorum(len(list)), principals))
	return nil
}

// quorum is the smallest number of n nodes of which any two such sets share an honest node.
func quorum(n int) int {
	faulty := (n - 1) / 3
	return (n+faulty)/2 + 1
}
