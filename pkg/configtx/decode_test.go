package configtx_test

import (
	"fmt"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer/etcdraft"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer/smartbft"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// chance lists the fields that configtxgen takes from the clock or from chance, and the hash
// that covers them.
var chance = map[protoreflect.FullName]bool{
	"common.BlockHeader.data_hash":   true,
	"common.ChannelHeader.timestamp": true,
	"common.ChannelHeader.tx_id":     true,
	"common.SignatureHeader.nonce":   true,
}

// opaque tells what message a field of bytes holds. parent is the message it is in, key that
// message's key if it is in a map.
func opaque(field protoreflect.FullName, parent proto.Message, key string) proto.Message {
	switch field {
	case "common.BlockData.data":
		return &common.Envelope{}
	case "common.Envelope.payload":
		return &common.Payload{}
	case "common.Payload.data":
		return &common.ConfigEnvelope{}
	case "common.Header.channel_header":
		return &common.ChannelHeader{}
	case "common.Header.signature_header":
		return &common.SignatureHeader{}
	case "common.ConfigValue.value":
		return configValue(key)
	case "common.Policy.value":
		if parent.(*common.Policy).Type == int32(common.Policy_IMPLICIT_META) {
			return &common.ImplicitMetaPolicy{}
		}
		return &common.SignaturePolicyEnvelope{}
	case "common.MSPPrincipal.principal":
		if parent.(*msp.MSPPrincipal).PrincipalClassification == msp.MSPPrincipal_IDENTITY {
			return &msp.SerializedIdentity{}
		}
		return &msp.MSPRole{}
	case "msp.MSPConfig.config":
		return &msp.FabricMSPConfig{}
	case "orderer.ConsensusType.metadata":
		if parent.(*orderer.ConsensusType).Type == "BFT" {
			return &smartbft.Options{}
		}
		return &etcdraft.ConfigMetadata{}
	}
	return nil
}

func configValue(key string) proto.Message {
	switch key {
	case "HashingAlgorithm":
		return &common.HashingAlgorithm{}
	case "BlockDataHashingStructure":
		return &common.BlockDataHashingStructure{}
	case "Capabilities":
		return &common.Capabilities{}
	case "BatchSize":
		return &orderer.BatchSize{}
	case "BatchTimeout":
		return &orderer.BatchTimeout{}
	case "ChannelRestrictions":
		return &orderer.ChannelRestrictions{}
	case "ConsensusType":
		return &orderer.ConsensusType{}
	case "Orderers":
		return &common.Orderers{}
	case "Endpoints":
		return &common.OrdererAddresses{}
	case "AnchorPeers":
		return &peer.AnchorPeers{}
	case "MSP":
		return &msp.MSPConfig{}
	}
	return nil
}

// decode turns a message into maps, slices and scalars, with every field, set or not, and
// every message inside a field of bytes taken apart as well.
func decode(t *testing.T, m proto.Message, key string) map[string]any {
	t.Helper()
	out := map[string]any{}
	r := m.ProtoReflect()
	fields := r.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if chance[f.FullName()] || (f.ContainingOneof() != nil && !r.Has(f)) {
			continue
		}
		name, v := string(f.Name()), r.Get(f)
		switch {
		case f.IsMap():
			entries := map[string]any{}
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				entries[k.String()] = decodeValue(t, f.MapValue(), v, m, k.String())
				return true
			})
			out[name] = entries
		case f.IsList():
			list := []any{}
			for j := range v.List().Len() {
				list = append(list, decodeValue(t, f, v.List().Get(j), m, key))
			}
			out[name] = list
		case f.Message() != nil && !r.Has(f):
			out[name] = nil
		default:
			out[name] = decodeValue(t, f, v, m, key)
		}
	}
	return out
}

func decodeValue(t *testing.T, f protoreflect.FieldDescriptor, v protoreflect.Value, parent proto.Message, key string) any {
	t.Helper()
	switch f.Kind() {
	case protoreflect.MessageKind:
		return decode(t, v.Message().Interface(), key)
	case protoreflect.EnumKind:
		return string(f.Enum().Values().ByNumber(v.Enum()).Name())
	case protoreflect.BytesKind:
		inner := opaque(f.FullName(), parent, key)
		if inner == nil {
			return string(v.Bytes())
		}
		if err := proto.Unmarshal(v.Bytes(), inner); err != nil {
			t.Fatalf("decoding %s %s: %v", f.FullName(), key, err)
		}
		return decode(t, inner, key)
	case protoreflect.StringKind:
		return v.String()
	case protoreflect.BoolKind:
		return v.Bool()
	}
	return fmt.Sprint(v.Interface())
}

func payloadOf(t *testing.T, b *common.Block) *common.Payload {
	t.Helper()
	e, p := &common.Envelope{}, &common.Payload{}
	unmarshal(t, b.Data.Data[0], e)
	unmarshal(t, e.Payload, p)
	return p
}

func unmarshal(t *testing.T, b []byte, into proto.Message) {
	t.Helper()
	if err := proto.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

// configOf takes the configuration out of a block.
func configOf(t *testing.T, b *common.Block) *common.Config {
	t.Helper()
	c := &common.ConfigEnvelope{}
	unmarshal(t, payloadOf(t, b).Data, c)
	return c.Config
}

func header(t *testing.T, b *common.Block) *common.ChannelHeader {
	t.Helper()
	h := &common.ChannelHeader{}
	unmarshal(t, payloadOf(t, b).Header.ChannelHeader, h)
	return h
}

func signatureHeader(t *testing.T, b *common.Block) *common.SignatureHeader {
	t.Helper()
	h := &common.SignatureHeader{}
	unmarshal(t, payloadOf(t, b).Header.SignatureHeader, h)
	return h
}

// flat spells a decoded message as one entry per field, so that a difference reads as a path.
func flat(prefix string, v any, into map[string]any) map[string]any {
	switch v := v.(type) {
	case map[string]any:
		into[prefix+"/"] = len(v)
		for k, e := range v {
			flat(prefix+"/"+k, e, into)
		}
	case []any:
		into[prefix+"[]"] = len(v)
		for i, e := range v {
			flat(fmt.Sprintf("%s[%d]", prefix, i), e, into)
		}
	default:
		into[prefix] = v
	}
	return into
}

func fields(t *testing.T, b *common.Block) map[string]any {
	t.Helper()
	return flat("", decode(t, b, ""), map[string]any{})
}
