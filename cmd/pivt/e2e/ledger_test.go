//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-gateway/pkg/hash"
	"github.com/hyperledger/fabric-gateway/pkg/identity"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	gatewaypb "github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	peerpb "github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"
)

// gateway is an application's view of one peer: Fabric's own client library, an ordinary
// user, and nothing of pivt's but the port-forward.
type gateway struct {
	s    *site
	gw   *client.Gateway
	conn *grpc.ClientConn
	sign identity.Sign
}

// gateway connects as User1 of the organisation to its first peer.
func (s *site) gateway(org, domain string) *gateway {
	s.t.Helper()
	return s.gatewayTo(org, domain, "hlf-peer--"+strings.ToLower(org)+"--peer0")
}

// gatewayTo connects as User1 of the organisation to a peer. Options come after those that all have.
func (s *site) gatewayTo(org, domain, service string, options ...client.ConnectOption) *gateway {
	s.t.Helper()
	dir := filepath.Join(s.dir, "crypto-config", "peerOrganizations", domain)
	user := filepath.Join(dir, "users", "User1@"+domain, "msp")
	cert, err := identity.CertificateFromPEM(s.only(filepath.Join(user, "signcerts")))
	s.must(err)
	key, err := identity.PrivateKeyFromPEM(s.only(filepath.Join(user, "keystore")))
	s.must(err)
	sign, err := identity.NewPrivateKeySign(key)
	s.must(err)
	id, err := identity.NewX509Identity(org+"MSP", cert)
	s.must(err)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s.only(filepath.Join(dir, "tlsca"))) {
		s.t.Fatal("no TLS CA certificate")
	}
	conn, err := grpc.NewClient("passthrough:///"+service,
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: service})),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(100<<20)), // a whole state
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return s.kube.Forward(ctx, service+"-0", 7051)
		}))
	s.must(err)
	gw, err := client.Connect(id, append([]client.ConnectOption{
		client.WithSign(sign), client.WithHash(hash.SHA256), client.WithClientConnection(conn),
		client.WithEvaluateTimeout(20 * time.Second), client.WithEndorseTimeout(30 * time.Second),
		client.WithSubmitTimeout(20 * time.Second), client.WithCommitStatusTimeout(time.Minute),
	}, options...)...)
	s.must(err)
	s.t.Cleanup(func() { gw.Close(); conn.Close() })
	return &gateway{s, gw, conn, sign}
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// only reads the certificate or key of a directory that holds one.
func (s *site) only(dir string) []byte {
	s.t.Helper()
	entries, err := os.ReadDir(dir)
	s.must(err)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "_sk") && strings.HasSuffix(dir, "tlsca") {
			continue // the CA's key lies beside its certificate
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		s.must(err)
		return b
	}
	s.t.Fatalf("%s is empty", dir)
	return nil
}

func (g *gateway) submit(channel, chaincode, function string, args ...string) string {
	g.s.t.Helper()
	b, err := g.gw.GetNetwork(channel).GetContract(chaincode).SubmitTransaction(function, args...)
	if err != nil {
		g.s.t.Fatalf("submitting %s: %v", function, err)
	}
	return string(b)
}

func (g *gateway) evaluate(channel, chaincode, function string, args ...string) (string, error) {
	b, err := g.gw.GetNetwork(channel).GetContract(chaincode).EvaluateTransaction(function, args...)
	return string(b), err
}

// own asks this very peer. The gateway's own evaluation goes to whichever peer of the organisation
// it believes to have the most blocks, and would hide that this one lacks some.
func (g *gateway) own(channel, chaincode, function string, args ...string) []byte {
	g.s.t.Helper()
	proposal, err := g.gw.GetNetwork(channel).GetContract(chaincode).NewProposal(function, client.WithArguments(args...))
	g.s.must(err)
	raw, err := proposal.Bytes()
	g.s.must(err)
	var proposed gatewaypb.ProposedTransaction
	g.s.must(proto.Unmarshal(raw, &proposed))
	signed := proposed.GetProposal()
	signed.Signature, err = g.sign(proposal.Digest())
	g.s.must(err)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute) // it may have to start the chaincode
	defer cancel()
	answer, err := peerpb.NewEndorserClient(g.conn).ProcessProposal(ctx, signed)
	if err == nil && answer.GetResponse().GetStatus() != http.StatusOK {
		err = errors.New(answer.GetResponse().GetMessage())
	}
	if err != nil {
		g.s.t.Fatalf("asking %s itself for %s %s: %v", g.conn.Target(), chaincode, function, err)
	}
	return answer.GetResponse().GetPayload()
}

// height asks the peer's own ledger how many blocks it has.
func (g *gateway) height(channel string) uint64 {
	g.s.t.Helper()
	var info common.BlockchainInfo
	g.s.must(proto.Unmarshal(g.own(channel, "qscc", "GetChainInfo", channel), &info))
	return info.GetHeight()
}

// transact proves the network alive from one organisation to the other: what Org1 submits,
// Org2 reads from its own peer.
func (s *site) transact(channel, id string) {
	s.t.Helper()
	one, two := s.gateway("Org1", "org1.example.com"), s.gateway("Org2", "org2.example.com")
	one.submit(channel, "basic", "CreateAsset", id, "Ada", "300")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s.until(ctx, "asset "+id+" on Org2's peer", func() (bool, error) {
		got, err := two.evaluate(channel, "basic", "ReadAsset", id)
		if err != nil {
			return false, err
		}
		var asset map[string]any
		if err := json.Unmarshal([]byte(got), &asset); err != nil {
			return false, err
		}
		for _, v := range asset {
			if v == "Ada" {
				return true, nil
			}
		}
		return false, nil
	})
}
