package fabric

import (
	"context"
	"errors"
	"fmt"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
)

// Init makes the init call that a definition with InitRequired asks for, as a transaction, and
// waits until this peer has it in a block; ErrInitialized if somebody was faster.
func (p *Peer) Init(ctx context.Context, channel, chaincode, function string, args ...string) error {
	proposal, err := p.initProposal(channel, chaincode, function, args)
	if err != nil {
		return err
	}
	tx, err := proposal.EndorseWithContext(ctx)
	if err != nil {
		return classify(ctx, p.e.Address, err)
	}
	commit, err := tx.SubmitWithContext(ctx)
	if err != nil {
		return classify(ctx, p.e.Address, err)
	}
	status, err := commit.StatusWithContext(ctx)
	if err != nil {
		return classify(ctx, p.e.Address, err)
	}
	if !status.Successful {
		return invalidated(p.e.Address, &client.CommitError{TransactionID: status.TransactionID, Code: status.Code})
	}
	return nil
}

// Initialized reports whether the committed version of a chaincode has had its init call, by
// asking this peer to simulate it. Peers refuse a second one before they so much as start the
// chaincode, so the usual answer is cheap. Any other outcome than a refusal means that the call
// is still to come, also if the chaincode answers with an error.
func (p *Peer) Initialized(ctx context.Context, channel, chaincode, function string, args ...string) (bool, error) {
	proposal, err := p.initProposal(channel, chaincode, function, args)
	if err != nil {
		return false, err
	}
	answered, err := p.process(ctx, proposal)
	if err != nil {
		return false, err
	}
	r := answered.GetResponse()
	if r.GetStatus() >= 200 && r.GetStatus() < 400 || answered.GetPayload() != nil {
		return false, nil // the chaincode itself answered; the peer's own refusals have no payload
	}
	err = said(p.e.Address, r.GetMessage(), nil)
	if errors.Is(err, ErrInitialized) {
		return true, nil
	}
	return false, err
}

// initProposal marks a proposal as the init call, for which the gateway's client has no option.
func (p *Peer) initProposal(channel, chaincode, function string, args []string) (*client.Proposal, error) {
	plain, err := p.gw.GetNetwork(channel).GetContract(chaincode).NewProposal(function, client.WithArguments(args...))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.e.Address, err)
	}
	data, err := plain.Bytes()
	if err == nil {
		data, err = markInit(data)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: making the init call of chaincode %q: %w", p.e.Address, chaincode, err)
	}
	proposal, err := p.gw.NewProposal(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.e.Address, err)
	}
	return proposal, nil
}

// markInit sets the flag, which lies four messages deep.
func markInit(proposed []byte) ([]byte, error) {
	outer, proposal := &gateway.ProposedTransaction{}, &peer.Proposal{}
	payload, spec := &peer.ChaincodeProposalPayload{}, &peer.ChaincodeInvocationSpec{}
	for _, open := range []struct {
		data func() []byte
		into proto.Message
	}{
		{func() []byte { return proposed }, outer},
		{func() []byte { return outer.GetProposal().GetProposalBytes() }, proposal},
		{func() []byte { return proposal.GetPayload() }, payload},
		{func() []byte { return payload.GetInput() }, spec},
	} {
		if err := proto.Unmarshal(open.data(), open.into); err != nil {
			return nil, err
		}
	}
	spec.GetChaincodeSpec().GetInput().IsInit = true
	var err error
	if payload.Input, err = proto.Marshal(spec); err != nil {
		return nil, err
	}
	if proposal.Payload, err = proto.Marshal(payload); err != nil {
		return nil, err
	}
	if outer.Proposal.ProposalBytes, err = proto.Marshal(proposal); err != nil {
		return nil, err
	}
	return proto.Marshal(outer)
}
