package network

import (
	"path"
	"strings"
)

// DefaultVersion is the Fabric release when the files name none, or one of PIVT's.
const DefaultVersion = "3.1.1"

// Load checks the sources, merged in their order and changed by set as Helm would, and
// builds the network they describe. It returns every problem it finds, in file order.
// If any of them is an error, the network is nil and the error is an *InvalidError.
func Load(sources []Source, set []string) (*Network, Problems, error) {
	root, r := tree(sources, set)
	return load(root, r, len(sources))
}

// load is Load for a tree that is merged already.
func load(root *node, r *report, sources int) (*Network, Problems, error) {
	l := &loader{report: r, root: root, net: &Network{}, external: map[string]bool{}, named: map[string]bool{}, places: map[any]*node{}}
	if sources == 0 {
		l.add(Problem{File: "pivt", Message: "no files were given; start with \"pivt init\"", Severity: Error})
		return nil, l.sorted(), l.err()
	}
	l.keys(root, "")
	if r.lost {
		// What refers to a file that could not be read would only be noise.
		return nil, l.sorted(), l.err()
	}
	l.cryptoFile = l.fileOf("PeerOrgs", "OrdererOrgs", "ExternalPeerOrgs")
	l.networkFile = l.fileOf("network")
	l.removed()
	l.version()
	l.organisations()
	l.channels()
	l.chaincodes()
	l.flow()
	l.collisions()
	if err := l.err(); err != nil {
		return nil, l.sorted(), err
	}
	return l.net, l.sorted(), nil
}

// fileOf names the file that holds one of the root keys, for messages about what is
// missing from it.
func (l *loader) fileOf(keys ...string) string {
	for _, key := range keys {
		if i := l.root.find(key); i >= 0 {
			if s := l.root.fields[i].key.src; !strings.HasPrefix(s.name, "--set ") {
				return path.Base(s.name)
			}
		}
	}
	return "the files"
}

// start is where a problem belongs that is about something missing altogether.
func (l *loader) start(keys ...string) *node {
	for _, key := range keys {
		if i := l.root.find(key); i >= 0 {
			return l.root.fields[i].key
		}
	}
	for _, f := range l.root.fields {
		return f.key
	}
	return l.root
}
