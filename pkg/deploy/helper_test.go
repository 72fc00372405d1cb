package deploy_test

import (
	"strings"
	"testing"
	"time"

	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// files is a network that is small and yet has what is easily got wrong: two orderer
// organisations, one of which tells roles by certificates in its MSP, and names that Kubernetes
// does not take as they are.
const files = `
OrdererOrgs:
  - {Name: Alpha, Domain: alpha.example.com, EnableNodeOUs: true, Specs: [{Hostname: orderer0}, {Hostname: orderer1}]}
  - {Name: Beta.Co, Domain: beta.example.com, Specs: [{Hostname: orderer0}]}
PeerOrgs:
  - {Name: Karga, Domain: karga.example.com, EnableNodeOUs: true, Template: {Count: 2}}
  - {Name: Nevergreen, Domain: nevergreen.example.com, Template: {Count: 1}}
network:
  channels:
    - {name: common, orgs: [Karga, Nevergreen]}
    - {name: private.karga, orgs: [Karga], ordererOrgs: [Alpha]}
  chaincodes:
    - name: basic
      version: "1.0"
      image: pivt/basic@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
      channels: [{name: common}]
    - name: secured
      version: "1.0"
      image: pivt/secured@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
      channels: [{name: private.karga}]
`

// loaded is what the two files, with more merged over them, say.
func loaded(t *testing.T, more ...string) (*network.Network, map[string]any) {
	t.Helper()
	sources := []network.Source{{Name: "network.yaml", Data: []byte(files)}}
	for _, m := range more {
		sources = append(sources, network.Source{Name: "more.yaml", Data: []byte(m)})
	}
	n, problems, err := network.Load(sources, nil)
	if err != nil {
		t.Fatal(err, problems)
	}
	values, err := network.Values(sources, nil)
	if err != nil {
		t.Fatal(err)
	}
	return n, values
}

func now() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

// material makes keys for n in a directory of its own.
func material(t *testing.T, n *network.Network) *pki.Material {
	t.Helper()
	dir := t.TempDir()
	if _, err := pki.Ensure(dir, n, pki.Options{Now: now}); err != nil {
		t.Fatal(err)
	}
	return read(t, dir, n)
}

func read(t *testing.T, dir string, n *network.Network) *pki.Material {
	t.Helper()
	m, err := pki.Load(dir, n)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func join(lines ...string) string { return strings.Join(lines, "\n") + "\n" }
