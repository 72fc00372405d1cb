package fabrictest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/configtx"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

const contractFiles = `
OrdererOrgs:
  - Name: Orderer
    Domain: example.com
    EnableNodeOUs: true
    Specs: [{Hostname: orderer0}, {Hostname: orderer1}, {Hostname: orderer2}]
PeerOrgs:
  - {Name: Org1, Domain: org1.example.com, EnableNodeOUs: true, Template: {Count: 1}, Users: {Count: 1}}
  - {Name: Org2, Domain: org2.example.com, EnableNodeOUs: true, Template: {Count: 1}, Users: {Count: 1}}
  - {Name: Org3, Domain: org3.example.com, EnableNodeOUs: true, Template: {Count: 1}, Users: {Count: 1}}
network:
  channels: [{name: common, orgs: [Org1, Org2], batch: {timeout: 100ms}}]
`

// contract is one network under the suite.
type contract struct {
	*testing.T
	n   *network.Network
	m   *pki.Material
	net Network
	ch  *network.Channel
}

// Contract is what package fabric relies on: how nodes answer, and above all how they refuse.
// It is one story on one network, because starting a real one for every question takes too long.
func Contract(t *testing.T, start func(testing.TB, *network.Network, *pki.Material) Network) {
	n, problems, err := network.Load([]network.Source{{Name: "contract.yaml", Data: []byte(contractFiles)}}, nil)
	if err != nil {
		t.Fatal(err, problems)
	}
	dir := t.TempDir()
	if _, err := pki.Ensure(dir, n, pki.Options{}); err != nil {
		t.Fatal(err)
	}
	m, err := pki.Load(dir, n)
	if err != nil {
		t.Fatal(err)
	}
	net := start(t, n, m)
	chapter := func(name string, f func(contract)) {
		if !t.Run(name, func(t *testing.T) { f(contract{t, n, m, net, n.Channels[0]}) }) {
			t.FailNow() // the next chapters build on this one
		}
	}
	chapter("Stopped", contract.stopped)
	for _, node := range n.Nodes() {
		net.Start(node)
	}
	chapter("Participation", contract.participation)
	chapter("Blocks", contract.blocks)
	chapter("Joining", contract.joining)
	chapter("Installing", contract.installing)
	chapter("Building", contract.building)
	chapter("Approving", contract.approving)
	chapter("Committing", contract.committing)
	chapter("Calling", contract.calling)
	chapter("Initializing", contract.initializing)
	chapter("Upgrading", contract.upgrading)
	chapter("Restarted", contract.restarted)
}

// node finds a node by a distinctive part of its name.
func (c contract) node(part string) *network.Node {
	for _, node := range c.n.Nodes() {
		if strings.Contains(node.Name(), part) {
			return node
		}
	}
	c.Fatalf("no node %q", part)
	return nil
}

func (c contract) endpoint(node *network.Node, address string) fabric.Endpoint {
	public := c.m.Orgs[node.Org.Name].Public
	return fabric.Endpoint{Address: address, ServerName: node.Name(), Roots: [][]byte{public.TLSRoots()}, Dial: c.net.Dial}
}

func (c contract) identity(org string, id pki.Identity) fabric.Identity {
	made, err := fabric.NewIdentity(c.m.Orgs[org].Public.MSPID, id.CertPEM, id.KeyPEM)
	if err != nil {
		c.Fatal(err)
	}
	return made
}

func (c contract) admin(org string) fabric.Identity  { return c.identity(org, c.m.Orgs[org].Admin) }
func (c contract) client(org string) fabric.Identity { return c.identity(org, c.m.Orgs[org].Client) }

func (c contract) api(name, org string) *fabric.Participation {
	node, tls := c.node(name), c.m.Orgs[org].AdminTLS
	p, err := fabric.NewParticipation(c.endpoint(node, node.AdminAddress()), tls.CertPEM, tls.KeyPEM)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(p.Close)
	return p
}

func (c contract) orderer(name string, id fabric.Identity) *fabric.Orderer {
	node := c.node(name)
	o, err := fabric.NewOrderer(c.endpoint(node, node.Address()), id)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(o.Close)
	return o
}

func (c contract) peer(name string, id fabric.Identity) *fabric.Peer {
	node := c.node(name)
	p, err := fabric.NewPeer(c.endpoint(node, node.Address()), id)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(p.Close)
	return p
}

// is checks an error's kind, and that time is not asked for in vain.
func (c contract) is(what string, err, kind error, transient bool) {
	c.Helper()
	if !errors.Is(err, kind) || exit.IsTransient(err) != transient {
		c.Errorf("%s: %v (transient %t); want %v (transient %t)", what, err, exit.IsTransient(err), kind, transient)
	}
}

func (c contract) ok(what string, err error) {
	c.Helper()
	if err != nil {
		c.Fatalf("%s: %v", what, err)
	}
}

func (c contract) same(what string, want, got any) {
	c.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		c.Errorf("%s: -want, +got:\n%s", what, diff)
	}
}

// soon repeats what only time can cure.
func (c contract) soon(what string, try func(context.Context) error) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			c.Fatalf("%s: still %v", what, err)
		case <-tick.C:
		}
	}
}

func (c contract) genesis() *common.Block {
	orgs := map[string]*pki.Public{}
	for name, o := range c.m.Orgs {
		orgs[name] = &o.Public
	}
	block, err := configtx.Genesis(c.ch, orgs)
	c.ok("making the genesis block", err)
	return block
}

func (c contract) stopped() {
	ctx := c.Context()
	_, err := c.api("orderer0", "Orderer").Channels(ctx)
	if !exit.IsTransient(err) {
		c.Errorf("an orderer that does not run: %v; only time can tell", err)
	}
	_, err = c.orderer("orderer0", c.admin("Orderer")).Newest(ctx, "common")
	if !exit.IsTransient(err) {
		c.Errorf("an orderer that does not run: %v; only time can tell", err)
	}
	_, err = c.peer("org1", c.admin("Org1")).Channels(ctx)
	if !exit.IsTransient(err) {
		c.Errorf("a peer that does not run: %v; only time can tell", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err = c.peer("org1", c.admin("Org1")).Channels(ended); exit.CodeOf(err) != exit.Interrupted {
		c.Errorf("a call that was interrupted: %v, want exit code %d", err, exit.Interrupted)
	}
}

func (c contract) participation() {
	ctx, api := c.Context(), c.api("orderer0", "Orderer")
	var channels []string
	for _, node := range c.ch.Orderers() {
		c.soon("listing channels", func(ctx context.Context) (err error) {
			channels, err = c.api(node.Hostname, "Orderer").Channels(ctx)
			return err
		})
	}
	c.same("channels of a new orderer", []string(nil), channels)
	_, err := api.Channel(ctx, "common")
	c.is("asking for a channel that is not there", err, fabric.ErrNoChannel, false)

	_, err = c.api("orderer0", "Org1").Channels(ctx)
	if err == nil || exit.IsTransient(err) {
		c.Errorf("with the TLS certificate of another organisation: %v; that will never do", err)
	}
	wrong := c.endpoint(c.node("orderer0"), c.node("orderer0").AdminAddress())
	wrong.Roots = [][]byte{c.m.Orgs["Org1"].Public.TLSRoots()}
	tls := c.m.Orgs["Orderer"].AdminTLS
	p, err := fabric.NewParticipation(wrong, tls.CertPEM, tls.KeyPEM)
	c.ok("making a client", err)
	if _, err = p.Channels(ctx); err == nil || exit.IsTransient(err) {
		c.Errorf("an orderer whose certificate nobody vouches for: %v; that will never do", err)
	}

	c.ok("joining", api.Join(ctx, c.genesis()))
	c.is("joining again", api.Join(ctx, c.genesis()), fabric.ErrExists, false)
	channels, err = api.Channels(ctx)
	c.ok("listing channels", err)
	c.same("channels after joining", []string{"common"}, channels)
	info, err := api.Channel(ctx, "common")
	c.ok("asking for the channel", err)
	c.same("channel", &fabric.ChannelInfo{Name: "common", Relation: "consenter", Status: "active", Height: 1}, info)
	if err := c.api("orderer1", "Orderer").Join(ctx, &common.Block{}); err == nil || exit.IsTransient(err) {
		c.Errorf("joining with an empty block: %v; that will never do", err)
	}
}

func (c contract) blocks() {
	ctx := c.Context()
	o := c.orderer("orderer0", c.admin("Orderer"))
	err := o.Ready(ctx, "common")
	if !exit.IsTransient(err) {
		c.Errorf("one of three orderers is ready to order: %v", err)
	}
	_, err = c.orderer("orderer1", c.admin("Orderer")).Newest(ctx, "common")
	c.is("reading from an orderer that has not joined", err, fabric.ErrNoChannel, false)
	c.ok("joining orderer1", c.api("orderer1", "Orderer").Join(ctx, c.genesis()))
	c.ok("joining orderer2", c.api("orderer2", "Orderer").Join(ctx, c.genesis()))
	c.soon("waiting for a leader", func(ctx context.Context) error { return o.Ready(ctx, "common") })

	for _, id := range []fabric.Identity{c.admin("Orderer"), c.admin("Org1"), c.client("Org2")} {
		o := c.orderer("orderer2", id)
		first, err := o.Block(ctx, "common", 0)
		c.ok("reading block 0", err)
		if !proto.Equal(first.GetHeader(), c.genesis().GetHeader()) || !proto.Equal(first.GetData(), c.genesis().GetData()) {
			c.Error("block 0 is not the genesis block")
		}
		config, err := o.Config(ctx, "common")
		c.ok("reading the configuration", err)
		c.same("number of the configuration block", uint64(0), config.GetHeader().GetNumber())
	}
	_, err = o.Block(ctx, "common", 7)
	c.is("a block that is not there", err, fabric.ErrNoChannel, false)
	_, err = c.orderer("orderer0", c.admin("Org3")).Newest(ctx, "common")
	c.is("reading as a stranger", err, fabric.ErrDenied, false)
}

func (c contract) joining() {
	ctx := c.Context()
	admin := c.peer("org1", c.admin("Org1"))
	var channels []string
	c.soon("listing channels", func(ctx context.Context) (err error) {
		channels, err = admin.Channels(ctx)
		return err
	})
	c.same("channels of a new peer", []string(nil), channels)
	_, err := admin.Members(ctx, "common")
	c.is("members of a channel that was not joined", err, fabric.ErrNoChannel, false)
	_, err = admin.Height(ctx, "common")
	c.is("height of a channel that was not joined", err, fabric.ErrNoChannel, false)
	_, err = admin.Committed(ctx, "common", "basic")
	c.is("definition on a channel that was not joined", err, fabric.ErrNoChannel, false)
	err = admin.Approve(ctx, "common", definition(1, "1.0"), "")
	c.is("approving on a channel that was not joined", later(err), errLater, true)

	c.is("joining as a client", c.peer("org1", c.client("Org1")).Join(ctx, c.genesis()), fabric.ErrDenied, false)
	c.is("joining as another's admin", c.peer("org1", c.admin("Org2")).Join(ctx, c.genesis()), fabric.ErrDenied, false)
	c.ok("joining", admin.Join(ctx, c.genesis()))
	c.is("joining again", admin.Join(ctx, c.genesis()), fabric.ErrExists, false)
	channels, err = admin.Channels(ctx)
	c.ok("listing channels", err)
	c.same("channels after joining", []string{"common"}, channels)
	c.soon("joining the second peer", func(ctx context.Context) error { return c.peer("org2", c.admin("Org2")).Join(ctx, c.genesis()) })
	height, err := admin.Height(ctx, "common")
	c.ok("height", err)
	c.same("height", uint64(1), height)

	// Each peer tells of itself at once, and of others when gossip has come round.
	for _, name := range []string{"org1", "org2"} {
		members, err := c.peer(name, c.client("Org1")).Members(ctx, "common")
		c.ok("members", err)
		if !hasMember(members, c.node(name).Address(), "_lifecycle") {
			c.Errorf("%s does not list itself: %+v", name, members)
		}
	}
	c.soon("hearing of the other peer", func(ctx context.Context) error {
		members, err := admin.Members(ctx, "common")
		if err == nil && len(members) < 2 {
			err = errLater
		}
		return err
	})
	_, err = c.peer("org1", c.client("Org3")).Members(ctx, "common")
	c.is("members as a stranger", err, fabric.ErrNoChannel, false)
	_, err = c.peer("org1", c.client("Org3")).Committed(ctx, "common", "basic")
	c.is("definition as a stranger", err, fabric.ErrDenied, false)
}

// errLater stands for "later", whatever the reason.
var errLater = errors.New("later")

// later makes both ways of saying "not joined" one: the gateway of a peer that has not joined
// finds no endorsers, or no channel. Both are for the caller to wait for.
func later(err error) error {
	if exit.IsTransient(err) || errors.Is(err, fabric.ErrNoEndorsers) || errors.Is(err, fabric.ErrNoChannel) {
		return exit.Transient(errLater)
	}
	return err
}

func hasMember(members []fabric.Member, address, chaincode string) bool {
	return slices.ContainsFunc(members, func(m fabric.Member) bool {
		_, runs := m.Chaincodes[chaincode]
		return m.Endpoint == address && runs
	})
}

func definition(sequence int64, version string) chaincode.Definition {
	return chaincode.Definition{Name: "basic", Sequence: sequence, Parameters: chaincode.Parameters{Version: version}}
}
