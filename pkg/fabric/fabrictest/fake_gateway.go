package fabrictest

import (
	"context"
	"fmt"
	"slices"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
)

// gatewayServer calls other peers and the orderers for a client.
type gatewayServer struct {
	gateway.UnimplementedGatewayServer
	*peerServer
}

func (g *gatewayServer) Evaluate(_ context.Context, req *gateway.EvaluateRequest) (*gateway.EvaluateResponse, error) {
	prop, err := g.unpack(req.GetProposedTransaction())
	if err != nil {
		return nil, err
	}
	g.f.mu.Lock()
	defer g.f.mu.Unlock()
	if !g.f.nodes[g.node.Name()].joined[prop.channel] {
		return nil, status.Errorf(codes.Unavailable, "failed to get config for channel [%s]: no such channel", prop.channel)
	}
	for _, s := range g.f.visible(g.node, prop.channel) {
		if g.f.runsOn(s, prop.channel, prop.chaincode) == "" {
			continue
		}
		at := &peerServer{f: g.f, node: s.node}
		r := at.execute(prop)
		if r.GetStatus() >= 400 {
			code, message := refusal(r)
			return nil, withDetails(code, "evaluate call to endorser returned error: "+message, at.detail(message))
		}
		return &gateway.EvaluateResponse{Result: r}, nil
	}
	return nil, status.Errorf(codes.FailedPrecondition, "no peers available to evaluate chaincode %s in channel %s", prop.chaincode, prop.channel)
}

// refusal words a failed response as the real gateway does.
func refusal(r *peer.Response) (codes.Code, string) {
	if r.GetPayload() == nil && r.GetStatus() == 500 {
		return codes.Aborted, r.GetMessage()
	}
	return codes.Unknown, fmt.Sprintf("chaincode response %d, %s", r.GetStatus(), r.GetMessage())
}

func (p *peerServer) detail(message string) *gateway.ErrorDetail {
	return &gateway.ErrorDetail{Address: p.node.Address(), MspId: p.node.Org.MSPID, Message: message}
}

func withDetails(code codes.Code, message string, details ...*gateway.ErrorDetail) error {
	st := status.New(code, message)
	var list []protoadapt.MessageV1
	for _, d := range details {
		list = append(list, protoadapt.MessageV1Of(d))
	}
	if with, err := st.WithDetails(list...); err == nil {
		st = with
	}
	return st.Err()
}

func (g *gatewayServer) Endorse(_ context.Context, req *gateway.EndorseRequest) (*gateway.EndorseResponse, error) {
	prop, err := g.unpack(req.GetProposedTransaction())
	if err != nil {
		return nil, err
	}
	g.f.mu.Lock()
	defer g.f.mu.Unlock()
	if !g.f.nodes[g.node.Name()].joined[prop.channel] {
		return nil, withDetails(codes.Aborted, "failed to endorse transaction, see attached details for more info",
			g.detail(fmt.Sprintf("channel '%s' not found", prop.channel)))
	}
	r, err := g.collect(prop, req.GetEndorsingOrganizations())
	if err != nil {
		return nil, err
	}
	g.f.pending[prop.txID] = &transaction{channel: prop.channel, apply: g.effect(prop)}
	return prepared(prop, r)
}

// collect asks one peer of as many organisations as the policy needs.
func (g *gatewayServer) collect(prop *proposal, orgs []string) (*peer.Response, error) {
	visible, known := g.f.visible(g.node, prop.channel), g.known(prop)
	ask := func(o string) bool { return len(orgs) == 0 || slices.Contains(orgs, o) }
	if len(orgs) == 0 && !g.satisfied(prop, known) {
		return nil, status.Error(codes.FailedPrecondition, "no combination of peers can be derived which satisfy the endorsement policy: no peer combination can satisfy the endorsement policy")
	}
	var endorsed []string
	var details []*gateway.ErrorDetail
	var first *peer.Response
	for _, s := range visible {
		mspID := s.node.Org.MSPID
		if !ask(mspID) || !slices.Contains(known, mspID) || slices.Contains(endorsed, mspID) {
			continue
		}
		at := &peerServer{f: g.f, node: s.node}
		r := at.execute(prop)
		if r.GetStatus() >= 400 {
			_, message := refusal(r)
			details = append(details, at.detail(message))
			continue
		}
		endorsed = append(endorsed, mspID)
		first = r
	}
	if first == nil || len(orgs) == 0 && !g.satisfied(prop, endorsed) {
		return nil, withDetails(codes.Aborted, "failed to collect enough transaction endorsements, see attached details for more info", details...)
	}
	return first, nil
}

// known are the organisations, once per peer, whose peers could run the chaincode.
func (g *gatewayServer) known(prop *proposal) []string {
	var orgs []string
	for _, s := range g.f.visible(g.node, prop.channel) {
		if prop.chaincode == "_lifecycle" || g.f.runsOn(s, prop.channel, prop.chaincode) != "" {
			orgs = append(orgs, s.node.Org.MSPID)
		}
	}
	return orgs
}

// satisfied reports whether peers of these organisations can satisfy the policy.
func (g *gatewayServer) satisfied(prop *proposal, orgs []string) bool {
	l := g.f.ledgers[prop.channel]
	policy := &peer.ApplicationPolicy{}
	if prop.chaincode != "_lifecycle" {
		d, ok := l.committed[prop.chaincode]
		if !ok || proto.Unmarshal(d.Policy, policy) != nil {
			return false
		}
	}
	if p := policy.GetSignaturePolicy(); p != nil {
		return signs(p.GetRule(), p.GetIdentities(), orgs)
	}
	n := 0
	for _, m := range l.members {
		if slices.Contains(orgs, m) {
			n++
		}
	}
	return n > len(l.members)/2
}

func signs(rule *common.SignaturePolicy, ids []*msp.MSPPrincipal, orgs []string) bool {
	if n := rule.GetNOutOf(); n != nil {
		have := int32(0)
		for _, r := range n.GetRules() {
			if signs(r, ids, orgs) {
				have++
			}
		}
		return have >= n.GetN()
	}
	role := &msp.MSPRole{}
	if err := proto.Unmarshal(ids[rule.GetSignedBy()].GetPrincipal(), role); err != nil {
		return false
	}
	peerLike := role.GetRole() == msp.MSPRole_MEMBER || role.GetRole() == msp.MSPRole_PEER
	return peerLike && slices.Contains(orgs, role.GetMspIdentifier())
}

// effect is what the transaction does once it is ordered. It checks again, because others
// may have been ordered before it.
func (g *gatewayServer) effect(prop *proposal) func(*ledger) peer.TxValidationCode {
	if prop.chaincode != "_lifecycle" {
		return func(l *ledger) peer.TxValidationCode {
			if !prop.isInit {
				return peer.TxValidationCode_VALID
			}
			if l.mayCall(prop) != nil {
				return peer.TxValidationCode_MVCC_READ_CONFLICT
			}
			l.initialized[prop.chaincode] = l.committed[prop.chaincode].Version
			return peer.TxValidationCode_VALID
		}
	}
	arg := prop.args[1]
	if string(prop.args[0]) == "CommitChaincodeDefinition" {
		return func(l *ledger) peer.TxValidationCode {
			d, err := commitOf(arg)
			if err != nil || l.isNext(d) != nil {
				return peer.TxValidationCode_MVCC_READ_CONFLICT
			}
			l.committed[d.Name] = d
			return peer.TxValidationCode_VALID
		}
	}
	return func(l *ledger) peer.TxValidationCode {
		a, err := approvalOf(arg)
		if err != nil || l.mayApprove(prop.from.mspID, a) != nil {
			return peer.TxValidationCode_MVCC_READ_CONFLICT
		}
		k := key(a.Name, a.Sequence)
		if l.approved[k] == nil {
			l.approved[k] = map[string]approved{}
		}
		l.approved[k][prop.from.mspID] = a
		return peer.TxValidationCode_VALID
	}
}

func prepared(prop *proposal, r *peer.Response) (*gateway.EndorseResponse, error) {
	var failed error
	marshal := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			failed = err
		}
		return b
	}
	action := marshal(&peer.ChaincodeAction{Response: r})
	response := marshal(&peer.ProposalResponsePayload{Extension: action})
	payload := marshal(&peer.ChaincodeActionPayload{Action: &peer.ChaincodeEndorsedAction{ProposalResponsePayload: response}})
	tx := marshal(&peer.Transaction{Actions: []*peer.TransactionAction{{Payload: payload}}})
	envelope := marshal(&common.Payload{Header: prop.header, Data: tx})
	return &gateway.EndorseResponse{PreparedTransaction: &common.Envelope{Payload: envelope}}, failed
}

func (g *gatewayServer) Submit(_ context.Context, req *gateway.SubmitRequest) (*gateway.SubmitResponse, error) {
	g.f.mu.Lock()
	defer g.f.mu.Unlock()
	tx := g.f.pending[req.GetTransactionId()]
	if tx == nil {
		return nil, status.Error(codes.InvalidArgument, "a prepared transaction is required")
	}
	if !g.f.hasLeader(tx.channel) {
		return nil, withDetails(codes.Unavailable, "no orderers could successfully process transaction", &gateway.ErrorDetail{
			Address: g.f.ledgers[tx.channel].orderers[0], Message: "received unsuccessful response from orderer: status=SERVICE_UNAVAILABLE, info=no Raft leader"})
	}
	if !tx.done {
		l := g.f.ledgers[tx.channel]
		tx.code, tx.done = tx.apply(l), true
		l.add()
	}
	return &gateway.SubmitResponse{}, nil
}

func (g *gatewayServer) CommitStatus(_ context.Context, signed *gateway.SignedCommitStatusRequest) (*gateway.CommitStatusResponse, error) {
	req := &gateway.CommitStatusRequest{}
	if err := proto.Unmarshal(signed.GetRequest(), req); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	g.f.mu.Lock()
	defer g.f.mu.Unlock()
	tx := g.f.pending[req.GetTransactionId()]
	if tx == nil || !tx.done {
		return nil, status.Error(codes.DeadlineExceeded, "the transaction is in no block")
	}
	return &gateway.CommitStatusResponse{Result: tx.code, BlockNumber: uint64(len(g.f.ledgers[tx.channel].blocks) - 1)}, nil
}
