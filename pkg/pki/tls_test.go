package pki

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// withoutServiceName replaces every node's TLS certificate by the one cryptogen would have made.
func withoutServiceName(t *testing.T, dir string, n *network.Network) {
	t.Helper()
	for _, node := range n.Nodes() {
		serverCert(t, dir, node, "another.example.org", node.CommonName, node.Hostname)
	}
}

// serverCert issues a node's TLS certificate for exactly these names, over its key.
func serverCert(t *testing.T, dir string, node *network.Node, names ...string) {
	t.Helper()
	tree := Tree{dir}
	e := &ensurer{tree: tree, disk: &disk{}, now: noon()}
	ca, err := e.authority(node.Org, tree.TLSCADir(node.Org), "tlscacerts", "TLS CA", "unused")
	if err != nil {
		t.Fatal(err)
	}
	tlsDir := filepath.Join(tree.NodeDir(node), "tls")
	key, err := readKey(filepath.Join(tlsDir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.newTLSCert(subject(node.Org.CA, node.CommonName), names, key.signer.Public(), noon())
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(tlsDir, "server.crt"), cert, 0o644)
}

func TestEnsureReissues(t *testing.T) {
	t.Parallel()
	dir, n := t.TempDir(), small()
	ensure(t, dir, n)
	withoutServiceName(t, dir, n)
	if _, err := Load(dir, n); exit.CodeOf(err) != exit.Invalid || exit.HintOf(err) == "" {
		t.Errorf("Load of certificates without Service names: got %v, want an error with a hint", err)
	}
	before := snapshot(t, dir)
	var got []string
	for _, c := range ensure(t, dir, n) {
		got = append(got, strings.TrimPrefix(c.String(), dir+"/"))
	}
	want := []string{
		"ordererOrganizations/example.com/orderers/orderer0.example.com/tls/server.crt: TLS certificate re-issued over the same key for hlf-orderer--orderer--orderer0",
		"peerOrganizations/org1.example.com/peers/peer0.org1.example.com/tls/server.crt: TLS certificate re-issued over the same key for hlf-peer--org1--peer0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes: -want, +got:\n%s", diff)
	}
	after := snapshot(t, dir)
	keysKept(t, before, after)
	m := load(t, dir, n)
	cert := parse(t, m.Orgs["Org1"].Nodes["peer0"].TLS.CertPEM)
	for _, name := range []string{"another.example.org", "peer0", "hlf-peer--org1--peer0", "localhost"} {
		if err := cert.VerifyHostname(name); err != nil {
			t.Errorf("re-issued certificate: %v; names of the old one must stay", err)
		}
	}
}

func TestEnsureNewName(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		names  []string // of the certificate that is there
		bft    bool
		sans   []string
		want   exit.Code
	}{
		"Raft": {
			reason: "etcdraft compares public keys, so the certificate of a running orderer may change.",
			names:  []string{"orderer0.example.com", "orderer0", "hlf-orderer--orderer--orderer0"},
			sans:   []string{"orderer.example.org"},
			want:   exit.OK,
		},
		"BFTFirstRun": {
			reason: "Without the Service name the network cannot have run here: cryptogen's certificate may change.",
			names:  []string{"orderer0.example.com", "orderer0"},
			bft:    true,
			sans:   []string{"orderer.example.org"},
			want:   exit.OK,
		},
		"BFTRunning": {
			reason: "A BFT channel holds the certificate's bytes; a new one would lock the orderer out.",
			names:  []string{"orderer0.example.com", "orderer0", "hlf-orderer--orderer--orderer0"},
			bft:    true,
			sans:   []string{"orderer.example.org"},
			want:   exit.Invalid,
		},
		"SameAddress": {
			reason: "An address is the same however it is spelled.",
			names:  []string{"orderer0.example.com", "orderer0", "hlf-orderer--orderer--orderer0", "fd00::1"},
			bft:    true,
			sans:   []string{"FD00:0::1", "ORDERER0"},
			want:   exit.OK,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, n := t.TempDir(), small()
			ensure(t, dir, n)
			node := n.OrdererOrgs[0].Nodes[0]
			serverCert(t, dir, node, tc.names...)
			node.SANS = tc.sans
			ch := &network.Channel{Name: "common", Orgs: n.PeerOrgs, OrdererOrgs: n.OrdererOrgs, Consensus: network.Raft}
			if tc.bft {
				ch.Consensus = network.BFT
			}
			n.Channels = []*network.Channel{ch}
			_, err := Ensure(dir, n, opts())
			if exit.CodeOf(err) != tc.want {
				t.Fatalf("%s\ngot %v", tc.reason, err)
			}
			if err != nil {
				return
			}
			cert := parse(t, load(t, dir, n).Orgs["Orderer"].Nodes["orderer0"].TLS.CertPEM)
			if missing := lacking(cert, tc.sans); len(missing) > 0 {
				t.Errorf("%s\nthe certificate still lacks %v", tc.reason, missing)
			}
		})
	}
}
