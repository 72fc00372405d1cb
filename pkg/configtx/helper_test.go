package configtx_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// binEnv names a directory with Fabric's own binaries, as hack/devcluster builds them.
const binEnv = "PIVT_TEST_FABRIC_BIN"

func fabricBin(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv(binEnv)
	if dir == "" {
		t.Skipf("%s is not set; it names the directory of Fabric's %s", binEnv, name)
	}
	return filepath.Join(dir, name)
}

// needs skips a case that the binary's release cannot do: BFT came with Fabric 3.
func (s shape) needs(t *testing.T, binary string) {
	t.Helper()
	if s.consensus != network.BFT {
		return
	}
	flag := "version"
	if strings.HasSuffix(binary, "configtxgen") {
		flag = "--version"
	}
	out, err := exec.CommandContext(t.Context(), binary, flag).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", binary, flag, err, out)
	}
	// A binary that was built without Fabric's linker flags calls itself "latest" and may
	// be anything; only one that says it is too old is let off.
	if strings.Contains(string(out), "v2.") {
		t.Skipf("BFT needs Fabric 3; this is\n%s", out)
	}
}

// shape is the part of a network that makes a difference to its channels.
type shape struct {
	consensus      network.Consensus
	orderers       []int // nodes of each orderer organisation
	peers          []int // nodes of each peer organisation
	withoutNodeOUs bool
	batch          network.Batch
}

// network gives the shape names. Its only channel is "common".
func (s shape) network() *network.Network {
	n := &network.Network{Version: "3.1.1"}
	for i, count := range s.orderers {
		n.OrdererOrgs = append(n.OrdererOrgs, s.org(network.Orderer, "Ord"+strconv.Itoa(i+1), count))
	}
	for i, count := range s.peers {
		n.PeerOrgs = append(n.PeerOrgs, s.org(network.Peer, "Org"+strconv.Itoa(i+1), count))
	}
	batch := s.batch
	if batch == (network.Batch{}) {
		batch = network.Batch{Timeout: "500ms", MaxMessageCount: 500, AbsoluteMaxBytes: 10 << 20, PreferredMaxBytes: 2 << 20}
	}
	n.Channels = []*network.Channel{{
		Name: "common", Orgs: n.PeerOrgs, OrdererOrgs: n.OrdererOrgs, Consensus: s.consensus, Batch: batch,
	}}
	return n
}

func (s shape) org(kind network.Kind, name string, nodes int) *network.Org {
	domain := network.Label(name) + ".example.com"
	o := &network.Org{
		Name: name, Domain: domain, MSPID: name + "MSP", Kind: kind, NodeOUs: !s.withoutNodeOUs,
		CA:    network.CA{Hostname: "ca", CommonName: "ca." + domain, Country: "US"},
		Users: []string{"User1"},
	}
	for i := range nodes {
		host := string(kind) + strconv.Itoa(i)
		o.Nodes = append(o.Nodes, &network.Node{Org: o, Hostname: host, CommonName: host + "." + domain})
	}
	return o
}

// crypto is a network with a tree of its certificates.
type crypto struct {
	network  *network.Network
	tree     pki.Tree
	material *pki.Material
}

func newCrypto(t *testing.T, s shape) crypto {
	t.Helper()
	c := crypto{network: s.network(), tree: pki.Tree{Dir: t.TempDir()}}
	// Real orderers look at the clock, so these certificates must begin now.
	if _, err := pki.Ensure(c.tree.Dir, c.network, pki.Options{Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	var err error
	if c.material, err = pki.Load(c.tree.Dir, c.network); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c crypto) channel() *network.Channel { return c.network.Channels[0] }

func (c crypto) public() map[string]*pki.Public {
	orgs := map[string]*pki.Public{}
	for name, m := range c.material.Orgs {
		orgs[name] = &m.Public
	}
	return orgs
}
