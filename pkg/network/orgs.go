package network

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// maxNodesAll is far beyond what one namespace runs, and keeps a slip of the finger in
// Count from filling the memory.
const maxNodesAll = 1000

var (
	// orgName is what a channel's configuration takes as the name of a group, which
	// organisations are there (Fabric: common/configtx/validator.go).
	orgName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)
	// dnsName allows upper case and underscores, which certificates and resolvers do.
	dnsName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?)*$`)
)

const (
	maxOrgName  = 128
	maxDNSName  = 253
	maxDNSLabel = 63
)

// validDNS reports whether a name can be a host in a certificate, and a directory.
func validDNS(s string) bool {
	if len(s) > maxDNSName || !dnsName.MatchString(s) {
		return false
	}
	for _, label := range strings.Split(s, ".") {
		if len(label) > maxDNSLabel {
			return false
		}
	}
	return true
}

func (l *loader) organisations() {
	for _, key := range []string{"ExternalOrdererOrgs", "ExternalPeerOrgs"} {
		items := l.objects(l.root, key)
		for _, o := range items {
			if name := l.str(o, "Name"); name != "" {
				l.external[name] = true
			}
			l.str(o, "Domain")
			l.flag(o, "EnableNodeOUs")
			for _, spec := range l.objects(o, "Specs") {
				l.subject(spec)
				l.str(spec, "Hostname")
				l.str(spec, "CommonName")
				l.names(spec, "SANS")
			}
		}
		if len(items) > 0 {
			l.warnf(l.root.get(key), "%s: this version does not join organisations outside the cluster; the network of the others is made", key)
		}
	}
	l.net.OrdererOrgs = l.orgs("OrdererOrgs", Orderer)
	l.net.PeerOrgs = l.orgs("PeerOrgs", Peer)
	for _, missing := range []struct{ key, external, what string }{
		{"OrdererOrgs", "ExternalOrdererOrgs", "orderers"},
		{"PeerOrgs", "ExternalPeerOrgs", "peers"},
	} {
		// Not when there are some that were refused, and said so.
		if i := l.root.find(missing.key); i >= 0 && (l.root.fields[i].value.kind != list || len(l.root.fields[i].value.items) > 0) {
			continue
		}
		at := l.start("PeerOrgs", "OrdererOrgs", "ExternalPeerOrgs")
		if l.root.get(missing.external) != nil || l.root.get("externalOrderer") != nil {
			l.warnf(at, "there are no %s: this version needs them in the cluster to make channels", missing.key)
			continue
		}
		l.errorf(at, "no %s: the network needs at least one organisation with %s; is crypto-config.yaml among the files?", missing.key, missing.what)
	}
}

func (l *loader) orgs(key string, kind Kind) []*Org {
	var orgs []*Org
	domains := map[string]*Org{}
	for _, o := range l.objects(l.root, key) {
		org := l.org(o, kind)
		if org == nil {
			continue
		}
		if other := domains[org.Domain]; other != nil && org.Domain != "" {
			l.errorf(o.get("Domain"), "org %q: domain %s is that of org %q too, and their certificates would share a directory", org.Name, org.Domain, other.Name)
		}
		domains[org.Domain] = org
		orgs = append(orgs, org)
	}
	return orgs
}

// org reads one organisation as cryptogen does: Specs first, then Template.
func (l *loader) org(o *node, kind Kind) *Org {
	name, at, ok := l.nameOf(o, "Name", "an organisation has no Name")
	l.named[name] = true
	switch {
	case !ok:
		return nil
	case !orgName.MatchString(name) || len(name) > maxOrgName || Label(name) == "":
		l.errorf(at, "org name %s: Fabric takes letters, digits, dots and dashes, at most %d, beginning and ending with a letter or digit", show(name), maxOrgName)
		return nil
	}
	org := &Org{Name: name, MSPID: name + "MSP", Kind: kind, NodeOUs: l.flag(o, "EnableNodeOUs")}
	l.places[org] = at
	org.Domain, at, ok = l.nameOf(o, "Domain", "org %q has no Domain", name)
	switch {
	case !ok:
		return org
	case !validDNS(org.Domain):
		l.errorf(at, "org %q: domain %s is not a DNS name", name, show(org.Domain))
		return org
	}
	l.ca(org, l.object(o, "CA"))
	for _, spec := range l.objects(o, "Specs") {
		l.spec(org, spec)
	}
	l.template(org, l.object(o, "Template"))
	if len(org.Nodes) == 0 {
		l.noNodes(org, o)
	}
	l.algorithm(l.object(o, "Users"))
	count := l.integer(l.object(o, "Users"), "Count", 1, 0, maxNodesAll)
	for i := 1; i <= max(1, count); i++ {
		org.Users = append(org.Users, fmt.Sprintf("User%d", i))
	}
	return org
}

// noNodes says that an organisation is empty, unless its nodes were refused already.
func (l *loader) noNodes(org *Org, o *node) {
	if specs := o.get("Specs"); specs != nil && len(specs.items) > 0 {
		return
	}
	at := l.places[org]
	if t := o.get("Template"); t != nil && t.kind == object {
		if c := t.get("Count"); c != nil {
			if f, ok := helmNumber(c.text); !ok || f != 0 {
				return
			}
			at = c
		}
	}
	l.errorf(at, "org %q has no %ss; give it Specs, or a Template with a Count", org.Name, org.Kind)
}

// ca reads the subject of an organisation's CAs.
func (l *loader) ca(org *Org, o *node) {
	l.algorithm(o)
	org.CA = CA{
		Hostname:           orElse(l.str(o, "Hostname"), "ca"),
		Country:            orElse(l.str(o, "Country"), "US"),
		Province:           orElse(l.str(o, "Province"), "California"),
		Locality:           orElse(l.str(o, "Locality"), "San Francisco"),
		OrganizationalUnit: l.str(o, "OrganizationalUnit"),
		StreetAddress:      l.str(o, "StreetAddress"),
		PostalCode:         l.str(o, "PostalCode"),
	}
	data := specData{Hostname: org.CA.Hostname, Domain: org.Domain}
	org.CA.CommonName, _ = l.expand(o.get("CommonName"), "CommonName", "{{.Hostname}}.{{.Domain}}", data)
	if org.CA.CommonName != "" && !validDNS(org.CA.CommonName) {
		at := o
		if at == nil {
			at = l.places[org]
		}
		l.errorf(at, "org %q: the CA's name %s is not a DNS name", org.Name, show(org.CA.CommonName))
	}
	data.CommonName = org.CA.CommonName
	org.CA.SANS = l.sans(o, data)
}

func orElse(s, absent string) string {
	if s == "" {
		return absent
	}
	return s
}

// spec adds a node that is named one by one.
func (l *loader) spec(org *Org, o *node) {
	l.subject(o)
	hostname, at, ok := l.nameOf(o, "Hostname", "org %q: an entry of Specs has no Hostname", org.Name)
	if !ok {
		return
	}
	data := specData{Hostname: hostname, Domain: org.Domain}
	cn, ok := l.expand(o.get("CommonName"), "CommonName", "{{.Hostname}}.{{.Domain}}", data)
	if !ok {
		return
	}
	data.CommonName = cn
	l.addNode(at, &Node{Org: org, Hostname: hostname, CommonName: cn, SANS: l.sans(o, data)})
}

// template adds the nodes that are counted.
func (l *loader) template(org *Org, o *node) {
	if o == nil {
		return
	}
	l.algorithm(o)
	count := l.integer(o, "Count", 0, 0, maxNodesAll)
	start := l.integer(o, "Start", 0, 0, 1_000_000)
	at := o.get("Count")
	if h := o.get("Hostname"); h != nil {
		at = h
	}
	sans := l.names(o, "SANS")
	for i := range count {
		hostname, ok := l.expand(o.get("Hostname"), "Hostname", "{{.Prefix}}{{.Index}}",
			hostnameData{Prefix: string(org.Kind), Index: start + i, Domain: org.Domain})
		if !ok {
			return
		}
		data := specData{Hostname: hostname, Domain: org.Domain, CommonName: hostname + "." + org.Domain}
		if !l.addNode(at, &Node{Org: org, Hostname: hostname, CommonName: data.CommonName, SANS: l.sansOf(sans, data)}) {
			return // the next would be wrong in the same way
		}
	}
}

func (l *loader) addNode(at *node, n *Node) bool {
	org := n.Org
	switch {
	case !validDNS(n.Hostname):
		l.errorf(at, "org %q: hostname %s is not a DNS name: letters, digits, dashes and dots, each part at most %d", org.Name, show(n.Hostname), maxDNSLabel)
		return false
	case !validDNS(n.CommonName):
		l.errorf(at, "org %q: host %q: its common name %s is not a DNS name", org.Name, n.Hostname, show(n.CommonName))
		return false
	}
	for _, other := range org.Nodes {
		if other.Hostname == n.Hostname || other.CommonName == n.CommonName {
			l.errorf(at, "org %q: host %q is there twice; Specs and Template add up", org.Name, n.Hostname)
			return false
		}
	}
	if l.nodes++; l.nodes > maxNodesAll {
		l.errorf(at, "org %q: more than %d nodes in one network", org.Name, maxNodesAll)
		return false
	}
	l.places[n] = at
	org.Nodes = append(org.Nodes, n)
	return true
}

// subject checks what cryptogen reads of a node and then does not use.
func (l *loader) subject(o *node) {
	l.algorithm(o)
	for _, key := range []string{"Country", "Province", "Locality", "OrganizationalUnit", "StreetAddress", "PostalCode"} {
		l.str(o, key)
	}
}

// sans reads and expands a node's further names.
func (l *loader) sans(o *node, data specData) []string {
	return l.sansOf(l.names(o, "SANS"), data)
}

func (l *loader) sansOf(items []*node, data specData) []string {
	var sans []string
	for _, item := range items {
		s, ok := l.expand(item, "SANS", "", data)
		if !ok {
			continue
		}
		if _, err := netip.ParseAddr(s); err != nil && !validDNS(strings.TrimPrefix(s, "*.")) {
			l.errorf(item, "SANS: %s is neither a DNS name nor an IP address", show(s))
			continue
		}
		sans = append(sans, s)
	}
	return sans
}

// algorithm checks PublicKeyAlgorithm, of which we make one kind.
func (l *loader) algorithm(o *node) {
	if a := l.str(o, "PublicKeyAlgorithm"); a != "" && a != "ecdsa" {
		l.errorf(o.get("PublicKeyAlgorithm"), "PublicKeyAlgorithm %s is not supported; use ecdsa, or leave it out", show(a))
	}
}
