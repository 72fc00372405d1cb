package profile_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
	"pivt.io/pivt/pkg/profile"
)

const files = `
OrdererOrgs:
  - {Name: Alpha, Domain: alpha.example.com, EnableNodeOUs: true, Specs: [{Hostname: orderer0}, {Hostname: orderer1}]}
  - {Name: Beta, Domain: beta.example.com, EnableNodeOUs: true, Specs: [{Hostname: orderer0}]}
PeerOrgs:
  - {Name: Karga, Domain: karga.example.com, EnableNodeOUs: true, Template: {Count: 2}}
  - {Name: Never.Green, Domain: nevergreen.example.com, EnableNodeOUs: true, Template: {Count: 1}}
  - {Name: Alone, Domain: alone.example.com, EnableNodeOUs: true, Template: {Count: 1}}
network:
  channels:
    - {name: common, orgs: [Karga, Never.Green]}
    - {name: private, orgs: [Karga], ordererOrgs: [Alpha]}
  chaincodes:
    - name: basic
      version: "1.0"
      image: pivt/basic@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
      channels: [{name: private}]
`

func made(t *testing.T) (*network.Network, *pki.Material) {
	t.Helper()
	n, problems, err := network.Load([]network.Source{{Name: "network.yaml", Data: []byte(files)}}, nil)
	if err != nil {
		t.Fatal(err, problems)
	}
	dir := t.TempDir()
	if _, err := pki.Ensure(dir, n, pki.Options{Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	m, err := pki.Load(dir, n)
	if err != nil {
		t.Fatal(err)
	}
	return n, m
}

// sdkProfile is the common connection profile as the documentation of Fabric's SDKs for Node,
// Java and Go has it. Nothing else may be in a profile: some of them refuse it.
type sdkProfile struct {
	Name        string `json:"name"`
	Version     string `json:"version"`
	Description string `json:"description"`
	Client      struct {
		Organization string `json:"organization"`
		Connection   struct {
			Timeout struct {
				Peer    map[string]json.Number `json:"peer"`
				Orderer json.Number            `json:"orderer"`
			} `json:"timeout"`
		} `json:"connection"`
	} `json:"client"`
	Channels map[string]struct {
		Orderers []string                   `json:"orderers"`
		Peers    map[string]map[string]bool `json:"peers"`
	} `json:"channels"`
	Organizations map[string]struct {
		MSPID                  string   `json:"mspid"`
		Peers                  []string `json:"peers"`
		CertificateAuthorities []string `json:"certificateAuthorities"`
	} `json:"organizations"`
	Orderers map[string]sdkNode `json:"orderers"`
	Peers    map[string]sdkNode `json:"peers"`
}

type sdkNode struct {
	URL         string            `json:"url"`
	GRPCOptions map[string]string `json:"grpcOptions"`
	TLSCACerts  struct {
		PEM  string `json:"pem"`
		Path string `json:"path"`
	} `json:"tlsCACerts"`
}

// accepts reads a profile as an SDK would and follows every reference in it.
func accepts(data []byte) (*sdkProfile, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	p := &sdkProfile{}
	if err := d.Decode(p); err != nil {
		return nil, err
	}
	if p.Name == "" || p.Version != "1.0.0" && p.Version != "1.0" {
		return nil, fmt.Errorf("name %q, version %q", p.Name, p.Version)
	}
	if _, ok := p.Organizations[p.Client.Organization]; !ok {
		return nil, fmt.Errorf("client.organization %q is not in organizations", p.Client.Organization)
	}
	for name, o := range p.Organizations {
		if o.MSPID == "" {
			return nil, fmt.Errorf("organizations.%s has no mspid", name)
		}
		for _, peer := range o.Peers {
			if _, ok := p.Peers[peer]; !ok {
				return nil, fmt.Errorf("organizations.%s.peers: %s is not in peers", name, peer)
			}
		}
	}
	for name, ch := range p.Channels {
		for _, o := range ch.Orderers {
			if _, ok := p.Orderers[o]; !ok {
				return nil, fmt.Errorf("channels.%s.orderers: %s is not in orderers", name, o)
			}
		}
		for peer, roles := range ch.Peers {
			if _, ok := p.Peers[peer]; !ok {
				return nil, fmt.Errorf("channels.%s.peers: %s is not in peers", name, peer)
			}
			for role := range roles {
				if !slices.Contains([]string{"endorsingPeer", "chaincodeQuery", "ledgerQuery", "eventSource"}, role) {
					return nil, fmt.Errorf("channels.%s.peers.%s: unknown role %s", name, peer, role)
				}
			}
		}
	}
	return p, nil
}

// nodes has every node of the profile.
func (p *sdkProfile) nodes() map[string]sdkNode {
	all := map[string]sdkNode{}
	for name, n := range p.Peers {
		all[name] = n
	}
	for name, n := range p.Orderers {
		all[name] = n
	}
	return all
}

func TestNew(t *testing.T) {
	t.Parallel()
	n, m := made(t)
	karga0 := n.Org("Karga").Nodes[0].Name()
	cases := map[string]struct {
		reason            string
		org               string
		options           profile.Options
		channels, members []string
		urls              map[string]string // some of them
		overridden        int               // nodes whose certificate does not know the address
	}{
		"InCluster": {
			"Services are the names that the nodes' certificates carry, so nothing needs to be overridden.", "Karga", profile.Options{},
			[]string{"common", "private"}, []string{"Karga", "Never.Green"},
			map[string]string{"peer1.karga.example.com": "grpcs://hlf-peer--karga--peer1:7051", "orderer0.beta.example.com": "grpcs://hlf-orderer--beta--orderer0:7050"}, 0,
		},
		"Outside": {
			"Under a wildcard of DNS each node has its Service's name.", "Karga", profile.Options{Domain: "fabric.example.com"},
			[]string{"common", "private"}, []string{"Karga", "Never.Green"},
			map[string]string{"peer0.karga.example.com": "grpcs://hlf-peer--karga--peer0.fabric.example.com:7051"}, 6,
		},
		"OutsideByOnePort": {
			"An ingress controller passes TLS through on one port for all.", "Karga", profile.Options{Domain: "fabric.example.com:443", Addresses: map[string]string{karga0: "localhost:17051"}},
			[]string{"common", "private"}, []string{"Karga", "Never.Green"},
			map[string]string{"peer0.karga.example.com": "grpcs://localhost:17051", "peer1.karga.example.com": "grpcs://hlf-peer--karga--peer1.fabric.example.com:443"}, 6,
		},
		"OneNodeOutside": {
			"A port-forward leads to one node.", "Never.Green", profile.Options{Addresses: map[string]string{"hlf-peer--never-green--peer0": "127.0.0.1:7051"}},
			[]string{"common"}, []string{"Karga", "Never.Green"},
			map[string]string{"peer0.nevergreen.example.com": "grpcs://127.0.0.1:7051"}, 1,
		},
		"OnNoChannel": {
			"An organisation that will join later can have its profile now.", "Alone", profile.Options{},
			nil, []string{"Alone"}, map[string]string{"peer0.alone.example.com": "grpcs://hlf-peer--alone--peer0:7051"}, 0,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made, err := profile.New(n, m, n.Org(tc.org), tc.options)
			if err != nil {
				t.Fatal(err)
			}
			data, err := json.Marshal(made)
			if err != nil {
				t.Fatal(err)
			}
			p, err := accepts(data)
			if err != nil {
				t.Fatalf("%s\nan SDK refuses the profile: %v\n%s", tc.reason, err, data)
			}
			if d := cmp.Diff(tc.channels, keys(p.Channels)); d != "" {
				t.Errorf("%s\nchannels: -want, +got:\n%s", tc.reason, d)
			}
			if d := cmp.Diff(tc.members, keys(p.Organizations)); d != "" {
				t.Errorf("%s\norganizations: -want, +got:\n%s", tc.reason, d)
			}
			for node, want := range tc.urls {
				if got := p.nodes()[node].URL; got != want {
					t.Errorf("%s\n%s is at %s, want %s", tc.reason, node, got, want)
				}
			}
			overridden := 0
			for name, node := range p.nodes() {
				if node.GRPCOptions != nil {
					overridden++
				}
				if err := trusts(n, m, name, node); err != nil {
					t.Errorf("%s\n%s: %v", tc.reason, name, err)
				}
			}
			if overridden != tc.overridden {
				t.Errorf("%s\n%d nodes have their name overridden, want %d", tc.reason, overridden, tc.overridden)
			}
			if bytes.Contains(data, []byte("PRIVATE KEY")) {
				t.Error("a profile is handed around; it must hold no key")
			}
		})
	}
}

// trusts does what an SDK's TLS does: the node's real certificate against the entry.
func trusts(n *network.Network, m *pki.Material, name string, entry sdkNode) error {
	u, err := url.Parse(entry.URL)
	if err != nil || u.Scheme != "grpcs" {
		return fmt.Errorf("url %q: %v", entry.URL, err)
	}
	host, _, err := net.SplitHostPort(u.Host)
	if err != nil {
		return err
	}
	if o := entry.GRPCOptions["ssl-target-name-override"]; o != "" {
		host = o
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(entry.TLSCACerts.PEM)) {
		return fmt.Errorf("no TLS CA certificate")
	}
	for _, node := range n.Nodes() {
		if node.CommonName != name {
			continue
		}
		block, _ := pem.Decode(m.Orgs[node.Org.Name].Nodes[node.Hostname].TLS.CertPEM)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return err
		}
		_, err = cert.Verify(x509.VerifyOptions{Roots: pool, DNSName: host})
		return err
	}
	return fmt.Errorf("is no node of the network")
}

func keys[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestParseAddress(t *testing.T) {
	t.Parallel()
	n, _ := made(t)
	cases := map[string]struct {
		reason, text string
		node, errs   string
	}{
		"OwnHost":     {"Who asks for an organisation means its peer0.", "peer0=localhost:7051", "peer0.karga.example.com", ""},
		"CommonName":  {"The certificate's name is unique.", "peer0.nevergreen.example.com=[::1]:7051", "peer0.nevergreen.example.com", ""},
		"Service":     {"So is the Service's.", "hlf-orderer--beta--orderer0=1.2.3.4:30750", "orderer0.beta.example.com", ""},
		"OnlyOne":     {"A host name that only one node has is enough.", "orderer1=x:7050", "orderer1.alpha.example.com", ""},
		"Ambiguous":   {"Two organisations have an orderer0.", "orderer0=x:7050", "", "several nodes are called orderer0; use one of: orderer0.alpha.example.com, orderer0.beta.example.com"},
		"Unknown":     {"The names that are known are told.", "peer9=x:7050", "", `no node is called "peer9"; known: orderer0.alpha.example.com`},
		"NoPort":      {"SDKs want a port.", "peer0=localhost", "", `"localhost" is not HOST:PORT`},
		"PortTooHigh": {"A port has 16 bits.", "peer0=localhost:70510", "", `is not HOST:PORT`},
		"NoName":      {"An address alone says nothing.", "localhost:7051", "", "is not NODE=HOST:PORT"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node, _, err := profile.ParseAddress(n, n.Org("Karga"), tc.text)
			switch {
			case tc.errs != "":
				if err == nil || !strings.Contains(err.Error(), tc.errs) {
					t.Errorf("%s\nerror %v, want %q", tc.reason, err, tc.errs)
				}
			case err != nil || node.CommonName != tc.node:
				t.Errorf("%s\n%v, %v; want %s", tc.reason, node, err, tc.node)
			}
		})
	}
	for _, bad := range []string{"", ":443", "a b", "https://x", "x:0", "x/y"} {
		if profile.CheckDomain(bad) == nil {
			t.Errorf("domain %q was accepted", bad)
		}
	}
	for _, good := range []string{"fabric.example.com", "localhost", "fabric.example.com:443"} {
		if err := profile.CheckDomain(good); err != nil {
			t.Error(err)
		}
	}
}

// TestExample lets the compiler read the client, with the gateway library of this module.
func TestExample(t *testing.T) {
	t.Parallel()
	n, _ := made(t)
	source, err := profile.Example(n, n.Org("Karga"), "crypto-config")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"private"`, `"basic"`, `"connection-karga.json"`, `"peer0.karga.example.com"`, "/users/User1@karga.example.com/msp/keystore"} {
		if !bytes.Contains(source, []byte(want)) {
			t.Errorf("the client does not speak of %s", want)
		}
	}
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, source, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "vet", file).CombinedOutput(); err != nil {
		t.Errorf("go vet: %v\n%s", err, out)
	}
	if _, err := profile.Example(n, n.Org("Alone"), "crypto-config"); err == nil {
		t.Error("a client without a channel has nothing to call")
	}
}
