package fabrictest

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// BinEnv names the directory with the real peer and orderer. Tests that need them are
// skipped without it.
const BinEnv = "PIVT_TEST_FABRIC_BIN"

//go:embed core.yaml
var coreYAML []byte

//go:embed orderer.yaml
var ordererYAML []byte

// Processes is a network of real Fabric processes on 127.0.0.1. Nodes call each other by the
// names they have in a cluster; a small HTTP proxy inside the test knows where those are, so
// that neither DNS nor /etc/hosts is involved.
type Processes struct {
	t     testing.TB
	bin   string
	dir   string
	n     *network.Network
	m     *pki.Material
	proxy string
	ports map[string]string // "hlf-peer--org1--peer0:7051" -> "127.0.0.1:40001"
	mu    sync.Mutex
	procs map[string]*process // by Node.Name()
}

type process struct {
	cmd     *exec.Cmd
	end     chan struct{}
	log     *bytes.Buffer // safe to read after end
	stopped atomic.Bool   // we ended it
}

// StartProcesses starts every node of n and stops them when the test ends. It does not wait
// until they answer. Without BinEnv it skips the test.
func StartProcesses(t testing.TB, n *network.Network, m *pki.Material) *Processes {
	t.Helper()
	p := PrepareProcesses(t, n, m)
	for _, node := range n.Nodes() {
		p.Start(node)
	}
	return p
}

// PrepareProcesses writes everything down but starts no node.
func PrepareProcesses(t testing.TB, n *network.Network, m *pki.Material) *Processes {
	t.Helper()
	bin := os.Getenv(BinEnv)
	if bin == "" {
		t.Skipf("%s is not set; it names the directory of Fabric's peer and orderer", BinEnv)
	}
	p := &Processes{t: t, bin: bin, dir: t.TempDir(), n: n, m: m, ports: map[string]string{}, procs: map[string]*process{}}
	for _, node := range n.Nodes() {
		ports := []int{network.PeerPort, network.ChaincodePort, network.PeerOperations}
		if node.Org.Kind == network.Orderer {
			ports = []int{network.OrdererPort, network.OrdererAdminPort, network.OrdererOperations}
		}
		for _, port := range ports {
			p.ports[fmt.Sprintf("%s:%d", node.Name(), port)] = freeAddress(t)
		}
		p.write(node)
	}
	p.proxy = p.serveProxy()
	t.Cleanup(func() {
		for _, node := range n.Nodes() {
			p.Stop(node)
		}
		if t.Failed() && os.Getenv("PIVT_TEST_FABRIC_LOGS") != "" {
			for name, proc := range p.procs {
				t.Logf("%s:\n%s", name, proc.log)
			}
		}
	})
	return p
}

// Version is the Fabric release of the processes, as "3.1.1".
func Version(t testing.TB) string {
	t.Helper()
	bin := os.Getenv(BinEnv)
	if bin == "" {
		t.Skipf("%s is not set; it names the directory of Fabric's peer and orderer", BinEnv)
	}
	out, err := exec.Command(filepath.Join(bin, "peer"), "version").Output()
	if err != nil {
		t.Fatalf("asking the peer for its version: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "Version: v"); ok {
			return v
		}
	}
	t.Fatalf("the peer does not tell its version:\n%s", out)
	return ""
}

// Dial connects to a node by the address it has in a cluster.
func (p *Processes) Dial(ctx context.Context, address string) (net.Conn, error) {
	real, ok := p.ports[address]
	if !ok {
		return nil, fmt.Errorf("lookup %s: no such host", address)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", real)
}

// Start starts a node, again if it was stopped.
func (p *Processes) Start(node *network.Node) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd, env := exec.Command(filepath.Join(p.bin, "orderer")), []string(nil)
	if node.Org.Kind == network.Peer {
		cmd, env = exec.Command(filepath.Join(p.bin, "peer"), "node", "start"), p.peerEnv(node)
	} else {
		env = p.ordererEnv(node)
	}
	cmd.Dir = p.nodeDir(node)
	cmd.Env = append(env, "HTTPS_PROXY=http://"+p.proxy, "FABRIC_CFG_PATH="+p.nodeDir(node), "PATH="+os.Getenv("PATH"),
		"FABRIC_LOGGING_SPEC="+os.Getenv("PIVT_TEST_FABRIC_LOGS"))
	proc := &process{cmd: cmd, end: make(chan struct{}), log: &bytes.Buffer{}}
	cmd.Stdout, cmd.Stderr = proc.log, proc.log
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("starting %s: %v", node.Name(), err)
	}
	go func() {
		err := cmd.Wait()
		if !proc.stopped.Load() {
			log := proc.log.String()
			p.t.Errorf("%s ended by itself: %v\n%s", node.Name(), err, log[max(0, len(log)-2000):])
		}
		close(proc.end)
	}()
	p.procs[node.Name()] = proc
}

// Stop kills a node and waits for its end.
func (p *Processes) Stop(node *network.Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	proc := p.procs[node.Name()]
	if proc == nil {
		return
	}
	proc.stopped.Store(true)
	_ = proc.cmd.Process.Kill()
	<-proc.end
}

// Log is what a stopped node wrote.
func (p *Processes) Log(node *network.Node) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	proc := p.procs[node.Name()]
	select {
	case <-proc.end:
		return proc.log.String()
	default:
		return "still running"
	}
}

func (p *Processes) nodeDir(node *network.Node) string { return filepath.Join(p.dir, node.Name()) }

// Volume is what is mounted at /var/hyperledger in a cluster: a node's data, laid out as the
// chart has it.
func (p *Processes) Volume(node *network.Node) string {
	return filepath.Join(p.nodeDir(node), "volumes", "data")
}

// write lays out a node's MSP and TLS files as its pod mounts them.
func (p *Processes) write(node *network.Node) {
	org := p.m.Orgs[node.Org.Name]
	own := org.Nodes[node.Hostname]
	files := map[string][]byte{
		"core.yaml":            coreYAML,
		"orderer.yaml":         ordererYAML,
		"msp/cacerts/ca.pem":   []byte(strings.Join(org.Public.RootCerts, "\n")),
		"msp/tlscacerts/0.pem": org.Public.TLSRoots(),
		"msp/signcerts/0.pem":  own.MSP.CertPEM,
		"msp/keystore/key.pem": own.MSP.KeyPEM,
		"tls/server.crt":       own.TLS.CertPEM,
		"tls/server.key":       own.TLS.KeyPEM,
		"tls/ca.crt":           org.Public.TLSRoots(),
	}
	if own.ConfigYAML != nil {
		files["msp/config.yaml"] = own.ConfigYAML
	}
	for i, admin := range org.Public.Admins {
		files[fmt.Sprintf("msp/admincerts/%d.pem", i)] = []byte(admin)
	}
	for _, o := range p.n.OrdererOrgs {
		files["tls/clients.crt"] = append(files["tls/clients.crt"], p.m.Orgs[o.Name].Public.TLSRoots()...)
	}
	if err := os.MkdirAll(p.Volume(node), 0o700); err != nil {
		p.t.Fatal(err)
	}
	for name, data := range files {
		path := filepath.Join(p.nodeDir(node), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			p.t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *Processes) address(node *network.Node, port int) (host, number, both string) {
	both = p.ports[fmt.Sprintf("%s:%d", node.Name(), port)]
	host, number, err := net.SplitHostPort(both)
	if err != nil {
		p.t.Fatal(err)
	}
	return host, number, both
}

func (p *Processes) ordererEnv(node *network.Node) []string {
	dir := p.nodeDir(node)
	host, port, _ := p.address(node, network.OrdererPort)
	_, _, admin := p.address(node, network.OrdererAdminPort)
	_, _, operations := p.address(node, network.OrdererOperations)
	cert, key, ca := filepath.Join(dir, "tls/server.crt"), filepath.Join(dir, "tls/server.key"), filepath.Join(dir, "tls/ca.crt")
	clients := filepath.Join(dir, "tls/clients.crt")
	production := filepath.Join(p.Volume(node), "production")
	return []string{
		"ORDERER_GENERAL_LISTENADDRESS=" + host, "ORDERER_GENERAL_LISTENPORT=" + port,
		"ORDERER_GENERAL_LOCALMSPID=" + node.Org.MSPID, "ORDERER_GENERAL_LOCALMSPDIR=" + filepath.Join(dir, "msp"),
		"ORDERER_GENERAL_TLS_CERTIFICATE=" + cert, "ORDERER_GENERAL_TLS_PRIVATEKEY=" + key, "ORDERER_GENERAL_TLS_ROOTCAS=[" + clients + "]",
		"ORDERER_GENERAL_CLUSTER_CLIENTCERTIFICATE=" + cert, "ORDERER_GENERAL_CLUSTER_CLIENTPRIVATEKEY=" + key, "ORDERER_GENERAL_CLUSTER_ROOTCAS=[" + clients + "]",
		"ORDERER_ADMIN_LISTENADDRESS=" + admin, "ORDERER_ADMIN_TLS_CERTIFICATE=" + cert, "ORDERER_ADMIN_TLS_PRIVATEKEY=" + key,
		"ORDERER_ADMIN_TLS_CLIENTROOTCAS=[" + ca + "]", "ORDERER_ADMIN_TLS_ROOTCAS=[" + ca + "]",
		"ORDERER_OPERATIONS_LISTENADDRESS=" + operations,
		"ORDERER_FILELEDGER_LOCATION=" + filepath.Join(production, "orderer"),
		"ORDERER_CONSENSUS_WALDIR=" + filepath.Join(production, "orderer/etcdraft/wal"),
		"ORDERER_CONSENSUS_SNAPDIR=" + filepath.Join(production, "orderer/etcdraft/snapshot"),
	}
}

func (p *Processes) peerEnv(node *network.Node) []string {
	dir := p.nodeDir(node)
	_, _, listen := p.address(node, network.PeerPort)
	_, _, chaincode := p.address(node, network.ChaincodePort)
	_, _, operations := p.address(node, network.PeerOperations)
	bootstrap := node.Address()
	for _, other := range node.Org.Nodes {
		if other != node {
			bootstrap = other.Address()
			break
		}
	}
	env := []string{
		"CORE_PEER_ID=" + node.Name(), "CORE_PEER_LOCALMSPID=" + node.Org.MSPID, "CORE_PEER_MSPCONFIGPATH=" + filepath.Join(dir, "msp"),
		"CORE_PEER_ADDRESS=" + node.Address(), "CORE_PEER_LISTENADDRESS=" + listen,
		"CORE_PEER_CHAINCODEADDRESS=" + chaincode, "CORE_PEER_CHAINCODELISTENADDRESS=" + chaincode,
		"CORE_PEER_GOSSIP_BOOTSTRAP=" + bootstrap, "CORE_PEER_GOSSIP_ENDPOINT=" + node.Address(), "CORE_PEER_GOSSIP_EXTERNALENDPOINT=" + node.Address(),
		"CORE_PEER_TLS_CERT_FILE=" + filepath.Join(dir, "tls/server.crt"), "CORE_PEER_TLS_KEY_FILE=" + filepath.Join(dir, "tls/server.key"),
		"CORE_PEER_TLS_ROOTCERT_FILE=" + filepath.Join(dir, "tls/ca.crt"),
		"CORE_PEER_FILESYSTEMPATH=" + filepath.Join(p.Volume(node), "production"),
		"CORE_LEDGER_SNAPSHOTS_ROOTDIR=" + filepath.Join(p.Volume(node), "production/snapshots"),
		"CORE_OPERATIONS_LISTENADDRESS=" + operations, "CORE_VM_ENDPOINT=",
		// As in the chart: a peer's first call to other organisations' anchor peers comes too
		// early as a rule, and Fabric's default would try again after 25 s.
		"CORE_PEER_GOSSIP_RECONNECTINTERVAL=2s",
	}
	return append(env, "CORE_CHAINCODE_EXTERNALBUILDERS="+p.builder(dir))
}

// serveProxy answers CONNECT with a connection to where the named node really listens.
func (p *Processes) serveProxy() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.proxyConn(c)
		}
	}()
	return l.Addr().String()
}

func (p *Processes) proxyConn(c net.Conn) {
	defer func() { _ = c.Close() }()
	target, rest, err := readConnect(c)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	to, err := p.Dial(ctx, target)
	if err != nil {
		_, _ = io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
		return
	}
	defer func() { _ = to.Close() }()
	if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	done := make(chan struct{}, 2)
	pipe := func(dst io.Writer, src io.Reader) {
		_, _ = io.Copy(dst, src)
		done <- struct{}{}
	}
	go pipe(to, rest)
	go pipe(c, to)
	<-done
}

// given are the ports that freeAddress has found: two nodes must not be told to use one.
var given sync.Map

// freeAddress finds a port below those that the system gives to outgoing connections, or one
// of these might take it before the node does.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := 10000 + rand.IntN(20000)
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		defer func() { _ = l.Close() }()
		return l.Addr().String()
	}
	t.Fatal("no free port")
	return ""
}

var errNotConnect = errors.New("not a CONNECT request")
