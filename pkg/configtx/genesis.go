package configtx

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// Fabric's own.
const (
	nonceLength   = 24
	headerVersion = 1
)

// Genesis makes the block that orderers join a channel with. Orgs are by Org.Name, and hold
// at least the channel's. The same input gives the same bytes once marshalled with Marshal.
func Genesis(ch *network.Channel, orgs map[string]*pki.Public) (*common.Block, error) {
	block, err := genesis(ch, orgs)
	if err != nil {
		return nil, fmt.Errorf("making the genesis block of channel %q: %w", ch.Name, err)
	}
	return block, nil
}

// Marshal encodes a block. Maps of the configuration are already opaque bytes inside it, in
// sorted order, so equal blocks are equal bytes.
func Marshal(block *common.Block) ([]byte, error) { return marshal(block) }

func genesis(ch *network.Channel, orgs map[string]*pki.Public) (*common.Block, error) {
	group, err := channelGroup(ch, orgs)
	if err != nil {
		return nil, err
	}
	config, err := marshal(&common.ConfigEnvelope{Config: &common.Config{ChannelGroup: group}})
	if err != nil {
		return nil, err
	}
	born, err := birth(ch, orgs)
	if err != nil {
		return nil, err
	}
	nonce := sha256.Sum256(append([]byte(ch.Name+"\x00"), config...))
	txID := sha256.Sum256(nonce[:nonceLength]) // nonce and creator; a genesis block has no creator
	channelHeader, err := marshal(&common.ChannelHeader{
		Type:      int32(common.HeaderType_CONFIG),
		Version:   headerVersion,
		ChannelId: ch.Name,
		Timestamp: timestamppb.New(born),
		TxId:      hex.EncodeToString(txID[:]),
	})
	if err != nil {
		return nil, err
	}
	signatureHeader, err := marshal(&common.SignatureHeader{Nonce: nonce[:nonceLength]})
	if err != nil {
		return nil, err
	}
	payload, err := marshal(&common.Payload{
		Header: &common.Header{ChannelHeader: channelHeader, SignatureHeader: signatureHeader},
		Data:   config,
	})
	if err != nil {
		return nil, err
	}
	envelope, err := marshal(&common.Envelope{Payload: payload})
	if err != nil {
		return nil, err
	}
	return firstBlock(envelope)
}

func firstBlock(envelope []byte) (*common.Block, error) {
	lastConfig := &common.LastConfig{Index: 0}
	lastConfigBytes, err := marshal(lastConfig)
	if err != nil {
		return nil, err
	}
	signed, err := marshal(&common.OrdererBlockMetadata{LastConfig: lastConfig})
	if err != nil {
		return nil, err
	}
	metadata := make([][]byte, len(common.BlockMetadataIndex_name))
	for i := range metadata {
		metadata[i] = []byte{}
	}
	for index, value := range map[common.BlockMetadataIndex][]byte{
		common.BlockMetadataIndex_LAST_CONFIG: lastConfigBytes, // read by Fabric before 1.4.1, written by configtxgen
		common.BlockMetadataIndex_SIGNATURES:  signed,
	} {
		if metadata[index], err = marshal(&common.Metadata{Value: value}); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(envelope)
	return &common.Block{
		Header:   &common.BlockHeader{DataHash: sum[:]},
		Data:     &common.BlockData{Data: [][]byte{envelope}},
		Metadata: &common.BlockMetadata{Metadata: metadata},
	}, nil
}

// birth is the block's timestamp. Nothing checks it, but block explorers show it and sort by
// it: the time when the youngest of the channel's CAs began is near the truth and always the same.
func birth(ch *network.Channel, orgs map[string]*pki.Public) (time.Time, error) {
	var youngest time.Time
	for _, o := range members(ch) {
		p, err := public(orgs, o)
		if err != nil {
			return youngest, err
		}
		for _, c := range p.RootCerts {
			block, _ := pem.Decode([]byte(c))
			if block == nil {
				return youngest, fmt.Errorf("org %q: a root certificate is not PEM", o.Name)
			}
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return youngest, fmt.Errorf("org %q: reading a root certificate: %w", o.Name, err)
			}
			if cert.NotBefore.After(youngest) {
				youngest = cert.NotBefore
			}
		}
	}
	return youngest, nil
}

// marshal fixes the order of maps. Protobuf promises it within one build of a program, which is
// what the pods of one network run.
func marshal(m proto.Message) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return b, nil
}
