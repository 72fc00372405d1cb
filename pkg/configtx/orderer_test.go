package configtx_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"gopkg.in/yaml.v3"

	"pivt.io/pivt/pkg/configtx"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// TestOrderersRunChannel starts real orderers, joins them with our block and has them
// order a transaction: they find each other by the names and certificates in the block.
func TestOrderersRunChannel(t *testing.T) {
	binary := fabricBin(t, "orderer")
	cases := map[string]shape{
		"RaftSingleNode":     {consensus: network.Raft, orderers: []int{1}, peers: []int{1}},
		"RaftSeveralOrgs":    {consensus: network.Raft, orderers: []int{2, 1}, peers: []int{1, 1}},
		"RaftWithoutNodeOUs": {consensus: network.Raft, orderers: []int{3}, peers: []int{1}, withoutNodeOUs: true},
		"BFT":                {consensus: network.BFT, orderers: []int{3, 1}, peers: []int{1}},
	}
	// One after the other: nodes of several networks at once starve each other of heartbeats on small machines.
	for name, s := range cases {
		t.Run(name, func(t *testing.T) {
			s.needs(t, binary)
			c := newCrypto(t, s)
			block, err := configtx.Genesis(c.channel(), c.public())
			if err != nil {
				t.Fatal(err)
			}
			genesis, err := configtx.Marshal(block)
			if err != nil {
				t.Fatal(err)
			}
			names := newNames(t)
			var nodes []*ordererProcess
			for _, n := range c.channel().Orderers() {
				o := newOrderer(t, binary, c, n, names)
				o.start(t)
				nodes = append(nodes, o)
			}
			for _, o := range nodes {
				o.eventually(t, "be asked for its channels", func() error { _, err := o.height(t); return err })
				o.join(t, genesis)
			}
			orderTransaction(t, c, nodes, 2)
		})
	}
}

// TestOrderersKeepChannelAfterReissue proves what package pki relies on when it adds a name
// to a certificate: etcdraft knows an orderer by its key, and not by the certificate in the block.
func TestOrderersKeepChannelAfterReissue(t *testing.T) {
	binary := fabricBin(t, "orderer")
	c := newCrypto(t, shape{consensus: network.Raft, orderers: []int{2}, peers: []int{1}})
	block, err := configtx.Genesis(c.channel(), c.public())
	if err != nil {
		t.Fatal(err)
	}
	genesis, err := configtx.Marshal(block)
	if err != nil {
		t.Fatal(err)
	}
	names := newNames(t)
	var nodes []*ordererProcess
	for _, n := range c.channel().Orderers() {
		o := newOrderer(t, binary, c, n, names)
		o.start(t)
		o.eventually(t, "be asked for its channels", func() error { _, err := o.height(t); return err })
		o.join(t, genesis)
		nodes = append(nodes, o)
	}
	orderTransaction(t, c, nodes, 2)
	for _, o := range nodes {
		o.stop()
		o.node.SANS = append(o.node.SANS, "orderer.example.org")
	}
	changes, err := pki.Ensure(c.tree.Dir, c.network, pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(changes) != len(nodes) {
		t.Fatalf("changes %v, want a certificate for each of %d orderers", changes, len(nodes))
	}
	for _, o := range nodes {
		o.start(t)
	}
	orderTransaction(t, c, nodes, 3)
}

// orderTransaction sends one and waits until every node has its block.
func orderTransaction(t *testing.T, c crypto, nodes []*ordererProcess, height uint64) {
	t.Helper()
	envelope := transaction(t, c)
	for _, o := range nodes {
		o.eventually(t, "take a transaction", func() error { return o.broadcast(t, envelope) })
		if c.channel().Consensus == network.Raft {
			break
		}
		// BFT clients send to all, because any one of the orderers may be lying.
	}
	for _, o := range nodes {
		o.eventually(t, "have the block of the transaction", func() error {
			switch h, err := o.height(t); {
			case err != nil:
				return err
			case h < height:
				return fmt.Errorf("its height is %d, want %d", h, height)
			}
			return nil
		})
	}
}

// ordererProcess is an orderer on ports of this machine. It may be stopped and started again.
type ordererProcess struct {
	node        *network.Node
	crypto      crypto
	addr, admin string
	binary, dir string
	env         []string
	stop        func()
}

func newOrderer(t *testing.T, binary string, c crypto, n *network.Node, names *names) *ordererProcess {
	t.Helper()
	dir := t.TempDir()
	o := &ordererProcess{
		node: n, crypto: c, addr: freePort(t), admin: freePort(t), binary: binary, dir: dir,
		env: append(os.Environ(), "FABRIC_CFG_PATH="+dir, "HTTPS_PROXY=http://"+names.addr, "NO_PROXY="),
	}
	names.set(n.Address(), o.addr)
	certs := filepath.Join(c.tree.NodeDir(n), "tls")
	crt, key, ca := filepath.Join(certs, "server.crt"), filepath.Join(certs, "server.key"), filepath.Join(certs, "ca.crt")
	var cas []string // other organisations' orderers are clients of this one
	for _, org := range c.network.OrdererOrgs {
		cas = append(cas, filepath.Join(c.tree.MSPDir(org), "tlscacerts", "tls"+org.CA.CommonName+"-cert.pem"))
	}
	host, port, err := net.SplitHostPort(o.addr)
	if err != nil {
		t.Fatal(err)
	}
	config, err := yaml.Marshal(dict{
		"General": dict{
			"ListenAddress": host, "ListenPort": port, "BootstrapMethod": "none",
			"LocalMSPDir": filepath.Join(c.tree.NodeDir(n), "msp"), "LocalMSPID": n.Org.MSPID,
			"TLS":     dict{"Enabled": true, "Certificate": crt, "PrivateKey": key, "RootCAs": []string{ca}, "ClientRootCAs": cas},
			"Cluster": dict{"ClientCertificate": crt, "ClientPrivateKey": key, "RootCAs": cas},
			"BCCSP":   dict{"Default": "SW", "SW": dict{"Hash": "SHA2", "Security": 256}},
		},
		"FileLedger":           dict{"Location": filepath.Join(dir, "ledger")},
		"Consensus":            dict{"WALDir": filepath.Join(dir, "wal"), "SnapDir": filepath.Join(dir, "snap")},
		"ChannelParticipation": dict{"Enabled": true, "MaxRequestBodySize": 1 << 20},
		"Admin": dict{"ListenAddress": o.admin, "TLS": dict{
			"Enabled": true, "Certificate": crt, "PrivateKey": key, "RootCAs": []string{ca},
			"ClientAuthRequired": true, "ClientRootCAs": []string{ca},
		}},
		"Operations": dict{"ListenAddress": "127.0.0.1:0"},
		"Metrics":    dict{"Provider": "disabled"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "orderer.yaml"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(o.log())
			t.Logf("end of %s's log:\n%s", n.Name(), b[max(0, len(b)-6000):])
		}
	})
	return o
}

func (o *ordererProcess) log() string { return filepath.Join(o.dir, "log") }

func (o *ordererProcess) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(o.log(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(o.binary)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = o.dir, o.env, log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
	})
	t.Cleanup(o.stop)
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// eventually repeats until there is no error. The deadline is generous: two cores may be
// shared with a build.
func (o *ordererProcess) eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not %s: %v", o.node.Name(), what, err)
		case <-tick.C:
		}
	}
}

// tls verifies the node by its Service name, as everything in the cluster does.
func (o *ordererProcess) tls(t *testing.T) *tls.Config {
	t.Helper()
	org := o.crypto.material.Orgs[o.node.Org.Name]
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(org.Public.TLSRoots())
	pair, err := tls.X509KeyPair(org.AdminTLS.CertPEM, org.AdminTLS.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{RootCAs: roots, ServerName: o.node.Name(), Certificates: []tls.Certificate{pair}}
}

func (o *ordererProcess) participation(t *testing.T, method, path, contentType string, body io.Reader) (int, []byte, error) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: o.tls(t)}, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), method, "https://"+o.admin+"/participation/v1/channels"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	res, err := client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, b, err
}

// height is the channel's at this node, 0 before the node has joined it.
func (o *ordererProcess) height(t *testing.T) (uint64, error) {
	t.Helper()
	code, b, err := o.participation(t, http.MethodGet, "/"+o.crypto.channel().Name, "", nil)
	if err != nil || code == http.StatusNotFound {
		return 0, err
	}
	var info struct {
		Height uint64 `json:"height"`
	}
	return info.Height, json.Unmarshal(b, &info)
}

func (o *ordererProcess) join(t *testing.T, genesis []byte) {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("config-block", "config.block")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write(genesis); err != nil {
		t.Fatal(err)
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	code, b, err := o.participation(t, http.MethodPost, "", form.FormDataContentType(), &body)
	if err != nil || code != http.StatusCreated {
		t.Fatalf("%s refuses to join: %d %s %v", o.node.Name(), code, b, err)
	}
	var info struct {
		Name     string `json:"name"`
		Relation string `json:"consensusRelation"`
	}
	if err := json.Unmarshal(b, &info); err != nil {
		t.Fatal(err)
	}
	if info.Name != o.crypto.channel().Name || info.Relation != "consenter" {
		t.Fatalf("%s joined %q as %q, want a consenter of the channel", o.node.Name(), info.Name, info.Relation)
	}
}

func (o *ordererProcess) broadcast(t *testing.T, e *common.Envelope) error {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+o.addr, grpc.WithTransportCredentials(credentials.NewTLS(o.tls(t))), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stream, err := orderer.NewAtomicBroadcastClient(conn).Broadcast(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(e); err != nil {
		return err
	}
	res, err := stream.Recv()
	if err != nil {
		return err
	}
	if res.Status != common.Status_SUCCESS {
		return fmt.Errorf("%s: %s", res.Status, res.Info)
	}
	return nil
}
