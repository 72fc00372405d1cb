package fabric

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"pivt.io/pivt/pkg/exit"
)

// Orderer reads blocks from one orderer.
type Orderer struct {
	e    Endpoint
	id   Identity
	conn *grpc.ClientConn
}

// NewOrderer makes a client that signs as id. It connects with the first call.
func NewOrderer(e Endpoint, id Identity) (*Orderer, error) {
	conn, err := e.connect()
	if err != nil {
		return nil, err
	}
	return &Orderer{e, id, conn}, nil
}

// Address names the orderer.
func (o *Orderer) Address() string { return o.e.Address }

// Close ends the connection.
func (o *Orderer) Close() { _ = o.conn.Close() }

// Newest is the last block the orderer has, even while its channel has no leader.
func (o *Orderer) Newest(ctx context.Context, channel string) (*common.Block, error) {
	return o.seek(ctx, channel, newest(), orderer.SeekInfo_BEST_EFFORT)
}

// Block is the block with a number; ErrNoChannel also if the channel has no such block yet.
func (o *Orderer) Block(ctx context.Context, channel string, number uint64) (*common.Block, error) {
	return o.seek(ctx, channel, specified(number), orderer.SeekInfo_BEST_EFFORT)
}

// Ready is nil if the orderer would order transactions of the channel now; without a leader
// the error is transient.
func (o *Orderer) Ready(ctx context.Context, channel string) error {
	_, err := o.seek(ctx, channel, newest(), orderer.SeekInfo_STRICT)
	return err
}

// Config is the channel's latest configuration block.
func (o *Orderer) Config(ctx context.Context, channel string) (*common.Block, error) {
	last, err := o.Newest(ctx, channel)
	if err != nil {
		return nil, err
	}
	number, err := lastConfig(last)
	if err != nil {
		return nil, fmt.Errorf("%s: channel %q: %w", o.e.Address, channel, err)
	}
	if number == last.GetHeader().GetNumber() {
		return last, nil
	}
	return o.Block(ctx, channel, number)
}

func newest() *orderer.SeekPosition {
	return &orderer.SeekPosition{Type: &orderer.SeekPosition_Newest{Newest: &orderer.SeekNewest{}}}
}

func specified(n uint64) *orderer.SeekPosition {
	return &orderer.SeekPosition{Type: &orderer.SeekPosition_Specified{Specified: &orderer.SeekSpecified{Number: n}}}
}

func (o *Orderer) seek(ctx context.Context, channel string, at *orderer.SeekPosition, errs orderer.SeekInfo_SeekErrorResponse) (*common.Block, error) {
	env, err := envelope(o.id, channel, common.HeaderType_DELIVER_SEEK_INFO, &orderer.SeekInfo{
		Start: at, Stop: at, Behavior: orderer.SeekInfo_FAIL_IF_NOT_READY, ErrorResponse: errs})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.e.Address, err)
	}
	ctx, cancel := context.WithCancel(ctx) // ends the stream
	defer cancel()
	stream, err := orderer.NewAtomicBroadcastClient(o.conn).Deliver(ctx)
	if err != nil {
		return nil, classify(ctx, o.e.Address, err)
	}
	if err := stream.Send(env); err != nil {
		// The stream's own error, if there is one, comes from Recv.
		if _, recvErr := stream.Recv(); recvErr != nil {
			err = recvErr
		}
		return nil, classify(ctx, o.e.Address, err)
	}
	answer, err := stream.Recv()
	if err != nil {
		return nil, classify(ctx, o.e.Address, err)
	}
	if block := answer.GetBlock(); block != nil {
		return block, nil
	}
	return nil, o.statusError(channel, answer.GetStatus())
}

func (o *Orderer) statusError(channel string, status common.Status) error {
	e := &NodeError{Node: o.e.Address}
	switch status {
	case common.Status_NOT_FOUND:
		e.Kind, e.Reason = ErrNoChannel, fmt.Sprintf("channel %q is not there", channel)
	case common.Status_FORBIDDEN:
		e.Kind, e.Reason = ErrDenied, fmt.Sprintf("%s may not read channel %q", o.id.MspID(), channel)
	case common.Status_SERVICE_UNAVAILABLE:
		e.Reason = fmt.Sprintf("channel %q has no leader", channel)
		return exit.Transient(e)
	default:
		e.Reason = fmt.Sprintf("reading channel %q: %s", channel, status)
	}
	return e
}

// envelope wraps and signs a message to an orderer.
func envelope(id Identity, channel string, kind common.HeaderType, data proto.Message) (*common.Envelope, error) {
	payload, err := proto.Marshal(data)
	if err != nil {
		return nil, err
	}
	header, err := proto.Marshal(&common.ChannelHeader{Type: int32(kind), ChannelId: channel, Timestamp: timestamppb.Now()})
	if err != nil {
		return nil, err
	}
	creator, err := proto.Marshal(&msp.SerializedIdentity{Mspid: id.MspID(), IdBytes: id.Credentials()})
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, 24)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	signature, err := proto.Marshal(&common.SignatureHeader{Creator: creator, Nonce: nonce})
	if err != nil {
		return nil, err
	}
	message, err := proto.Marshal(&common.Payload{Header: &common.Header{ChannelHeader: header, SignatureHeader: signature}, Data: payload})
	if err != nil {
		return nil, err
	}
	sig, err := id.Sign(message)
	if err != nil {
		return nil, err
	}
	return &common.Envelope{Payload: message, Signature: sig}, nil
}

// lastConfig is the number of the latest configuration block, which every block's signature
// metadata names. The genesis block carries none and is one itself.
func lastConfig(block *common.Block) (uint64, error) {
	if block.GetHeader().GetNumber() == 0 {
		return 0, nil
	}
	list := block.GetMetadata().GetMetadata()
	if len(list) <= int(common.BlockMetadataIndex_SIGNATURES) {
		return 0, errors.New("the block carries no metadata")
	}
	metadata := &common.Metadata{}
	if err := proto.Unmarshal(list[common.BlockMetadataIndex_SIGNATURES], metadata); err != nil {
		return 0, fmt.Errorf("reading block metadata: %w", err)
	}
	value := &common.OrdererBlockMetadata{}
	if err := proto.Unmarshal(metadata.GetValue(), value); err != nil {
		return 0, fmt.Errorf("reading block metadata: %w", err)
	}
	return value.GetLastConfig().GetIndex(), nil
}
