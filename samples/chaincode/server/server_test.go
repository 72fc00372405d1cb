package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
)

// authority is an organisation's TLS CA.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.key = newKey(t)
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tlsca"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.pem = a.sign(a.cert, a.key)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(c *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// pair is a certificate for both ends, as pivt issues them.
func (a *authority) pair() (cert, key []byte) {
	a.t.Helper()
	k := newKey(a.t)
	cert = a.sign(&x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, k)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// credentials of a peer that trusts a, with or without a certificate of its own.
func (a *authority) credentials(by *authority) credentials.TransportCredentials {
	a.t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}
	c.RootCAs.AddCert(parse(a.t, a.pem))
	if by != nil {
		pair, err := tls.X509KeyPair(by.pair())
		if err != nil {
			a.t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(c)
}

func parse(t *testing.T, b []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(b)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serve runs a server until the test process ends: the shim's cannot be stopped.
func serve(t *testing.T, env map[string]string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	chaincode, err := newChaincode("server_1.0:abc")
	if err != nil {
		t.Fatal(err)
	}
	env["CHAINCODE_SERVER_ADDRESS"], env["CHAINCODE_ID"] = address, "server_1.0:abc"
	s, err := newServer(chaincode, func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Start() }()
	return address
}

// register connects as a peer does and returns the id by which the server registers.
func register(t *testing.T, address string, c credentials.TransportCredentials) (string, error) {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(c))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	// Until the server listens. WaitForReady would wait for a refusal to end, too.
	for {
		stream, err := peer.NewChaincodeClient(conn).Connect(ctx)
		if err == nil {
			var m *peer.ChaincodeMessage
			if m, err = stream.Recv(); err == nil {
				return nameIn(t, m), nil
			}
		}
		if !strings.Contains(err.Error(), "connection refused") || ctx.Err() != nil {
			return "", err
		}
		conn.ResetConnectBackoff()
	}
}

func nameIn(t *testing.T, m *peer.ChaincodeMessage) string {
	t.Helper()
	id := &peer.ChaincodeID{}
	if m.GetType() != peer.ChaincodeMessage_REGISTER {
		t.Fatalf("the server began with %s", m.GetType())
	}
	if err := proto.Unmarshal(m.GetPayload(), id); err != nil {
		t.Fatal(err)
	}
	return id.GetName()
}

func TestServe(t *testing.T) {
	t.Parallel()
	ours, others := newAuthority(t), newAuthority(t)
	cases := map[string]struct {
		reason   string
		tls      string // none, tls, mtls
		peer     credentials.TransportCredentials
		accepted bool
	}{
		"None":          {"Without TLS any peer that gets through to the port is served.", "none", insecure.NewCredentials(), true},
		"PlainToTLS":    {"A server with a key speaks nothing else.", "tls", insecure.NewCredentials(), false},
		"TLS":           {"The peer checks the server.", "tls", ours.credentials(nil), true},
		"OfOtherCA":     {"And refuses one that its CA does not know.", "tls", others.credentials(nil), false},
		"Mutual":        {"A peer of the organisation is served.", "mtls", ours.credentials(ours), true},
		"NoCertificate": {"Who shows no certificate is not.", "mtls", ours.credentials(nil), false},
		"Stranger":      {"Nor is who has one of another organisation.", "mtls", ours.credentials(others), false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := map[string]string{"CHAINCODE_TLS_DISABLED": "true"}
			if tc.tls != "none" {
				dir := t.TempDir()
				cert, key := ours.pair()
				for file, data := range map[string][]byte{"server.crt": cert, "server.key": key, "ca.crt": ours.pem} {
					if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				env = map[string]string{"CHAINCODE_TLS_KEY": filepath.Join(dir, "server.key"), "CHAINCODE_TLS_CERT": filepath.Join(dir, "server.crt")}
				if tc.tls == "mtls" {
					env["CHAINCODE_CLIENT_CA_CERT"] = filepath.Join(dir, "ca.crt")
				}
			}
			id, err := register(t, serve(t, env), tc.peer)
			if tc.accepted && id != "server_1.0:abc" || !tc.accepted && err == nil {
				t.Errorf("%s\nregistered as %q, %v", tc.reason, id, err)
			}
		})
	}
}

func TestServerRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		env    map[string]string
		want   string
	}{
		"NoID":    {"A peer would refuse the server without a word.", map[string]string{}, "CHAINCODE_ID is empty"},
		"NotBool": {"A mistyped switch must not turn TLS off.", map[string]string{"CHAINCODE_ID": "a", "CHAINCODE_TLS_DISABLED": "no"}, `CHAINCODE_TLS_DISABLED is "no"`},
		"NoKey":   {"TLS that is asked for is TLS.", map[string]string{"CHAINCODE_ID": "a", "CHAINCODE_TLS_DISABLED": "false"}, "the file of CHAINCODE_TLS_KEY"},
		"NoCert":  {"Half a pair is none.", map[string]string{"CHAINCODE_ID": "a", "CHAINCODE_TLS_KEY": "server_test.go"}, "the file of CHAINCODE_TLS_CERT"},
		"NoCA": {"Who is not checked by mistake is not checked.", map[string]string{"CHAINCODE_ID": "a", "CHAINCODE_TLS_KEY": "server_test.go",
			"CHAINCODE_TLS_CERT": "server_test.go", "CHAINCODE_CLIENT_CA_CERT": "gone"}, "the file of CHAINCODE_CLIENT_CA_CERT"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := newServer(nil, func(name string) string { return tc.env[name] })
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\ngot %v, want %q", tc.reason, err, tc.want)
			}
		})
	}
}
