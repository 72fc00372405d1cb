package pki

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Public is everything about an organisation that is not secret: what a channel's
// configuration says about it. Certificates are PEM, byte for byte as in the tree. Its JSON is
// the organisation's value in ConfigMap hlf-msp, so field names may be added but not renamed.
type Public struct {
	Name                 string                `json:"name"`
	MSPID                string                `json:"mspID"`
	NodeOUs              bool                  `json:"nodeOUs"`
	RootCerts            []string              `json:"rootCerts"`
	IntermediateCerts    []string              `json:"intermediateCerts,omitempty"`
	TLSRootCerts         []string              `json:"tlsRootCerts"`
	TLSIntermediateCerts []string              `json:"tlsIntermediateCerts,omitempty"`
	Admins               []string              `json:"admins,omitempty"`
	Nodes                map[string]NodePublic `json:"nodes"` // by Node.Hostname
}

// NodePublic holds a node's certificates.
type NodePublic struct {
	SignCert string `json:"signCert"`
	TLSCert  string `json:"tlsCert"`
}

// TLSRoots is the bundle of the organisation's TLS CA certificates, for a client's trust store.
func (p *Public) TLSRoots() []byte {
	var b []byte
	for _, c := range append(slices.Clone(p.TLSRootCerts), p.TLSIntermediateCerts...) {
		b = append(b, c...)
		if !strings.HasSuffix(c, "\n") {
			b = append(b, '\n')
		}
	}
	return b
}

// Marshal is deterministic: equal values give equal bytes, so that an unchanged
// organisation is an unchanged ConfigMap.
func (p *Public) Marshal() []byte {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		panic("unreachable: strings, a bool and a map of strings always marshal: " + err.Error())
	}
	return append(b, '\n')
}

// ParsePublic reads what Marshal wrote, possibly by another version of this program: unknown
// fields are ignored, what a channel cannot do without is checked.
func ParsePublic(b []byte) (*Public, error) {
	var p Public
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("reading an organisation's public certificates: %w", err)
	}
	if p.Name == "" || p.MSPID == "" {
		return nil, errors.New("reading an organisation's public certificates: name or mspID is missing")
	}
	for _, field := range []struct {
		name  string
		certs []string
	}{{"rootCerts", p.RootCerts}, {"tlsRootCerts", p.TLSRootCerts}} {
		if len(field.certs) == 0 {
			return nil, fmt.Errorf("public certificates of org %q: %s is empty", p.Name, field.name)
		}
	}
	for _, c := range p.certs() {
		if block, _ := pem.Decode([]byte(c.pem)); block == nil || block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("public certificates of org %q: %s is not a PEM certificate", p.Name, c.field)
		}
	}
	return &p, nil
}

type publicCert struct{ field, pem string }

// certs lists every certificate with the JSON path it has.
func (p *Public) certs() []publicCert {
	var all []publicCert
	for _, list := range []struct {
		name  string
		certs []string
	}{
		{"rootCerts", p.RootCerts},
		{"intermediateCerts", p.IntermediateCerts},
		{"tlsRootCerts", p.TLSRootCerts},
		{"tlsIntermediateCerts", p.TLSIntermediateCerts},
		{"admins", p.Admins},
	} {
		for i, c := range list.certs {
			all = append(all, publicCert{fmt.Sprintf("%s[%d]", list.name, i), c})
		}
	}
	for _, host := range sortedKeys(p.Nodes) {
		all = append(all,
			publicCert{fmt.Sprintf("nodes.%s.signCert", host), p.Nodes[host].SignCert},
			publicCert{fmt.Sprintf("nodes.%s.tlsCert", host), p.Nodes[host].TLSCert})
	}
	return all
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
