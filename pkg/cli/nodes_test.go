package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
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

const testNamespace = "fabric"

const liveCrypto = `OrdererOrgs:
  - {Name: Orderer, Domain: example.com, EnableNodeOUs: true, Specs: [{Hostname: orderer0}, {Hostname: orderer1}, {Hostname: orderer2}]}
PeerOrgs:
  - {Name: Org1, Domain: org1.example.com, EnableNodeOUs: true, Template: {Count: 2}}
  - {Name: Org2, Domain: org2.example.com, EnableNodeOUs: true, Template: {Count: 1}}
`

const liveNetwork = `# the channel that all share
network:
  channels: [{name: common, orgs: [Org1, Org2], batch: {timeout: 100ms}}]
  chaincodes:
    - name: basic
      version: "1.0" # raise me
      image: pivt/basic@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
      channels: [{name: common, policy: "OR('Org1MSP.peer','Org2MSP.peer')"}]
`

// live is a network in memory: its nodes, and the cluster that knows of them.
type live struct {
	*testing.T
	n       *network.Network
	m       *pki.Material
	nodes   *fabrictest.Nodes
	cluster *deploytest.Cluster
	access  *check.Access
	dir     string // of the user, with the two files and the keys
}

// newLive starts the network with the channel created, joined and the chaincode committed.
func newLive(t *testing.T) *live {
	t.Helper()
	w := newEmpty(t)
	w.write("crypto-config.yaml", liveCrypto)
	w.write("network.yaml", liveNetwork)
	w.n = w.load()
	keys := w.dir + "/crypto-config"
	if _, err := pki.Ensure(keys, w.n, pki.Options{Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.m, err = pki.Load(keys, w.n); err != nil {
		t.Fatal(err)
	}
	w.nodes = fabrictest.StartNodes(t, w.n, w.m)
	w.access = &check.Access{Kube: w.cluster.Client(testNamespace), Network: w.n, Material: w.m, Dial: w.nodes.Dial}
	for _, node := range w.n.Nodes() {
		set := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "apps/v1", "kind": "StatefulSet",
			"metadata": map[string]any{"name": node.Name(), "labels": map[string]any{"app.kubernetes.io/part-of": network.Release}},
			"spec":     map[string]any{"replicas": int64(1)},
		}}
		if _, err := w.access.Kube.Apply(t.Context(), []*unstructured.Unstructured{set}, kube.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w.join()
	w.deploy(w.n)
	return w
}

// newEmpty is a user with an empty directory, and a cluster with nothing in its namespace.
func newEmpty(t *testing.T) *live {
	t.Helper()
	w := &live{T: t, cluster: deploytest.New(t), dir: t.TempDir()}
	w.cluster.Put("namespaces", "", nil, map[string]any{"name": testNamespace})
	return w
}

func (w *live) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *live) join() {
	w.Helper()
	public := map[string]*pki.Public{}
	for name, om := range w.m.Orgs {
		public[name] = &om.Public
	}
	block, err := configtx.Genesis(w.n.Channels[0], public)
	w.must(err)
	om := w.m.Orgs["Orderer"]
	for _, node := range w.n.OrdererOrgs[0].Nodes {
		p, err := fabric.NewParticipation(fabric.Endpoint{Address: node.AdminAddress(), ServerName: node.Name(), Roots: [][]byte{om.Public.TLSRoots()}, Dial: w.nodes.Dial},
			om.AdminTLS.CertPEM, om.AdminTLS.KeyPEM)
		w.must(err)
		w.must(p.Join(w.Context(), block))
		p.Close()
	}
	for _, o := range w.n.PeerOrgs {
		for _, node := range o.Nodes {
			w.as(node, func(p *fabric.Peer) { w.must(p.Join(w.Context(), block)) })
		}
	}
}

// as gives a peer's client with its admin's rights.
func (w *live) as(node *network.Node, f func(*fabric.Peer)) {
	w.Helper()
	p, err := w.access.Peer(node, check.AsAdmin)
	w.must(err)
	defer p.Close()
	f(p)
}

// deploy does what the chaincode flow does: every chaincode of n comes to be as n asks.
func (w *live) deploy(n *network.Network) {
	w.Helper()
	for _, cc := range n.Chaincodes {
		for _, on := range cc.Channels {
			wanted, err := chaincode.Wanted(cc, on)
			w.must(err)
			var committed *chaincode.Definition
			w.as(n.PeerOrgs[0].Nodes[0], func(p *fabric.Peer) {
				if c, err := p.Committed(w.Context(), on.Channel.Name, cc.Name); err == nil {
					committed = &c.Definition
				}
			})
			next := chaincode.Next(cc.Name, wanted, committed)
			for _, o := range cc.Orgs {
				pkg, err := chaincode.Package(cc, o)
				w.must(err)
				for _, node := range o.Nodes {
					w.as(node, func(p *fabric.Peer) { _, _ = p.Install(w.Context(), pkg) })
				}
				w.as(o.Nodes[0], func(p *fabric.Peer) {
					w.must(again(func() error {
						return p.Approve(w.Context(), on.Channel.Name, next, chaincode.PackageID(cc.Label(), pkg))
					}))
				})
			}
			w.as(n.PeerOrgs[0].Nodes[0], func(p *fabric.Peer) {
				w.must(again(func() error { return p.Commit(w.Context(), on.Channel.Name, next) }))
			})
		}
	}
}

// again repeats what only time can cure.
func again(f func() error) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if err := f(); !exit.IsTransient(err) || time.Now().After(deadline) {
			return err
		}
	}
}

func (w *live) load() *network.Network {
	w.Helper()
	s, _, _ := w.state()
	in, err := new(globals).load(s)
	w.must(err)
	return in.network
}

// state is a process in the user's directory.
func (w *live) state(args ...string) (s *State, stdout, stderr *bytes.Buffer) {
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &State{Args: args, Env: func(string) string { return "" }, Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr,
		Width: func() int { return 80 }, Dir: w.dir, Now: time.Now}, stdout, stderr
}

func (w *live) write(name, content string) {
	w.Helper()
	path := filepath.Join(w.dir, name)
	w.must(os.MkdirAll(filepath.Dir(path), 0o755))
	w.must(os.WriteFile(path, []byte(content), 0o644))
}

func (w *live) read(name string) string {
	w.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, name))
	w.must(err)
	return string(data)
}

// pivt runs the program in the user's directory, with the nodes and the cluster.
func (w *live) pivt(args ...string) (code exit.Code, stdout, stderr string) {
	w.Helper()
	s, out, errs := w.state(append(args, "--kubeconfig", w.cluster.Kubeconfig(testNamespace))...)
	if w.nodes != nil {
		s.Dial = w.nodes.Dial
	}
	return Run(w.Context(), s), out.String(), errs.String()
}
