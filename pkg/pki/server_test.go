package pki

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// withServer lets Org1 run a server of a chaincode.
func withServer(n *network.Network, name string, tls network.ServiceTLS) *network.Network {
	n.Chaincodes = append(n.Chaincodes, &network.Chaincode{
		Name: name, Version: "1.0", Orgs: n.PeerOrgs,
		Service: &network.Service{Image: "pivt/server@sha256:0", Replicas: 1, Port: 9999, TLS: tls},
	})
	return n
}

const serverTLS = "peerOrganizations/org1.example.com/chaincodes/basic/tls/"

func TestEnsureServers(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		change func(*network.Network)
		want   bool
	}{
		"ServerTLS":    {"Peers check the server.", func(n *network.Network) { withServer(n, "basic", network.ServerTLS) }, true},
		"MutualTLS":    {"And the server checks peers.", func(n *network.Network) { withServer(n, "basic", network.MutualTLS) }, true},
		"NoTLS":        {"A key nobody uses is one to lose.", func(n *network.Network) { withServer(n, "basic", network.NoTLS) }, false},
		"OfOthers":     {"Who runs a server elsewhere has its key.", func(n *network.Network) { withServer(n, "basic", network.ServerTLS).Chaincodes[0].Service.Image = "" }, false},
		"NotThisOrgs":  {"An organisation that does not install a chaincode runs no server of it.", func(n *network.Network) { withServer(n, "basic", network.ServerTLS).Chaincodes[0].Orgs = nil }, false},
		"NoService":    {"Images run where peers start them.", func(n *network.Network) { withServer(n, "basic", network.ServerTLS).Chaincodes[0].Service = nil }, false},
		"NoChaincodes": {"Most networks begin so.", func(*network.Network) {}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, n := t.TempDir(), small()
			tc.change(n)
			ensure(t, dir, n)
			_, got := snapshot(t, dir)[serverTLS+"server.key"]
			pair, loaded := load(t, dir, n).Orgs["Org1"].Servers["basic"]
			if got != tc.want || loaded != tc.want {
				t.Fatalf("%s\nkey on disk %t, loaded %t, want %t", tc.reason, got, loaded, tc.want)
			}
			if !tc.want {
				return
			}
			cert := parse(t, pair.CertPEM)
			for _, name := range []string{"hlf-chaincode--org1--basic", "localhost"} {
				if err := cert.VerifyHostname(name); err != nil {
					t.Errorf("%v", err)
				}
			}
			ca := parse(t, []byte(snapshot(t, dir)[serverTLS+"ca.crt"].Bytes))
			if err := cert.CheckSignatureFrom(ca); err != nil {
				t.Errorf("the server's certificate is not of the CA beside it: %v", err)
			}
			if mode := snapshot(t, dir)[serverTLS+"server.key"].Mode; mode != 0o600 {
				t.Errorf("the key has mode %o", mode)
			}
		})
	}
}

// A chaincode added to a network that runs is one key more and nothing else.
func TestEnsureServerOfGrownNetwork(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ensure(t, dir, small())
	before := snapshot(t, dir)
	n := withServer(small(), "basic", network.MutualTLS)
	if _, err := Load(dir, n); exit.CodeOf(err) != exit.Invalid || exit.HintOf(err) == "" {
		t.Errorf("Load without the server's pair: %v, want an error with a hint", err)
	}
	var got []string
	for _, c := range ensure(t, dir, n) {
		got = append(got, strings.TrimPrefix(c.String(), dir+"/"))
	}
	want := []string{"peerOrganizations/org1.example.com/chaincodes/basic: chaincode server basic created"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes: -want, +got:\n%s", diff)
	}
	after := snapshot(t, dir)
	if len(after) != len(before)+3 {
		t.Errorf("%d files more, want 3", len(after)-len(before))
	}
	keysKept(t, before, after)
	if again := ensure(t, dir, n); len(again) > 0 {
		t.Errorf("a second run changed %v", again)
	}
	if diff := cmp.Diff(after, snapshot(t, dir)); diff != "" {
		t.Errorf("a second run: -before, +after:\n%s", diff)
	}
}

func TestEnsureServerRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		spoil  func(t *testing.T, dir string, n *network.Network)
		want   string
	}{
		"NoTLSCAKey": {
			reason: "The CA may be kept elsewhere; then its owner issues the certificate.",
			spoil: func(t *testing.T, dir string, n *network.Network) {
				remove(t, dir, serverTLS)
				remove(t, Tree{dir}.TLSCADir(peerOf(n)), "priv_sk")
			},
			want: `hlf-chaincode--org1--basic needs a certificate of "tlsca.org1.example.com"`,
		},
		"KeyLost": {
			reason: "A new key would make a certificate that somebody may have copied worthless; that is for people to decide.",
			spoil:  func(t *testing.T, dir string, _ *network.Network) { remove(t, dir, serverTLS, "server.key") },
			want:   "server.key",
		},
		"OfAnotherCA": {
			reason: "Peers would not trust it.",
			spoil: func(t *testing.T, dir string, _ *network.Network) {
				other := t.TempDir()
				ensure(t, other, withServer(small(), "basic", network.ServerTLS))
				for _, f := range []string{"server.crt", "server.key"} {
					write(t, filepath.Join(dir, serverTLS, f), []byte(snapshot(t, other)[serverTLS+f].Bytes), 0o600)
				}
			},
			want: "server.crt",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, n := t.TempDir(), withServer(small(), "basic", network.ServerTLS)
			ensure(t, dir, n)
			tc.spoil(t, dir, n)
			before := snapshot(t, dir)
			_, err := Ensure(dir, n, opts())
			if err == nil || !strings.Contains(err.Error(), tc.want) || exit.CodeOf(err) != exit.Invalid || exit.HintOf(err) == "" {
				t.Fatalf("%s\nEnsure: %v (hint %q), want an error with a hint that names %s", tc.reason, err, exit.HintOf(err), tc.want)
			}
			if !strings.Contains(err.Error(), `chaincode server "basic"`) {
				t.Errorf("the error does not say whose: %v", err)
			}
			if _, err := Load(dir, n); err == nil {
				t.Errorf("%s\nLoad took it", tc.reason)
			}
			if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
				t.Errorf("a refusal changed the tree: -before, +after:\n%s", diff)
			}
		})
	}
}

// A pair that somebody made for another name is issued anew over its key, as nodes' are.
func TestEnsureServerReissues(t *testing.T) {
	t.Parallel()
	dir, n := t.TempDir(), withServer(small(), "basic", network.ServerTLS)
	ensure(t, dir, n)
	// The same directory for another Service: as if the organisation had been renamed.
	peerOf(n).Name = "Org1b"
	before := snapshot(t, dir)
	if _, err := Load(dir, n); err == nil {
		t.Error("Load took a certificate that peers would refuse")
	}
	ensure(t, dir, n)
	keysKept(t, before, snapshot(t, dir))
	cert := parse(t, load(t, dir, n).Orgs["Org1b"].Servers["basic"].CertPEM)
	if err := cert.VerifyHostname("hlf-chaincode--org1b--basic"); err != nil {
		t.Error(err)
	}
}

func TestServerPathsStayInside(t *testing.T) {
	t.Parallel()
	n := withServer(small(), "../../ca", network.ServerTLS)
	if _, err := Ensure(t.TempDir(), n, opts()); exit.CodeOf(err) != exit.Invalid {
		t.Errorf("Ensure with a chaincode called ../../ca: %v", err)
	}
}
