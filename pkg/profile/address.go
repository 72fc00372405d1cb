package profile

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"pivt.io/pivt/pkg/network"
)

// node is one node's entry.
func (o Options) node(n *network.Node, roots string) Node {
	address, outside := o.address(n)
	e := Node{URL: "grpcs://" + address, TLSCACerts: TLSCACerts{PEM: roots}}
	if outside {
		// The certificate knows the node's names and not those of the ways to it. Java and Node
		// read the first key, old Go SDKs the second.
		e.GRPCOptions = map[string]any{"ssl-target-name-override": n.CommonName, "hostnameOverride": n.CommonName}
	}
	return e
}

// address is where the node is reached, and whether that is another name than its Service's.
func (o Options) address(n *network.Node) (hostPort string, outside bool) {
	if a, ok := o.Addresses[n.Name()]; ok {
		return a, true
	}
	if o.Domain == "" {
		return n.Address(), false
	}
	host, port, err := net.SplitHostPort(o.Domain)
	if err != nil {
		host, port = o.Domain, strconv.Itoa(n.Port())
	}
	return net.JoinHostPort(n.Name()+"."+host, port), true
}

// CheckDomain refuses what is no domain with or without a port.
func CheckDomain(domain string) error {
	host, port, err := net.SplitHostPort(domain)
	if err != nil {
		host, port = domain, "443"
	}
	if host == "" || strings.ContainsAny(host, ":/ ") || !validPort(port) {
		return fmt.Errorf("%q is no DOMAIN or DOMAIN:PORT", domain)
	}
	return nil
}

func validPort(p string) bool {
	n, err := strconv.ParseUint(p, 10, 16)
	return err == nil && n > 0
}

// ParseAddress reads NODE=HOST:PORT. A node is named by its common name, by its Service, or by
// its host name: then org's own node is meant, or the only one of that name.
func ParseAddress(n *network.Network, org *network.Org, text string) (*network.Node, string, error) {
	name, address, ok := strings.Cut(text, "=")
	if !ok {
		return nil, "", fmt.Errorf("%q is not NODE=HOST:PORT", text)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || !validPort(port) {
		return nil, "", fmt.Errorf("%q: %q is not HOST:PORT", text, address)
	}
	node, err := find(n, org, name)
	if err != nil {
		return nil, "", fmt.Errorf("%q: %w", text, err)
	}
	return node, address, nil
}

func find(n *network.Network, org *network.Org, name string) (*network.Node, error) {
	var known []string
	var same []*network.Node
	for _, node := range n.Nodes() {
		known = append(known, node.CommonName)
		switch {
		case node.CommonName == name, node.Name() == name, node.Hostname == name && node.Org == org:
			return node, nil
		case node.Hostname == name:
			same = append(same, node)
		}
	}
	switch len(same) {
	case 0:
		return nil, fmt.Errorf("no node is called %q; known: %s", name, strings.Join(known, ", "))
	case 1:
		return same[0], nil
	}
	return nil, errors.New("several nodes are called " + name + "; use one of: " + same[0].CommonName + ", " + same[1].CommonName)
}
