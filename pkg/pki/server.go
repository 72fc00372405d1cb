package pki

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"pivt.io/pivt/pkg/network"
)

// ServerDir holds the tls directory of an organisation's server of a chaincode. cryptogen knows
// no such thing, and leaves the folder alone.
func (t Tree) ServerDir(o *network.Org, cc *network.Chaincode) string {
	return filepath.Join(t.OrgDir(o), "chaincodes", cc.Name)
}

// served lists the chaincodes for which an organisation runs a server that proves who it is,
// in the order of the files.
func served(n *network.Network, o *network.Org) []*network.Chaincode {
	var list []*network.Chaincode
	for _, cc := range n.Chaincodes {
		s := cc.Service
		if s == nil || s.Image == "" || s.TLS != network.ServerTLS && s.TLS != network.MutualTLS {
			continue
		}
		if slices.Contains(cc.Orgs, o) {
			list = append(list, cc)
		}
	}
	return list
}

// server completes the pair of one chaincode server. Peers connect to it by the name of its
// Service, so that is what the certificate says.
func (e *ensurer) server(r *roots, cc *network.Chaincode) error {
	dir, name := e.tree.ServerDir(r.org, cc), r.org.ChaincodeService(cc)
	did, err := e.tls(filepath.Join(dir, "tls"), r, tlsWant{file: "server", commonName: name, service: name, sans: []string{name}})
	if err != nil {
		return err
	}
	e.report(dir, "chaincode server "+cc.Name, did)
	return nil
}

func (l *loader) server(cc *network.Chaincode) (KeyPair, error) {
	dir := l.tree.ServerDir(l.org, cc)
	pair, err := l.keyPair(dir, "server")
	if err != nil {
		return KeyPair{}, err
	}
	cert, err := readCert(filepath.Join(dir, "tls", "server.crt"))
	if err != nil {
		return KeyPair{}, err
	}
	if missing := lacking(cert.cert, []string{l.org.ChaincodeService(cc)}); len(missing) > 0 {
		return KeyPair{}, fmt.Errorf("%s lacks the name %s, by which peers reach the server", cert.path, strings.Join(missing, ", "))
	}
	return pair, nil
}
