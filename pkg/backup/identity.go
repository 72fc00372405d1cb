package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// Identity tells networks apart: whose certificates their organisations trust. Two networks
// from the same files have different ones, unless they share crypto-config/ too.
type Identity struct {
	Orgs []OrgIdentity `json:"orgs"` // orderers first, in the order of the files
}

// OrgIdentity is one organisation of a network.
type OrgIdentity struct {
	MSPID string   `json:"mspId"`
	Kind  string   `json:"kind"`
	CAs   []string `json:"cas"` // SHA-256 of the CA certificates, identity and TLS, hex, sorted
}

// IdentityOf is the identity of the network in the files, with the certificates that ConfigMap
// hlf-msp has of its organisations, by Org.Name.
func IdentityOf(n *network.Network, public map[string]*pki.Public) (Identity, error) {
	var id Identity
	for _, o := range n.Orgs() {
		p := public[o.Name]
		if p == nil {
			return Identity{}, fmt.Errorf("the public certificates of org %q are not known", o.Name)
		}
		org := OrgIdentity{MSPID: o.MSPID, Kind: string(o.Kind)}
		for _, text := range slices.Concat(p.RootCerts, p.TLSRootCerts) {
			block, _ := pem.Decode([]byte(text))
			if block == nil {
				return Identity{}, fmt.Errorf("a CA certificate of org %q is not PEM", o.Name)
			}
			sum := sha256.Sum256(block.Bytes)
			org.CAs = append(org.CAs, hex.EncodeToString(sum[:]))
		}
		slices.Sort(org.CAs)
		org.CAs = slices.Compact(org.CAs)
		id.Orgs = append(id.Orgs, org)
	}
	return id, nil
}

// Differences says in sentences why the other identity is not this network's. Organisations
// that were added since are none: they have nothing in the backup.
func (i Identity) Differences(other Identity) []string {
	var all []string
	for _, mine := range i.Orgs {
		at := slices.IndexFunc(other.Orgs, func(o OrgIdentity) bool { return o.MSPID == mine.MSPID && o.Kind == mine.Kind })
		switch {
		case at < 0:
			all = append(all, fmt.Sprintf("%s org %s is not part of it", mine.Kind, strings.TrimSuffix(mine.MSPID, "MSP")))
		case !slices.ContainsFunc(mine.CAs, func(ca string) bool { return slices.Contains(other.Orgs[at].CAs, ca) }):
			all = append(all, fmt.Sprintf("%s org %s has other CAs", mine.Kind, strings.TrimSuffix(mine.MSPID, "MSP")))
		}
	}
	return all
}
