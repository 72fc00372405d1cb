package backup

import (
	"fmt"
	"slices"
	"strings"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// Selection narrows a restore to some nodes; the zero value means all.
type Selection struct {
	Orgs  []string `json:"orgs,omitempty"`  // names as in crypto-config.yaml
	Nodes []string `json:"nodes,omitempty"` // names of StatefulSets
}

// All reports whether nothing is left out.
func (s Selection) All() bool { return len(s.Orgs) == 0 && len(s.Nodes) == 0 }

// Of lists the selected nodes, orderers first; an error names what the network does not have.
func (s Selection) Of(n *network.Network) ([]*network.Node, error) {
	if s.All() {
		return n.Nodes(), nil
	}
	var orgs, names []string
	for _, o := range n.Orgs() {
		orgs = append(orgs, o.Name)
	}
	var nodes []*network.Node
	for _, node := range n.Nodes() {
		names = append(names, node.Name())
		if slices.Contains(s.Orgs, node.Org.Name) || slices.Contains(s.Nodes, node.Name()) {
			nodes = append(nodes, node)
		}
	}
	for _, org := range s.Orgs {
		if !slices.Contains(orgs, org) {
			return nil, exit.With(fmt.Errorf("org %q is not in crypto-config.yaml; known orgs: %s", org, strings.Join(orgs, ", ")), exit.Invalid)
		}
	}
	for _, name := range s.Nodes {
		if !slices.Contains(names, name) {
			return nil, exit.With(fmt.Errorf("node %q is not in crypto-config.yaml; known nodes: %s", name, strings.Join(names, ", ")), exit.Invalid)
		}
	}
	return nodes, nil
}

// Accept is what a restore is told to take, which it would refuse otherwise.
type Accept []Risk

// Risk is one thing that a restore refuses.
type Risk string

// The risks, spelled as values of --accept and backup.restore.accept.
const (
	NewerData    Risk = "newer-data"    // blocks that the target has, or others have had, go
	MissingParts Risk = "missing-parts" // not every node that is asked for is in the backup
	OtherNetwork Risk = "other-network" // the target's organisations have other CAs
	Unverified   Risk = "unverified"    // nobody has proven the backup whole
	Overwrite    Risk = "overwrite"     // old data are removed before the new are there, where there is no room for both
)

// Risks lists all of them.
func Risks() []Risk { return []Risk{NewerData, MissingParts, OtherNetwork, Unverified, Overwrite} }

// ParseAccept reads names of risks.
func ParseAccept(names []string) (Accept, error) {
	var accept Accept
	for _, name := range names {
		if !slices.Contains(Risks(), Risk(name)) {
			var known []string
			for _, r := range Risks() {
				known = append(known, string(r))
			}
			return nil, exit.With(fmt.Errorf("nothing called %q can be accepted; known: %s", name, strings.Join(known, ", ")), exit.Invalid)
		}
		accept = append(accept, Risk(name))
	}
	return accept, nil
}

// Has reports whether a risk is accepted.
func (a Accept) Has(r Risk) bool { return slices.Contains(a, r) }
