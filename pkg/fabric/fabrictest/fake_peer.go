package fabrictest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/discovery"
	"github.com/hyperledger/fabric-protos-go-apiv2/gossip"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"pivt.io/pivt/pkg/network"
)

// peerServer endorses proposals and tells of other peers.
type peerServer struct {
	peer.UnimplementedEndorserServer
	discovery.UnimplementedDiscoveryServer
	f    *Nodes
	node *network.Node
}

// proposal is a peer.SignedProposal unpacked.
type proposal struct {
	header    *common.Header
	payload   *peer.ChaincodeProposalPayload
	channel   string
	txID      string
	chaincode string
	args      [][]byte
	isInit    bool
	from      signer
}

func (p *peerServer) unpack(signed *peer.SignedProposal) (*proposal, error) {
	prop, channelHeader, sig := &peer.Proposal{}, &common.ChannelHeader{}, &common.SignatureHeader{}
	out := &proposal{header: &common.Header{}, payload: &peer.ChaincodeProposalPayload{}}
	spec := &peer.ChaincodeInvocationSpec{}
	for _, step := range []func() error{
		func() error { return proto.Unmarshal(signed.GetProposalBytes(), prop) },
		func() error { return proto.Unmarshal(prop.GetHeader(), out.header) },
		func() error { return proto.Unmarshal(out.header.GetChannelHeader(), channelHeader) },
		func() error { return proto.Unmarshal(out.header.GetSignatureHeader(), sig) },
		func() error { return proto.Unmarshal(prop.GetPayload(), out.payload) },
		func() error { return proto.Unmarshal(out.payload.GetInput(), spec) },
	} {
		if err := step(); err != nil {
			return nil, status.Error(codes.Unknown, err.Error())
		}
	}
	who, err := p.f.verify(sig.GetCreator(), signed.GetProposalBytes(), signed.GetSignature())
	if err != nil {
		return nil, status.Errorf(codes.Unknown, "error validating proposal: access denied: channel [%s] %s", channelHeader.GetChannelId(), err)
	}
	out.channel, out.txID, out.from = channelHeader.GetChannelId(), channelHeader.GetTxId(), who
	out.chaincode = spec.GetChaincodeSpec().GetChaincodeId().GetName()
	out.args, out.isInit = spec.GetChaincodeSpec().GetInput().GetArgs(), spec.GetChaincodeSpec().GetInput().GetIsInit()
	if len(out.args) == 0 {
		return nil, status.Error(codes.Unknown, "no arguments")
	}
	return out, nil
}

// ProcessProposal answers as a real peer does: what concerns the proposal itself is a gRPC
// error, what concerns its content a response with a status.
func (p *peerServer) ProcessProposal(_ context.Context, signed *peer.SignedProposal) (*peer.ProposalResponse, error) {
	prop, err := p.unpack(signed)
	if err != nil {
		return nil, err
	}
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	r := p.execute(prop)
	return &peer.ProposalResponse{Response: r, Payload: r.GetPayload()}, nil
}

func fail(format string, args ...any) *peer.Response {
	return &peer.Response{Status: 500, Message: fmt.Sprintf(format, args...)}
}

func succeed(m proto.Message) *peer.Response {
	payload, err := proto.Marshal(m)
	if err != nil {
		return fail("%v", err)
	}
	return &peer.Response{Status: 200, Payload: payload}
}

func (p *peerServer) execute(prop *proposal) *peer.Response {
	mine := p.f.nodes[p.node.Name()]
	if prop.channel != "" {
		if !mine.joined[prop.channel] {
			return fail("channel '%s' not found", prop.channel)
		}
		if !slices.Contains(p.f.ledgers[prop.channel].members, prop.from.mspID) {
			return fail("Failed to authorize invocation due to failed ACL check")
		}
	}
	function := string(prop.args[0])
	switch prop.chaincode {
	case "cscc":
		return p.cscc(prop, function, mine)
	case "qscc":
		l := p.f.ledgers[prop.channel]
		return succeed(&common.BlockchainInfo{Height: uint64(len(l.blocks))})
	case "_lifecycle":
		if len(prop.args) != 2 {
			return fail("lifecycle scc operations require exactly two arguments but received %d", len(prop.args))
		}
		answer, err := p.lifecycle(prop, function, prop.args[1], mine)
		var undefined undefinedError
		switch {
		case errors.As(err, &undefined):
			return &peer.Response{Status: 404, Message: err.Error()}
		case errors.Is(err, errACL):
			return fail("Failed to authorize invocation due to failed ACL check: %v", err)
		case err != nil:
			return fail("failed to invoke backing implementation of '%s': %v", function, err)
		}
		return succeed(answer)
	}
	return p.call(prop)
}

// errACL is how local admin's rights are refused.
var errACL = errors.New("Failed verifying that proposal's creator satisfies local MSP principal: This identity is not an admin") //nolint:staticcheck // Fabric's words

func (p *peerServer) cscc(prop *proposal, function string, mine *state) *peer.Response {
	switch function {
	case "GetChannels":
		r := &peer.ChannelQueryResponse{}
		for name := range mine.joined {
			r.Channels = append(r.Channels, &peer.ChannelInfo{ChannelId: name})
		}
		return succeed(r)
	case "JoinChain":
		block := &common.Block{}
		if err := proto.Unmarshal(prop.args[1], block); err != nil {
			return fail("Failed to reconstruct the genesis block, %s", err)
		}
		name, _, err := newLedger(block)
		if err != nil {
			return fail("%v", err)
		}
		if !prop.from.admin || prop.from.mspID != p.node.Org.MSPID {
			return fail("access denied for [JoinChain][%s]: [%v]", name, errACL)
		}
		if mine.joined[name] {
			return fail("cannot create ledger from genesis block: ledger [%s] already exists with state [ACTIVE]", name)
		}
		if p.f.ledgers[name] == nil {
			return fail("no orderer has channel %s", name)
		}
		mine.joined[name] = true
		return &peer.Response{Status: 200}
	}
	return fail("Requested function %s not found.", function)
}

// runsOn is the id of the package that a peer could run for a chaincode, or "".
func (f *Nodes) runsOn(s *state, channel, name string) string {
	l := f.ledgers[channel]
	d, ok := l.committed[name]
	if !ok {
		return ""
	}
	id := l.approved[key(name, d.Sequence)][s.node.Org.MSPID].packageID
	if _, ok := s.installed[id]; !ok {
		return ""
	}
	return id
}

// call runs the chaincode, which is the one that Main runs on real peers.
func (p *peerServer) call(prop *proposal) *peer.Response {
	s := p.f.nodes[p.node.Name()]
	id := p.f.runsOn(s, prop.channel, prop.chaincode)
	if id == "" {
		return fail("make sure the chaincode %s has been successfully defined on channel %s and try again: chaincode %s not found",
			prop.chaincode, prop.channel, prop.chaincode)
	}
	if err := p.f.ledgers[prop.channel].mayCall(prop); err != nil {
		return fail("error in simulation: failed to execute transaction %s: invalid invocation: %v", prop.txID, err)
	}
	if err := p.f.launches[id]; err != nil {
		return fail("error in simulation: failed to execute transaction %s: could not launch chaincode %s: %v", prop.txID, id, err)
	}
	if string(prop.args[0]) == "fail" {
		return &peer.Response{Status: 500, Message: "this function fails", Payload: []byte("by the chaincode")}
	}
	return &peer.Response{Status: 200, Payload: prop.args[0]}
}

// mayCall enforces that the init call is made once for each version, and first.
func (l *ledger) mayCall(prop *proposal) error {
	d := l.committed[prop.chaincode]
	needs := d.InitRequired && l.initialized[prop.chaincode] != d.Version
	switch {
	case prop.isInit && !d.InitRequired:
		return fmt.Errorf("chaincode '%s' does not require initialization but called as init", prop.chaincode)
	case prop.isInit && !needs:
		return fmt.Errorf("chaincode '%s' is already initialized but called as init", prop.chaincode)
	case !prop.isInit && needs:
		return fmt.Errorf("chaincode '%s' has not been initialized for this version, must call as init first", prop.chaincode)
	}
	return nil
}

// Discover answers questions for the peers of a channel.
func (p *peerServer) Discover(_ context.Context, signed *discovery.SignedRequest) (*discovery.Response, error) {
	req := &discovery.Request{}
	if err := proto.Unmarshal(signed.GetPayload(), req); err != nil {
		return nil, status.Error(codes.Unknown, "failed parsing request")
	}
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	r := &discovery.Response{}
	for _, q := range req.GetQueries() {
		who, err := p.f.verify(req.GetAuthentication().GetClientIdentity(), signed.GetPayload(), signed.GetSignature())
		l := p.f.ledgers[q.GetChannel()]
		if err != nil || !p.f.nodes[p.node.Name()].joined[q.GetChannel()] || !slices.Contains(l.members, who.mspID) {
			r.Results = append(r.Results, &discovery.QueryResult{Result: &discovery.QueryResult_Error{Error: &discovery.Error{Content: "access denied"}}})
			continue
		}
		if cc := q.GetCcQuery(); cc != nil {
			r.Results = append(r.Results, p.descriptor(q.GetChannel(), cc.GetInterests()[0].GetChaincodes()[0].GetName()))
			continue
		}
		found := &discovery.PeerMembershipResult{PeersByOrg: map[string]*discovery.Peers{}}
		for _, s := range p.f.visible(p.node, q.GetChannel()) {
			list := found.PeersByOrg[s.node.Org.MSPID]
			if list == nil {
				list = &discovery.Peers{}
				found.PeersByOrg[s.node.Org.MSPID] = list
			}
			list.Peers = append(list.Peers, p.describe(s, q.GetChannel()))
		}
		r.Results = append(r.Results, &discovery.QueryResult{Result: &discovery.QueryResult_Members{Members: found}})
	}
	return r, nil
}

// descriptor answers who could endorse, without saying who.
func (p *peerServer) descriptor(channel, chaincode string) *discovery.QueryResult {
	g := &gatewayServer{peerServer: p}
	prop := &proposal{channel: channel, chaincode: chaincode}
	if !g.satisfied(prop, g.known(prop)) {
		return &discovery.QueryResult{Result: &discovery.QueryResult_Error{Error: &discovery.Error{
			Content: "failed constructing descriptor for chaincodes:<name:\"" + chaincode + "\" >"}}}
	}
	return &discovery.QueryResult{Result: &discovery.QueryResult_CcQueryRes{CcQueryRes: &discovery.ChaincodeQueryResult{
		Content: []*discovery.EndorsementDescriptor{{Chaincode: chaincode}}}}}
}

func (p *peerServer) describe(s *state, channel string) *discovery.Peer {
	l := p.f.ledgers[channel]
	properties := &gossip.Properties{LedgerHeight: uint64(len(l.blocks)), Chaincodes: []*gossip.Chaincode{{Name: "_lifecycle", Version: "1"}}}
	for name, d := range l.committed {
		if p.f.runsOn(s, channel, name) != "" {
			properties.Chaincodes = append(properties.Chaincodes, &gossip.Chaincode{Name: name, Version: strconv.FormatInt(d.Sequence, 10)})
		}
	}
	alive, _ := proto.Marshal(&gossip.GossipMessage{Content: &gossip.GossipMessage_AliveMsg{AliveMsg: &gossip.AliveMessage{
		Membership: &gossip.Member{Endpoint: s.node.Address()}}}})
	info, _ := proto.Marshal(&gossip.GossipMessage{Content: &gossip.GossipMessage_StateInfo{StateInfo: &gossip.StateInfo{Properties: properties}}})
	return &discovery.Peer{MembershipInfo: &gossip.Envelope{Payload: alive}, StateInfo: &gossip.Envelope{Payload: info}}
}
