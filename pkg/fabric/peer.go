package fabric

import (
	"context"
	"fmt"
	"sort"

	"github.com/hyperledger/fabric-admin-sdk/pkg/channel"
	sdkdiscovery "github.com/hyperledger/fabric-admin-sdk/pkg/discovery"
	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-gateway/pkg/hash"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/discovery"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/gossip"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Peer is a client of one peer. Reading asks this very peer; transactions go through its
// gateway, which finds the other peers and the orderers.
type Peer struct {
	e    Endpoint
	id   Identity
	conn *grpc.ClientConn
	gw   *client.Gateway
}

// NewPeer makes a client that signs as id. It connects with the first call.
func NewPeer(e Endpoint, id Identity) (*Peer, error) {
	conn, err := e.connect()
	if err != nil {
		return nil, err
	}
	gw, err := client.Connect(id, client.WithClientConnection(conn), client.WithHash(hash.NONE), client.WithSign(id.Sign))
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connecting to %s: %w", e.Address, err)
	}
	return &Peer{e, id, conn, gw}, nil
}

// Address names the peer.
func (p *Peer) Address() string { return p.e.Address }

// MSPID is the organisation the client signs for.
func (p *Peer) MSPID() string { return p.id.MspID() }

// Close ends the connection.
func (p *Peer) Close() {
	_ = p.gw.Close()
	_ = p.conn.Close()
}

// Channels lists the channels the peer has joined, sorted.
func (p *Peer) Channels(ctx context.Context) ([]string, error) {
	infos, err := channel.ListChannelOnPeer(ctx, p.conn, p.id)
	if err != nil {
		return nil, classify(ctx, p.e.Address, err)
	}
	var names []string
	for _, i := range infos {
		names = append(names, i.GetChannelId())
	}
	sort.Strings(names)
	return names, nil
}

// Join makes the peer join the channel of a genesis block; ErrExists if it has already.
func (p *Peer) Join(ctx context.Context, genesis *common.Block) error {
	return classify(ctx, p.e.Address, channel.JoinChannel(ctx, p.conn, p.id, genesis))
}

// Height is the number of blocks the peer has of a channel.
func (p *Peer) Height(ctx context.Context, name string) (uint64, error) {
	info := &common.BlockchainInfo{}
	if err := p.ask(ctx, name, "qscc", "GetChainInfo", []byte(name), info); err != nil {
		return 0, err
	}
	return info.GetHeight(), nil
}

// Member is a peer of a channel, as another one has heard of it.
type Member struct {
	MSPID    string
	Endpoint string // host:port
	Height   uint64
	// Chaincodes are those that are committed to the channel, approved by the peer's organisation
	// and installed on it: the definition's sequence number by name. Fabric calls it version here.
	Chaincodes map[string]string
}

// Members lists the peers of a channel that this peer knows and takes for alive, itself
// included. A peer that has not joined answers as one that refuses: ErrNoChannel.
func (p *Peer) Members(ctx context.Context, name string) ([]Member, error) {
	result, err := sdkdiscovery.NewPeer(p.conn, p.id).PeerMembershipQuery(ctx, name, nil)
	if err != nil {
		return nil, classify(ctx, p.e.Address, err)
	}
	if result == nil {
		return nil, &NodeError{Node: p.e.Address, Kind: ErrNoChannel,
			Reason: fmt.Sprintf("no channel %q, or no right to ask for its peers", name)}
	}
	var members []Member
	for mspID, peers := range result.GetPeersByOrg() {
		for _, found := range peers.GetPeers() {
			m, err := member(mspID, found.GetMembershipInfo().GetPayload(), found.GetStateInfo().GetPayload())
			if err != nil {
				return nil, fmt.Errorf("%s: reading what is known of the peers of channel %q: %w", p.e.Address, name, err)
			}
			members = append(members, m)
		}
	}
	sort.Slice(members, func(i, j int) bool {
		a, b := members[i], members[j]
		return a.MSPID < b.MSPID || a.MSPID == b.MSPID && a.Endpoint < b.Endpoint
	})
	return members, nil
}

// Endorsable is nil if this peer knows peers that together can satisfy the chaincode's
// endorsement policy, and ErrNoEndorsers if it does not: then every transaction would fail.
func (p *Peer) Endorsable(ctx context.Context, name, chaincode string) error {
	creator, err := proto.Marshal(&msp.SerializedIdentity{Mspid: p.id.MspID(), IdBytes: p.id.Credentials()})
	if err != nil {
		return fmt.Errorf("%s: %w", p.e.Address, err)
	}
	payload, err := proto.Marshal(&discovery.Request{
		Authentication: &discovery.AuthInfo{ClientIdentity: creator},
		Queries: []*discovery.Query{{Channel: name, Query: &discovery.Query_CcQuery{CcQuery: &discovery.ChaincodeQuery{
			Interests: []*peer.ChaincodeInterest{{Chaincodes: []*peer.ChaincodeCall{{Name: chaincode}}}}}}}}})
	if err != nil {
		return fmt.Errorf("%s: %w", p.e.Address, err)
	}
	signature, err := p.id.Sign(payload)
	if err != nil {
		return fmt.Errorf("%s: %w", p.e.Address, err)
	}
	r, err := discovery.NewDiscoveryClient(p.conn).Discover(ctx, &discovery.SignedRequest{Payload: payload, Signature: signature})
	if err != nil {
		return classify(ctx, p.e.Address, err)
	}
	for _, result := range r.GetResults() {
		if result.GetError() != nil {
			// The peer says no more than that, neither why nor for which policy.
			return &NodeError{Node: p.e.Address, Kind: ErrNoEndorsers,
				Reason: fmt.Sprintf("no peers can satisfy the endorsement policy of chaincode %q on channel %q", chaincode, name)}
		}
	}
	return nil
}

func member(mspID string, alive, state []byte) (Member, error) {
	var a, s gossip.GossipMessage
	if err := proto.Unmarshal(alive, &a); err != nil {
		return Member{}, err
	}
	if err := proto.Unmarshal(state, &s); err != nil {
		return Member{}, err
	}
	properties := s.GetStateInfo().GetProperties()
	m := Member{MSPID: mspID, Endpoint: a.GetAliveMsg().GetMembership().GetEndpoint(),
		Height: properties.GetLedgerHeight(), Chaincodes: map[string]string{}}
	for _, cc := range properties.GetChaincodes() {
		m.Chaincodes[cc.GetName()] = cc.GetVersion()
	}
	return m, nil
}

// Evaluate calls a chaincode function through the gateway without making a transaction.
func (p *Peer) Evaluate(ctx context.Context, channel, chaincode, function string, args ...string) ([]byte, error) {
	out, err := p.gw.GetNetwork(channel).GetContract(chaincode).EvaluateWithContext(ctx, function, client.WithArguments(args...))
	return out, classify(ctx, p.e.Address, err)
}

// Submit calls a chaincode function as a transaction and waits until this peer has it in a block.
func (p *Peer) Submit(ctx context.Context, channel, chaincode, function string, args ...string) ([]byte, error) {
	out, err := p.gw.GetNetwork(channel).GetContract(chaincode).SubmitWithContext(ctx, function, client.WithArguments(args...))
	return out, classify(ctx, p.e.Address, err)
}

// ask calls a function of a system chaincode on this peer, past its gateway: the gateway
// might answer for another peer, and wants to connect to the peers of the whole channel first.
func (p *Peer) ask(ctx context.Context, channel, chaincode, function string, arg []byte, answer proto.Message) error {
	proposal, err := p.gw.GetNetwork(channel).GetContract(chaincode).NewProposal(function, client.WithBytesArguments(arg))
	if err != nil {
		return fmt.Errorf("%s: %w", p.e.Address, err)
	}
	answered, err := p.process(ctx, proposal)
	if err != nil {
		return err
	}
	r := answered.GetResponse()
	if r.GetStatus() < 200 || r.GetStatus() >= 400 {
		return said(p.e.Address, r.GetMessage(), nil)
	}
	if err := proto.Unmarshal(r.GetPayload(), answer); err != nil {
		return fmt.Errorf("%s: reading the answer of %s: %w", p.e.Address, function, err)
	}
	return nil
}

// process lets this very peer simulate a proposal.
func (p *Peer) process(ctx context.Context, proposal *client.Proposal) (*peer.ProposalResponse, error) {
	signature, err := p.id.Sign(proposal.Digest()) // with hash.NONE the digest is the whole message
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.e.Address, err)
	}
	data, err := proposal.Bytes()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.e.Address, err)
	}
	proposed := &gateway.ProposedTransaction{}
	if err := proto.Unmarshal(data, proposed); err != nil {
		return nil, fmt.Errorf("%s: %w", p.e.Address, err)
	}
	signed := proposed.GetProposal()
	signed.Signature = signature
	answered, err := peer.NewEndorserClient(p.conn).ProcessProposal(ctx, signed)
	return answered, classify(ctx, p.e.Address, err)
}
