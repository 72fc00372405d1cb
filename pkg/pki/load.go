package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// Load reads what n needs from the tree in dir, and changes nothing. Everything in Material
// fits together: each key is its certificate's, each certificate its organisation's.
func Load(dir string, n *network.Network) (*Material, error) {
	if err := checkPaths(Tree{dir}, n); err != nil {
		return nil, err
	}
	m := &Material{Orgs: map[string]*OrgMaterial{}}
	for _, o := range n.Orgs() {
		om, err := loadOrg(Tree{dir}, n, o)
		if err != nil {
			err = fmt.Errorf("%s org %q: %w", o.Kind, o.Name, err)
			return nil, exit.WithHint(exit.With(err, exit.Invalid), `run "pivt crypto generate" to add what is missing`)
		}
		m.Orgs[o.Name] = om
	}
	return m, nil
}

func loadOrg(t Tree, n *network.Network, o *network.Org) (*OrgMaterial, error) {
	l := &loader{tree: t, org: o}
	om := &OrgMaterial{Nodes: map[string]*NodeMaterial{}, Servers: map[string]KeyPair{}}
	var err error
	if om.Public, err = l.public(); err != nil {
		return nil, err
	}
	if om.Admin, err = l.identity(t.AdminDir(o)); err != nil {
		return nil, err
	}
	if om.AdminTLS, err = l.keyPair(t.AdminDir(o), "client"); err != nil {
		return nil, err
	}
	if list := users(o); len(list) > 1 {
		if om.Client, err = l.identity(t.UserDir(o, list[1])); err != nil {
			return nil, err
		}
	}
	for _, node := range o.Nodes {
		nm, err := l.node(node)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", o.Kind, node.Hostname, err)
		}
		om.Nodes[node.Hostname] = nm
		om.Public.Nodes[node.Hostname] = NodePublic{SignCert: string(nm.MSP.CertPEM), TLSCert: string(nm.TLS.CertPEM)}
	}
	for _, cc := range served(n, o) {
		if om.Servers[cc.Name], err = l.server(cc); err != nil {
			return nil, fmt.Errorf("chaincode server %q: %w", cc.Name, err)
		}
	}
	return om, checkRoles(t, o)
}

// loader reads one organisation; ca and tlsCA are what its certificates are checked against.
type loader struct {
	tree      Tree
	org       *network.Org
	ca, tlsCA *authority
}

func (l *loader) public() (Public, error) {
	msp := l.tree.MSPDir(l.org)
	p := Public{Name: l.org.Name, MSPID: l.org.MSPID, NodeOUs: l.org.NodeOUs, Nodes: map[string]NodePublic{}}
	all := map[string][]*certFile{}
	for _, part := range []struct {
		folder   string
		into     *[]string
		required bool
	}{
		{"cacerts", &p.RootCerts, true},
		{"intermediatecerts", &p.IntermediateCerts, false},
		{"tlscacerts", &p.TLSRootCerts, true},
		{"tlsintermediatecerts", &p.TLSIntermediateCerts, false},
		{"admincerts", &p.Admins, !l.org.NodeOUs},
	} {
		dir := filepath.Join(msp, part.folder)
		certs, err := readCerts(dir)
		if err != nil {
			return p, err
		}
		if part.required && len(certs) == 0 {
			return p, fmt.Errorf("%s holds no certificate", dir)
		}
		for _, c := range certs {
			*part.into = append(*part.into, string(c.pem))
		}
		all[part.folder] = certs
	}
	on, err := nodeOUs(msp)
	if err != nil {
		return p, err
	}
	if on != l.org.NodeOUs {
		return p, fmt.Errorf("%s: NodeOUs enabled is %t, in crypto-config.yaml %t", filepath.Join(msp, configFile), on, l.org.NodeOUs)
	}
	newAuthority := func(what string, roots, intermediates []*certFile) *authority {
		return &authority{what: what, issuer: roots[0], certs: append(roots, intermediates...)}
	}
	l.ca = newAuthority("CA", all["cacerts"], all["intermediatecerts"])
	l.tlsCA = newAuthority("TLS CA", all["tlscacerts"], all["tlsintermediatecerts"])
	return p, nil
}

// identity reads the signing identity of a node or user directory.
func (l *loader) identity(dir string) (Identity, error) {
	signcerts, keystore := filepath.Join(dir, "msp", "signcerts"), filepath.Join(dir, "msp", "keystore")
	certs, err := readCerts(signcerts)
	if err != nil {
		return Identity{}, err
	}
	if len(certs) == 0 {
		return Identity{}, fmt.Errorf("%s holds no certificate", signcerts)
	}
	if err := checkSigner(certs[0], keystore, l.ca); err != nil {
		return Identity{}, err
	}
	key, err := keyOf(certs[0].cert, keystore)
	if err != nil {
		return Identity{}, err
	}
	return Identity{CertPEM: certs[0].pem, KeyPEM: key.pem}, nil
}

// keyPair reads the TLS pair of a node ("server") or user ("client") directory.
func (l *loader) keyPair(dir, file string) (KeyPair, error) {
	cert, key, err := readPair(filepath.Join(dir, "tls", file+".crt"), filepath.Join(dir, "tls", file+".key"))
	if err != nil {
		return KeyPair{}, err
	}
	if !cert.issuedBy(l.tlsCA.certs) {
		return KeyPair{}, foreign(cert.path, l.tlsCA)
	}
	return KeyPair{CertPEM: cert.pem, KeyPEM: key.pem}, nil
}

func readPair(certPath, keyPath string) (*certFile, *keyFile, error) {
	cert, err := readCert(certPath)
	if err != nil {
		return nil, nil, err
	}
	key, err := readKey(keyPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, missingKey(certPath, keyPath)
	}
	if err != nil {
		return nil, nil, err
	}
	if !key.fits(cert.cert) {
		return nil, nil, missingKey(certPath, keyPath)
	}
	return cert, key, nil
}

func (l *loader) node(n *network.Node) (*NodeMaterial, error) {
	dir := l.tree.NodeDir(n)
	id, err := l.identity(dir)
	if err != nil {
		return nil, err
	}
	pair, err := l.keyPair(dir, "server")
	if err != nil {
		return nil, err
	}
	cert, err := readCert(filepath.Join(dir, "tls", "server.crt"))
	if err != nil {
		return nil, err
	}
	if missing := lacking(cert.cert, []string{n.Name()}); len(missing) > 0 {
		return nil, fmt.Errorf("%s lacks the name %s, by which everybody in the cluster reaches the node",
			cert.path, strings.Join(missing, ", "))
	}
	nm := &NodeMaterial{MSP: id, TLS: pair}
	if l.org.NodeOUs {
		nm.ConfigYAML = configYAML(NodeCACert)
	}
	return nm, nil
}
