package check_test

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/check"
	"pivt.io/pivt/pkg/configtx"
	"pivt.io/pivt/pkg/deploy/deploytest"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/fabric/fabrictest"
	"pivt.io/pivt/pkg/kube"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

const files = `
OrdererOrgs:
  - {Name: Orderer, Domain: example.com, EnableNodeOUs: true, Specs: [{Hostname: orderer0}, {Hostname: orderer1}, {Hostname: orderer2}]}
PeerOrgs:
  - {Name: Org1, Domain: org1.example.com, EnableNodeOUs: true, Template: {Count: 2}}
  - {Name: Org2, Domain: org2.example.com, EnableNodeOUs: true, Template: {Count: 1}}
network:
  channels: [{name: common, orgs: [Org1, Org2], batch: {timeout: 100ms}}]
  chaincodes:
    - name: basic
      version: "1.0"
      image: pivt/basic@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
      channels: [{name: common, policy: "OR('Org1MSP.peer','Org2MSP.peer')"}]
`

const namespace = "fabric"

// world is a network with its nodes and a cluster, both in memory.
type world struct {
	*testing.T
	n       *network.Network
	m       *pki.Material
	nodes   *fabrictest.Nodes
	cluster *deploytest.Cluster
	access  *check.Access
}

// newWorld starts nodes that have joined nothing yet.
func newWorld(t *testing.T) *world {
	t.Helper()
	n := load(t, files)
	m := keys(t, n, time.Now())
	w := &world{T: t, n: n, m: m, nodes: fabrictest.StartNodes(t, n, m), cluster: deploytest.New(t)}
	w.access = &check.Access{Kube: w.cluster.Client(namespace), Network: n, Material: m, Dial: w.nodes.Dial}
	w.cluster.Put("namespaces", "", nil, map[string]any{"name": namespace})
	for _, node := range n.Nodes() {
		w.deploy(node.Name())
	}
	return w
}

func load(t *testing.T, text string) *network.Network {
	t.Helper()
	n, problems, err := network.Load([]network.Source{{Name: "network.yaml", Data: []byte(text)}}, nil)
	if err != nil {
		t.Fatal(err, problems)
	}
	return n
}

func keys(t *testing.T, n *network.Network, made time.Time) *pki.Material {
	t.Helper()
	dir := t.TempDir()
	if _, err := pki.Ensure(dir, n, pki.Options{Now: func() time.Time { return made }}); err != nil {
		t.Fatal(err)
	}
	m, err := pki.Load(dir, n)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// deploy makes a StatefulSet, whose pod is ready at once unless the cluster holds pods.
func (w *world) deploy(name string) {
	w.Helper()
	set := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "StatefulSet",
		"metadata": map[string]any{"name": name, "labels": map[string]any{"app.kubernetes.io/part-of": network.Release}},
		"spec":     map[string]any{"replicas": int64(1)},
	}}
	if _, err := w.access.Kube.Apply(w.Context(), []*unstructured.Unstructured{set}, kube.ApplyOptions{}); err != nil {
		w.Fatal(err)
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// create makes every orderer join the channel.
func (w *world) create() {
	w.Helper()
	block, err := configtx.Genesis(w.n.Channels[0], w.public())
	w.must(err)
	for _, node := range w.n.OrdererOrgs[0].Nodes {
		om := w.m.Orgs["Orderer"]
		p, err := fabric.NewParticipation(fabric.Endpoint{Address: node.AdminAddress(), ServerName: node.Name(), Roots: [][]byte{om.Public.TLSRoots()}, Dial: w.nodes.Dial},
			om.AdminTLS.CertPEM, om.AdminTLS.KeyPEM)
		w.must(err)
		w.must(p.Join(w.Context(), block))
		p.Close()
	}
}

func (w *world) public() map[string]*pki.Public {
	all := map[string]*pki.Public{}
	for name, om := range w.m.Orgs {
		all[name] = &om.Public
	}
	return all
}

// as gives a peer's client with its admin's rights.
func (w *world) as(node *network.Node, f func(*fabric.Peer)) {
	w.Helper()
	p, err := w.access.Peer(node, check.AsAdmin)
	w.must(err)
	defer p.Close()
	f(p)
}

// join makes the peers of an organisation join the channel.
func (w *world) join(org string) {
	w.Helper()
	block, err := configtx.Genesis(w.n.Channels[0], w.public())
	w.must(err)
	for _, node := range w.n.Org(org).Nodes {
		w.as(node, func(p *fabric.Peer) { w.must(p.Join(w.Context(), block)) })
	}
}

// install installs the chaincode on the peers, and approves it for the organisation.
func (w *world) install(org string, nodes ...*network.Node) {
	w.Helper()
	cc := w.n.Chaincodes[0]
	pkg, err := chaincode.Package(cc, w.n.Org(org))
	w.must(err)
	for _, node := range nodes {
		w.as(node, func(p *fabric.Peer) {
			_, err := p.Install(w.Context(), pkg)
			w.must(err)
		})
	}
	w.as(w.n.Org(org).Nodes[0], func(p *fabric.Peer) {
		w.must(again(func() error {
			return p.Approve(w.Context(), "common", w.definition(), chaincode.PackageID(cc.Label(), pkg))
		}))
	})
}

func (w *world) definition() chaincode.Definition {
	cc := w.n.Chaincodes[0]
	wanted, err := chaincode.Wanted(cc, cc.Channels[0])
	w.must(err)
	return chaincode.Next(cc.Name, wanted, nil)
}

func (w *world) commit() {
	w.Helper()
	w.as(w.n.Org("Org1").Nodes[0], func(p *fabric.Peer) {
		w.must(again(func() error { return p.Commit(w.Context(), "common", w.definition()) }))
	})
}

// again repeats what only time can cure.
func again(f func() error) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if err := f(); !exit.IsTransient(err) || time.Now().After(deadline) {
			return err
		}
	}
}
