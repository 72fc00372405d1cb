package pki

import (
	"fmt"
	"path/filepath"

	"pivt.io/pivt/pkg/network"
)

// Tree is cryptogen's directory layout. It only knows paths; files that others made may
// have other names inside the directories, so readers look at what is there.
type Tree struct{ Dir string }

// OrgDir is where everything of an organisation lies.
func (t Tree) OrgDir(o *network.Org) string {
	return filepath.Join(t.Dir, string(o.Kind)+"Organizations", o.Domain)
}

// CADir holds the organisation's CA: priv_sk and a certificate.
func (t Tree) CADir(o *network.Org) string { return filepath.Join(t.OrgDir(o), "ca") }

// TLSCADir holds the organisation's TLS CA.
func (t Tree) TLSCADir(o *network.Org) string { return filepath.Join(t.OrgDir(o), "tlsca") }

// MSPDir is the organisation's verifying MSP, the one that channels are told about.
func (t Tree) MSPDir(o *network.Org) string { return filepath.Join(t.OrgDir(o), "msp") }

// NodeDir holds a node's msp and tls directories.
func (t Tree) NodeDir(n *network.Node) string {
	return filepath.Join(t.OrgDir(n.Org), string(n.Org.Kind)+"s", n.CommonName)
}

// AdminDir holds the msp and tls directories of the organisation's admin.
func (t Tree) AdminDir(o *network.Org) string { return t.UserDir(o, adminUser) }

// UserDir holds the msp and tls directories of a user, whose name is without domain.
func (t Tree) UserDir(o *network.Org, user string) string {
	return filepath.Join(t.OrgDir(o), "users", userName(o, user))
}

// adminUser is the user that cryptogen gives every organisation.
const adminUser = "Admin"

func userName(o *network.Org, user string) string { return fmt.Sprintf("%s@%s", user, o.Domain) }

// users lists who has a directory under users/. cryptogen ignores Users in orderer organisations.
func users(o *network.Org) []string {
	if o.Kind == network.Orderer {
		return []string{adminUser}
	}
	return append([]string{adminUser}, o.Users...)
}
