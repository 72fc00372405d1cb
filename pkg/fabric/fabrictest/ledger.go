package fabrictest

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"slices"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"pivt.io/pivt/pkg/chaincode"
)

// ledger is one channel's.
type ledger struct {
	genesis  *common.Block
	blocks   []*common.Block
	members  []string // MSP ids of the application's organisations
	readers  []string // and of the orderers'
	orderers []string // consenters, by Node.Name()

	committed map[string]chaincode.Definition // by chaincode
	approved  map[string]map[string]approved  // by chaincode#sequence, by MSP id
	// initialized is the version of each chaincode that last had its init call.
	initialized map[string]string
}

type approved struct {
	chaincode.Definition
	packageID string
}

// transaction is endorsed and waits to be ordered.
type transaction struct {
	channel string
	apply   func(*ledger) peer.TxValidationCode
	code    peer.TxValidationCode
	done    bool
}

// newLedger reads a channel's genesis block.
func newLedger(genesis *common.Block) (string, *ledger, error) {
	if len(genesis.GetData().GetData()) != 1 {
		return "", nil, errors.New("block contains no config transaction")
	}
	envelope, payload, config := &common.Envelope{}, &common.Payload{}, &common.ConfigEnvelope{}
	header := &common.ChannelHeader{}
	for _, step := range []func() error{
		func() error { return proto.Unmarshal(genesis.GetData().GetData()[0], envelope) },
		func() error { return proto.Unmarshal(envelope.GetPayload(), payload) },
		func() error { return proto.Unmarshal(payload.GetHeader().GetChannelHeader(), header) },
		func() error { return proto.Unmarshal(payload.GetData(), config) },
	} {
		if err := step(); err != nil {
			return "", nil, fmt.Errorf("invalid join block: %w", err)
		}
	}
	l := &ledger{genesis: genesis, blocks: []*common.Block{genesis},
		committed: map[string]chaincode.Definition{}, approved: map[string]map[string]approved{}, initialized: map[string]string{}}
	groups := config.GetConfig().GetChannelGroup().GetGroups()
	for _, name := range []string{"Application", "Orderer"} {
		for _, org := range groups[name].GetGroups() {
			outer, inner := &msp.MSPConfig{}, &msp.FabricMSPConfig{}
			if err := proto.Unmarshal(org.GetValues()["MSP"].GetValue(), outer); err != nil {
				return "", nil, err
			}
			if err := proto.Unmarshal(outer.GetConfig(), inner); err != nil {
				return "", nil, err
			}
			l.readers = append(l.readers, inner.GetName())
			if name == "Application" {
				l.members = append(l.members, inner.GetName())
				continue
			}
			addresses := &common.OrdererAddresses{}
			if err := proto.Unmarshal(org.GetValues()["Endpoints"].GetValue(), addresses); err != nil {
				return "", nil, err
			}
			for _, a := range addresses.GetAddresses() {
				host, _, err := net.SplitHostPort(a)
				if err != nil {
					return "", nil, err
				}
				l.orderers = append(l.orderers, host)
			}
		}
	}
	slices.Sort(l.members)
	return header.GetChannelId(), l, nil
}

// add appends a block.
func (l *ledger) add() {
	last := l.blocks[len(l.blocks)-1]
	value, _ := proto.Marshal(&common.OrdererBlockMetadata{LastConfig: &common.LastConfig{Index: 0}})
	signatures, _ := proto.Marshal(&common.Metadata{Value: value})
	sum := sha256.Sum256(last.GetHeader().GetDataHash())
	l.blocks = append(l.blocks, &common.Block{
		Header:   &common.BlockHeader{Number: last.GetHeader().GetNumber() + 1, PreviousHash: sum[:]},
		Data:     &common.BlockData{},
		Metadata: &common.BlockMetadata{Metadata: [][]byte{signatures, {}, {}, {}, {}}},
	})
}

// signer is who signed a message.
type signer struct {
	mspID string
	admin bool
}

var errUnknownCreator = errors.New("creator org unknown, creator is malformed")

// verify checks a signature and the certificate behind it against the organisations' CAs.
func (f *Nodes) verify(creator, message, signature []byte) (signer, error) {
	id := &msp.SerializedIdentity{}
	if err := proto.Unmarshal(creator, id); err != nil {
		return signer{}, errUnknownCreator
	}
	block, _ := pem.Decode(id.GetIdBytes())
	if block == nil {
		return signer{}, errUnknownCreator
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return signer{}, errUnknownCreator
	}
	for _, o := range f.m.Orgs {
		if o.Public.MSPID != id.GetMspid() {
			continue
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(strings.Join(o.Public.RootCerts, "\n")))
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			return signer{}, errUnknownCreator
		}
		key, ok := cert.PublicKey.(*ecdsa.PublicKey)
		sum := sha256.Sum256(message)
		if !ok || !ecdsa.VerifyASN1(key, sum[:], signature) {
			return signer{}, errors.New("the creator's signature over the proposal is not valid")
		}
		admin := slices.Contains(cert.Subject.OrganizationalUnit, "admin") || slices.Contains(o.Public.Admins, string(id.GetIdBytes()))
		return signer{mspID: id.GetMspid(), admin: admin}, nil
	}
	return signer{}, errUnknownCreator
}

func discard() *log.Logger { return log.New(io.Discard, "", 0) }
