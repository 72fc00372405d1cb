package configtx_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// transaction is signed by a client of the first peer organisation, so the channel's
// Writers policy is asked about the certificates in the block.
func transaction(t *testing.T, c crypto) *common.Envelope {
	t.Helper()
	org := c.network.PeerOrgs[0]
	client := c.material.Orgs[org.Name].Client
	creator := encode(t, &msp.SerializedIdentity{Mspid: org.MSPID, IdBytes: client.CertPEM})
	nonce := make([]byte, 24)
	if _, err := rand.Read(nonce); err != nil {
		t.Fatal(err)
	}
	payload := encode(t, &common.Payload{
		Header: &common.Header{
			ChannelHeader: encode(t, &common.ChannelHeader{
				// BFT orderers take no other type, and turn in circles if one client sends it.
				Type:      int32(common.HeaderType_ENDORSER_TRANSACTION),
				ChannelId: c.channel().Name, Timestamp: timestamppb.Now(),
			}),
			SignatureHeader: encode(t, &common.SignatureHeader{Creator: creator, Nonce: nonce}),
		},
		Data: []byte("anything will do: orderers do not look inside"),
	})
	block, _ := pem.Decode(client.KeyPEM)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(payload)
	r, s, err := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), digest[:])
	if err != nil {
		t.Fatal(err)
	}
	order := key.(*ecdsa.PrivateKey).Params().N
	if s.Cmp(new(big.Int).Rsh(order, 1)) > 0 {
		s.Sub(order, s) // Fabric takes the smaller of the two only
	}
	signature, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	if err != nil {
		t.Fatal(err)
	}
	return &common.Envelope{Payload: payload, Signature: signature}
}

func encode(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
