package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

func TestEnsureFresh(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		change []func(*network.Org)
	}{
		"NodeOUs":        {reason: "Roles are in the certificates; no admincerts are needed."},
		"WithoutNodeOUs": {reason: "cryptogen's default: admins are known by a copy of their certificate.", change: []func(*network.Org){withoutNodeOUs}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, n := filepath.Join(t.TempDir(), "crypto-config"), small(tc.change...)
			changes, err := Ensure(dir, n, Options{Now: noon}) // synced, as for users
			if err != nil {
				t.Fatal(err)
			}
			want := []string{
				"ordererOrganizations/example.com/ca: CA created",
				"ordererOrganizations/example.com/tlsca: TLS CA created",
				"ordererOrganizations/example.com/msp: MSP of OrdererMSP completed",
				"ordererOrganizations/example.com/users/Admin@example.com: user Admin created",
				"ordererOrganizations/example.com/orderers/orderer0.example.com: orderer orderer0 created",
				"peerOrganizations/org1.example.com/ca: CA created",
				"peerOrganizations/org1.example.com/tlsca: TLS CA created",
				"peerOrganizations/org1.example.com/msp: MSP of Org1MSP completed",
				"peerOrganizations/org1.example.com/users/Admin@org1.example.com: user Admin created",
				"peerOrganizations/org1.example.com/users/User1@org1.example.com: user User1 created",
				"peerOrganizations/org1.example.com/peers/peer0.org1.example.com: peer peer0 created",
			}
			var got []string
			for _, c := range changes {
				got = append(got, strings.TrimPrefix(c.String(), dir+"/"))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s\nchanges: -want, +got:\n%s", tc.reason, diff)
			}
			for path, f := range snapshot(t, dir) {
				if isKey(path) != (f.Mode == 0o600) {
					t.Errorf("%s has mode %o; keys and only keys are 0600", path, f.Mode)
				}
				if strings.HasSuffix(path, tmpSuffix) {
					t.Errorf("%s was left behind", path)
				}
			}
			for _, private := range []string{"ca", "tlsca", "peers/peer0.org1.example.com/msp/keystore", "peers/peer0.org1.example.com/tls"} {
				info, err := os.Stat(filepath.Join(Tree{dir}.OrgDir(peerOf(n)), private))
				if err != nil {
					t.Fatal(err)
				}
				if info.Mode().Perm() != 0o700 {
					t.Errorf("directory %s has mode %o, want 0700", private, info.Mode().Perm())
				}
			}
			m := load(t, dir, n)
			if m.Orgs["Orderer"].Client.CertPEM != nil {
				t.Error("an orderer organisation has a client; cryptogen makes none and nothing needs one")
			}
			checkPeerOrg(t, n, m)
		})
	}
}

// checkPeerOrg looks at what Fabric looks at.
func checkPeerOrg(t *testing.T, n *network.Network, m *Material) {
	t.Helper()
	o := peerOf(n)
	om := m.Orgs[o.Name]
	for who, id := range map[string]Identity{"admin": om.Admin, "client": om.Client, "peer": om.Nodes["peer0"].MSP} {
		cert := parse(t, id.CertPEM)
		if got := slices.Contains(cert.Subject.OrganizationalUnit, who); got != o.NodeOUs {
			t.Errorf("%s: organisational units %q, NodeOUs %t", who, cert.Subject.OrganizationalUnit, o.NodeOUs)
		}
		if cert.KeyUsage != x509.KeyUsageDigitalSignature {
			t.Errorf("%s: key usage %b", who, cert.KeyUsage)
		}
		if want := noon().Add(-5*time.Minute - 30*time.Second); !cert.NotBefore.Equal(want) {
			t.Errorf("%s: begins %s, want %s", who, cert.NotBefore, want)
		}
		if years := cert.NotAfter.Sub(cert.NotBefore) / (365 * 24 * time.Hour); years != 10 {
			t.Errorf("%s: valid for %d years, want 10", who, years)
		}
	}
	ca := parse(t, []byte(om.Public.RootCerts[0]))
	if ca.Subject.String() != "CN=ca.org1.example.com,O=org1.example.com,L=San Francisco,ST=California,C=US" {
		t.Errorf("CA subject %s", ca.Subject)
	}
	if len(ca.SubjectKeyId) != 32 {
		t.Errorf("CA key id %x; Fabric's are SHA-256", ca.SubjectKeyId)
	}
	if (om.Nodes["peer0"].ConfigYAML != nil) != o.NodeOUs || (len(om.Public.Admins) == 0) != o.NodeOUs {
		t.Errorf("config.yaml %q and %d admin certificates with NodeOUs %t", om.Nodes["peer0"].ConfigYAML, len(om.Public.Admins), o.NodeOUs)
	}
}

func parse(t *testing.T, pem []byte) *x509.Certificate {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cert.pem")
	write(t, path, pem, 0o600)
	c, err := readCert(path)
	if err != nil {
		t.Fatal(err)
	}
	return c.cert
}

func TestEnsureTwice(t *testing.T) {
	t.Parallel()
	for name, change := range map[string][]func(*network.Org){"NodeOUs": nil, "WithoutNodeOUs": {withoutNodeOUs}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, n := t.TempDir(), small(change...)
			ensure(t, dir, n)
			before := snapshot(t, dir)
			later := Options{
				Now: func() time.Time { return noon().AddDate(1, 0, 0) },
				step: func(stage, path string) error {
					t.Errorf("a complete tree was written to: %s %s", stage, path)
					return nil
				},
			}
			changes, err := Ensure(dir, n, later)
			if err != nil {
				t.Fatal(err)
			}
			if len(changes) > 0 {
				t.Errorf("a complete tree was changed: %v", changes)
			}
			if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
				t.Errorf("-before, +after:\n%s", diff)
			}
		})
	}
}

func TestEnsureExtends(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(*network.Network)
		want   []string
	}{
		"Peer": {
			change: func(n *network.Network) { addNode(peerOf(n)) },
			want:   []string{"peer peer1 created"},
		},
		"User": {
			change: func(n *network.Network) { peerOf(n).Users = append(peerOf(n).Users, "User2") },
			want:   []string{"user User2 created"},
		},
		"Org": {
			change: func(n *network.Network) {
				n.PeerOrgs = append(n.PeerOrgs, org(network.Peer, "Org2", "org2.example.com", 1))
			},
			want: []string{"CA created", "TLS CA created", "MSP of Org2MSP completed", "user Admin created", "user User1 created", "peer peer0 created"},
		},
		"OrdererOrg": {
			change: func(n *network.Network) {
				n.OrdererOrgs = append(n.OrdererOrgs, org(network.Orderer, "Second", "second.example.com", 2))
			},
			want: []string{"CA created", "TLS CA created", "MSP of SecondMSP completed", "user Admin created", "orderer orderer0 created", "orderer orderer1 created"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, n := t.TempDir(), small()
			ensure(t, dir, n)
			before := snapshot(t, dir)
			tc.change(n)
			var got []string
			for _, c := range ensure(t, dir, n) {
				got = append(got, c.What)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("changes: -want, +got:\n%s", diff)
			}
			after := snapshot(t, dir)
			for path, b := range before {
				if diff := cmp.Diff(b, after[path]); diff != "" {
					t.Errorf("%s was there before: -before, +after:\n%s", path, diff)
				}
			}
			load(t, dir, n)
		})
	}
}

// TestEnsureProtects: a tree copied from elsewhere often has readable keys.
func TestEnsureProtects(t *testing.T) {
	t.Parallel()
	dir, n := t.TempDir(), small()
	ensure(t, dir, n)
	before := snapshot(t, dir)
	keys := 0
	for path := range before {
		if isKey(path) {
			keys++
			if err := os.Chmod(filepath.Join(dir, path), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	changes := ensure(t, dir, n)
	if len(changes) != keys {
		t.Errorf("%d keys were readable by others, %d changes reported: %v", keys, len(changes), changes)
	}
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Errorf("-before, +after:\n%s", diff)
	}
}

func TestEnsureRefuses(t *testing.T) {
	t.Parallel()
	peerDir := func(dir string, n *network.Network) string { return Tree{dir}.NodeDir(peerOf(n).Nodes[0]) }
	cases := map[string]struct {
		reason string
		change func(t *testing.T, dir string, n *network.Network)
		names  string // what the error must name
	}{
		"CAKeyElsewhere": {
			reason: "Without its CA's key a peer cannot be added, and no other CA may be made up for it.",
			change: func(t *testing.T, dir string, n *network.Network) {
				remove(t, Tree{dir}.CADir(peerOf(n)))
				addNode(peerOf(n))
			},
			names: "org1.example.com/ca",
		},
		"TLSCAKeyElsewhere": {
			reason: "The same holds for the TLS CA.",
			change: func(t *testing.T, dir string, n *network.Network) {
				remove(t, Tree{dir}.TLSCADir(peerOf(n)), "priv_sk")
				remove(t, peerDir(dir, n), "tls", "server.crt")
			},
			names: "org1.example.com/tlsca",
		},
		"CALost": {
			reason: "A new CA beside old certificates would be a second organisation of the same name.",
			change: func(t *testing.T, dir string, n *network.Network) {
				remove(t, Tree{dir}.CADir(peerOf(n)))
				remove(t, Tree{dir}.MSPDir(peerOf(n)), "cacerts")
			},
			names: "org1.example.com/ca",
		},
		"KeyLost": {
			reason: "A certificate without its key is a mistake of somebody's, not something to replace.",
			change: func(t *testing.T, dir string, n *network.Network) {
				remove(t, peerDir(dir, n), "msp", "keystore")
			},
			names: "peer0.org1.example.com/msp/keystore",
		},
		"TLSKeyLost": {
			reason: "The same holds for TLS.",
			change: func(t *testing.T, dir string, n *network.Network) {
				remove(t, peerDir(dir, n), "tls", "server.key")
			},
			names: "server.key",
		},
		"ForeignCertificate": {
			reason: "Two trees were mixed; the node would start and nobody would believe it.",
			change: func(t *testing.T, dir string, n *network.Network) {
				other, m := t.TempDir(), small()
				ensure(t, other, m)
				for _, sub := range []string{"signcerts/peer0.org1.example.com-cert.pem", "keystore/priv_sk"} {
					b, err := os.ReadFile(filepath.Join(peerDir(other, m), "msp", sub))
					if err != nil {
						t.Fatal(err)
					}
					write(t, filepath.Join(peerDir(dir, n), "msp", sub), b, 0o600)
				}
			},
			names: "signcerts",
		},
		"NodeOUsSwitchedOff": {
			reason: "The tree's config.yaml says otherwise, and channels hold it.",
			change: func(_ *testing.T, _ string, n *network.Network) { peerOf(n).NodeOUs = false },
			names:  "config.yaml",
		},
		"BrokenCertificate": {
			reason: "A damaged file is named, not overwritten.",
			change: func(t *testing.T, dir string, n *network.Network) {
				write(t, filepath.Join(peerDir(dir, n), "tls", "server.crt"), []byte("damaged"), 0o644)
			},
			names: "server.crt",
		},
		"BrokenKey": {
			reason: "So is a damaged key.",
			change: func(t *testing.T, dir string, n *network.Network) {
				write(t, filepath.Join(peerDir(dir, n), "tls", "server.key"), []byte("damaged"), 0o600)
			},
			names: "server.key",
		},
		"BrokenKeyWithoutCertificate": {
			reason: "What is left of a key is not overwritten either: it may be all that is left.",
			change: func(t *testing.T, dir string, n *network.Network) {
				write(t, filepath.Join(peerDir(dir, n), "msp", "keystore", "priv_sk"), []byte("damaged"), 0o600)
				remove(t, peerDir(dir, n), "msp", "signcerts")
			},
			names: "keystore/priv_sk",
		},
		"NameWithSlash": {
			reason: "A name must not lead out of the tree.",
			change: func(_ *testing.T, _ string, n *network.Network) { peerOf(n).Nodes[0].CommonName = "../peer0" },
			names:  "../peer0",
		},
		"SharedDirectory": {
			reason: "Two nodes in one directory would have one key.",
			change: func(_ *testing.T, _ string, n *network.Network) {
				addNode(peerOf(n))
				peerOf(n).Nodes[1].CommonName = peerOf(n).Nodes[0].CommonName
			},
			names: "peer1",
		},
		"SharedDomain": {
			reason: "Two organisations in one directory would have one CA.",
			change: func(_ *testing.T, _ string, n *network.Network) {
				n.PeerOrgs = append(n.PeerOrgs, org(network.Peer, "Twin", "org1.example.com", 1))
			},
			names: "Twin",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, n := t.TempDir(), small()
			ensure(t, dir, n)
			tc.change(t, dir, n)
			before := snapshot(t, dir)
			_, err := Ensure(dir, n, opts())
			if err == nil {
				t.Fatalf("%s\nEnsure succeeded", tc.reason)
			}
			if exit.CodeOf(err) != exit.Invalid {
				t.Errorf("%s\ncode %d for %v", tc.reason, exit.CodeOf(err), err)
			}
			if !strings.Contains(err.Error(), tc.names) {
				t.Errorf("%s\nthe error does not name %s: %v", tc.reason, tc.names, err)
			}
			if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
				t.Errorf("%s\nthe tree was changed: -before, +after:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestEnsureNodeOUsSwitchedOn: the certificates have no roles, so nothing may be written
// that makes Fabric look for them.
func TestEnsureNodeOUsSwitchedOn(t *testing.T) {
	t.Parallel()
	dir, n := t.TempDir(), small(withoutNodeOUs)
	ensure(t, dir, n)
	before := snapshot(t, dir)
	peerOf(n).NodeOUs = true
	if _, err := Ensure(dir, n, opts()); exit.CodeOf(err) != exit.Invalid || exit.HintOf(err) == "" {
		t.Errorf("got %v, want an error of kind Invalid with a hint", err)
	}
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Errorf("-before, +after:\n%s", diff)
	}
}

// TestEnsureWithoutCAKeys: CA keys stay with the operator, who may keep them off this machine.
func TestEnsureWithoutCAKeys(t *testing.T) {
	t.Parallel()
	dir, n := t.TempDir(), small()
	ensure(t, dir, n)
	for _, o := range n.Orgs() {
		remove(t, Tree{dir}.CADir(o))
		remove(t, Tree{dir}.TLSCADir(o))
	}
	if changes := ensure(t, dir, n); len(changes) > 0 {
		t.Errorf("a complete tree was changed: %v", changes)
	}
	load(t, dir, n)
}

func TestEnsureBusy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	unlock, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Ensure(dir, small(), opts()); !errors.Is(err, ErrBusy) || !exit.IsTransient(err) {
		t.Errorf("beside another run: got %v, want ErrBusy, transient", err)
	}
	unlock()
	ensure(t, dir, small())
}

// TestHandshake uses the material as nodes and clients do.
func TestHandshake(t *testing.T) {
	t.Parallel()
	dir, n := t.TempDir(), small(func(o *network.Org) {
		for _, node := range o.Nodes {
			node.SANS = []string{"peer.example.org", "10.1.2.3"}
		}
	})
	ensure(t, dir, n)
	m := load(t, dir, n)
	om := m.Orgs["Org1"]
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(om.Public.TLSRoots()) {
		t.Fatal("TLSRoots holds no certificate")
	}
	pair := func(p KeyPair) tls.Certificate {
		c, err := tls.X509KeyPair(p.CertPEM, p.KeyPEM)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	server := &tls.Config{
		Certificates: []tls.Certificate{pair(om.Nodes["peer0"].TLS)},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    roots,
		Time:         noon,
	}
	for _, name := range []string{
		"hlf-peer--org1--peer0", "peer0", "peer0.org1.example.com", "peer.example.org", "10.1.2.3", "localhost", "127.0.0.1",
	} {
		here, there := net.Pipe()
		s := tls.Server(there, server)
		done := make(chan error, 1)
		go func() { done <- s.Handshake() }()
		client := &tls.Config{RootCAs: roots, ServerName: name, Certificates: []tls.Certificate{pair(om.AdminTLS)}, Time: noon}
		if err := tls.Client(here, client).Handshake(); err != nil {
			t.Errorf("client that wants %s: %v", name, err)
		}
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
		_, _ = here.Close(), there.Close()
	}
}
