package fabrictest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/discovery"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// Network is what Processes and Nodes have in common.
type Network interface {
	// Dial connects to a node by the address it has in a cluster.
	Dial(ctx context.Context, address string) (net.Conn, error)
	Start(*network.Node)
	Stop(*network.Node)
	// HoldBuilds makes builds on a peer wait until it is called with false.
	HoldBuilds(node *network.Node, held bool)
	// Builds counts how often a peer began to build packages of a label.
	Builds(node *network.Node, label string) int
}

var (
	_ Network = (*Processes)(nil)
	_ Network = (*Nodes)(nil)
)

// Nodes is a network in memory. Its nodes speak gRPC and HTTP over TLS like real ones and
// check who signed. Where they are simpler: what is ordered is known to all peers at once, a leader
// is there as soon as enough orderers are, and chaincode touches no ledger.
type Nodes struct {
	t testing.TB
	n *network.Network
	m *pki.Material

	mu       sync.Mutex
	ledgers  map[string]*ledger
	nodes    map[string]*state // by Node.Name()
	pending  map[string]*transaction
	launches map[string]error // by package id: why a chaincode does not start
	unheard  map[string]bool  // by Node.Name(): gossip has not spread the word of it
	built    *sync.Cond       // on mu: a build ended, or may end
}

// state is what one node keeps over a restart.
type state struct {
	node      *network.Node
	stop      func()                  // nil while it does not run
	listeners map[string]net.Listener // on 127.0.0.1, by address in the cluster
	joined    map[string]bool         // channels
	installed map[string][]byte       // packages by id
	builds    map[string]int          // by label
	building  map[string]bool         // by id
	held      bool                    // builds do not end
}

// StartNodes starts every node of n in memory.
func StartNodes(t testing.TB, n *network.Network, m *pki.Material) *Nodes {
	t.Helper()
	f := PrepareNodes(t, n, m)
	for _, node := range n.Nodes() {
		f.Start(node)
	}
	return f
}

// PrepareNodes starts no node yet.
func PrepareNodes(t testing.TB, n *network.Network, m *pki.Material) *Nodes {
	f := &Nodes{t: t, n: n, m: m, ledgers: map[string]*ledger{}, nodes: map[string]*state{},
		pending: map[string]*transaction{}, launches: map[string]error{}, unheard: map[string]bool{}}
	f.built = sync.NewCond(&f.mu)
	for _, node := range n.Nodes() {
		f.nodes[node.Name()] = newState(node)
	}
	t.Cleanup(func() {
		for _, node := range f.n.Nodes() {
			f.Stop(node)
		}
	})
	return f
}

// Dial connects to a node, if it runs.
func (f *Nodes) Dial(ctx context.Context, address string) (net.Conn, error) {
	f.mu.Lock()
	var l net.Listener
	for _, s := range f.nodes {
		if found := s.listeners[address]; found != nil {
			l = found
		}
	}
	f.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dial tcp %s: connect: connection refused", address)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
}

// Start starts a node with what it had when it was stopped.
func (f *Nodes) Start(node *network.Node) {
	f.t.Helper()
	own := f.m.Orgs[node.Org.Name]
	cert, err := tls.X509KeyPair(own.Nodes[node.Hostname].TLS.CertPEM, own.Nodes[node.Hostname].TLS.KeyPEM)
	if err != nil {
		f.t.Fatalf("TLS certificate of %s: %v", node.Name(), err)
	}
	conf := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(conf)), grpc.MaxRecvMsgSize(100<<20))
	main := f.listen()
	listeners := map[string]net.Listener{node.Address(): main}
	stop := server.Stop
	if node.Org.Kind == network.Orderer {
		orderer.RegisterAtomicBroadcastServer(server, &ordererServer{f: f, node: node})
		admin := f.listen()
		listeners[node.AdminAddress()] = admin
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(own.Public.TLSRoots())
		web := &http.Server{Handler: &participationServer{f: f, node: node}, ReadHeaderTimeout: 10 * time.Second, ErrorLog: discard(),
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots, MinVersion: tls.VersionTLS12}}
		go func() { _ = web.ServeTLS(admin, "", "") }()
		stop = func() {
			_ = web.Close()
			server.Stop()
		}
	} else {
		p := &peerServer{f: f, node: node}
		peer.RegisterEndorserServer(server, p)
		gateway.RegisterGatewayServer(server, &gatewayServer{peerServer: p})
		discovery.RegisterDiscoveryServer(server, p)
	}
	go func() { _ = server.Serve(main) }()
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.nodes[node.Name()]
	s.stop, s.listeners = stop, listeners
}

func (f *Nodes) listen() net.Listener {
	f.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	return l
}

// Stop ends a node and breaks its connections.
func (f *Nodes) Stop(node *network.Node) {
	f.mu.Lock()
	s := f.nodes[node.Name()]
	stop := s.stop
	s.stop, s.listeners = nil, nil
	s.held = false
	f.built.Broadcast()
	f.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// BreakChaincode makes every start of a package fail with reason, or succeed again with nil.
func (f *Nodes) BreakChaincode(packageID string, reason error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.launches[packageID] = reason
}

// HoldBuilds makes builds on a peer wait until it is called with false.
func (f *Nodes) HoldBuilds(node *network.Node, held bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes[node.Name()].held = held
	f.built.Broadcast()
}

// Builds counts how often a peer began to build packages of a label.
func (f *Nodes) Builds(node *network.Node, label string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes[node.Name()].builds[label]
}

// Gossip says whether other peers have heard of a node yet; from the start they have.
func (f *Nodes) Gossip(node *network.Node, heard bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unheard[node.Name()] = !heard
}

// visible are the running peers of a channel, as one of them knows them. Callers hold mu.
func (f *Nodes) visible(to *network.Node, channel string) []*state {
	var peers []*state
	for _, o := range f.n.PeerOrgs {
		for _, node := range o.Nodes {
			s := f.nodes[node.Name()]
			if s.stop != nil && s.joined[channel] && (node == to || !f.unheard[node.Name()]) {
				peers = append(peers, s)
			}
		}
	}
	return peers
}

// hasLeader reports whether enough consenters of a channel run. Callers hold mu.
func (f *Nodes) hasLeader(channel string) bool {
	up, all := 0, 0
	for _, node := range f.ledgers[channel].orderers {
		all++
		if s := f.nodes[node]; s != nil && s.stop != nil && s.joined[channel] {
			up++
		}
	}
	return up > all/2
}

// Grow adds the nodes that n has and the network has not, and starts them. The keys of m
// must be those of the nodes that are there, and more.
func (f *Nodes) Grow(n *network.Network, m *pki.Material) {
	f.t.Helper()
	f.mu.Lock()
	f.n, f.m = n, m
	var added []*network.Node
	for _, node := range n.Nodes() {
		if f.nodes[node.Name()] == nil {
			f.nodes[node.Name()] = newState(node)
			added = append(added, node)
		}
	}
	f.mu.Unlock()
	for _, node := range added {
		f.Start(node)
	}
}

func newState(node *network.Node) *state {
	return &state{node: node, joined: map[string]bool{}, installed: map[string][]byte{}, builds: map[string]int{}, building: map[string]bool{}}
}
