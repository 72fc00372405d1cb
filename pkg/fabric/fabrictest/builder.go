package fabrictest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/network"
)

// builder makes the test's own binary the peer's external builder, as links whose names
// say which step is asked for. Main serves them.
func (p *Processes) builder(dir string) string {
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	bin := filepath.Join(dir, "builder", "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		p.t.Fatal(err)
	}
	for _, step := range []string{"detect", "build", "release", "run"} {
		if err := os.Symlink(self, filepath.Join(bin, step)); err != nil && !errors.Is(err, os.ErrExist) {
			p.t.Fatal(err)
		}
	}
	return fmt.Sprintf(`[{"name":"test","path":%q}]`, filepath.Dir(bin))
}

// Main is to be called first in TestMain by tests that call chaincode on Processes. If the
// peer started this binary as an external builder, it does that step and does not return.
//
// The chaincode it runs answers every call with the called function's name, except
// "fail", which is answered with an error. Packages whose label begins with "broken" do not build.
func Main() {
	var err error
	switch filepath.Base(os.Args[0]) {
	case "detect", "release":
	case "build":
		err = build(filepath.Dir(filepath.Dir(os.Args[0])), filepath.Join(os.Args[2], "metadata.json"))
	case "run":
		err = run(filepath.Join(os.Args[2], "chaincode.json"))
	default:
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

const (
	holdFile   = "hold"   // while it is there, builds do not end
	buildsFile = "builds" // has the label of every build that began, a line each
	broken     = "broken" // labels that begin so do not build
)

// build leaves nothing behind but the memory of having been asked.
func build(dir, metadata string) error {
	data, err := os.ReadFile(metadata)
	if err != nil {
		return err
	}
	var m chaincode.Metadata
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, buildsFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if _, err := fmt.Fprintln(f, m.Label); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(dir, holdFile)); errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	if strings.HasPrefix(m.Label, broken) {
		return errors.New("main.go:7: undefined: shim")
	}
	return nil
}

// HoldBuilds makes builds on a peer wait until it is called with false.
func (p *Processes) HoldBuilds(node *network.Node, held bool) {
	p.t.Helper()
	path := filepath.Join(p.nodeDir(node), "builder", holdFile)
	err := os.WriteFile(path, nil, 0o600)
	if !held {
		err = os.Remove(path)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// Builds counts how often a peer began to build packages of a label.
func (p *Processes) Builds(node *network.Node, label string) int {
	data, err := os.ReadFile(filepath.Join(p.nodeDir(node), "builder", buildsFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		p.t.Error(err)
	}
	return strings.Count(string(data), label+"\n")
}

// run is a chaincode in the smallest shape that Fabric takes: it never touches the ledger.
func run(config string) error {
	data, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	var c struct {
		ID      string `json:"chaincode_id"`
		Address string `json:"peer_address"`
		Cert    string `json:"client_cert"`
		Key     string `json:"client_key"`
		Root    string `json:"root_cert"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return err
	}
	cert, err := tls.X509KeyPair([]byte(c.Cert), []byte(c.Key))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(c.Root))
	conn, err := grpc.NewClient(c.Address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{cert}, RootCAs: roots, MinVersion: tls.VersionTLS12})))
	if err != nil {
		return err
	}
	stream, err := peer.NewChaincodeSupportClient(conn).Register(context.Background())
	if err != nil {
		return err
	}
	id, err := proto.Marshal(&peer.ChaincodeID{Name: c.ID})
	if err != nil {
		return err
	}
	if err := stream.Send(&peer.ChaincodeMessage{Type: peer.ChaincodeMessage_REGISTER, Payload: id}); err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if m.GetType() != peer.ChaincodeMessage_TRANSACTION && m.GetType() != peer.ChaincodeMessage_INIT {
			continue
		}
		answer, err := reply(m.GetPayload())
		if err != nil {
			return err
		}
		if err := stream.Send(&peer.ChaincodeMessage{Type: peer.ChaincodeMessage_COMPLETED, Payload: answer,
			Txid: m.GetTxid(), ChannelId: m.GetChannelId()}); err != nil {
			return err
		}
	}
}

func reply(call []byte) ([]byte, error) {
	input := &peer.ChaincodeInput{}
	if err := proto.Unmarshal(call, input); err != nil {
		return nil, err
	}
	r := &peer.Response{Status: 200}
	if len(input.GetArgs()) > 0 {
		r.Payload = input.GetArgs()[0]
	}
	if string(r.GetPayload()) == "fail" {
		r = &peer.Response{Status: 500, Message: "this function fails"}
	}
	return proto.Marshal(r)
}
