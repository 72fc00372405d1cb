package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/few"
	"pivt.io/pivt/pkg/network"
)

// Deployed is a chaincode on a channel with what the organisations' admins know of it. Its JSON
// is documented and versioned.
type Deployed struct {
	Chaincode
	// Package is the id that organisations approved for the committed definition, if all of them
	// approved the same.
	Package      string        `json:"package,omitempty"`
	Policy       string        `json:"policy,omitempty"` // endorsement policy, or the channel's that it refers to
	Collections  []string      `json:"collections,omitempty"`
	InitRequired bool          `json:"initRequired,omitempty"`
	Orgs         []DeployedOrg `json:"orgs"`
}

// DeployedOrg is one organisation's share of a chaincode on a channel.
type DeployedOrg struct {
	Name     string `json:"name"`
	Approved bool   `json:"approved"` // the committed definition
	Package  string `json:"package,omitempty"`
	// Installed are the organisation's peers that have that package.
	Installed []string `json:"installed"`
	Peers     int      `json:"peers"`
	// Lags says what the organisation still has to do, "" for nothing.
	Lags string `json:"lags,omitempty"`
}

// List tells of the chaincodes of the files on each of their channels, and of those that the
// channels have beside them. An admin of each organisation is asked; who does not answer is part
// of the list and no error.
func List(ctx context.Context, a *Access) ([]Deployed, error) {
	s, err := Collect(ctx, a)
	if err != nil {
		return nil, err
	}
	up := map[string]bool{}
	for _, n := range s.Nodes {
		up[n.Name] = n.Ready
	}
	admins := a.admins(ctx, up)
	defer admins.close()

	list := make([]Deployed, 0, len(s.Chaincodes))
	for _, c := range s.Chaincodes {
		list = append(list, Deployed{Chaincode: c})
	}
	for _, ch := range a.Network.Channels {
		list = append(list, admins.strangers(ctx, ch, list)...)
	}
	var wg sync.WaitGroup
	for i := range list {
		if list[i].Version != "" {
			wg.Go(func() { admins.complete(ctx, a.Network, &list[i]) })
		}
	}
	wg.Wait()
	sort.SliceStable(list, func(i, j int) bool {
		x, y := list[i], list[j]
		return x.Name < y.Name || x.Name == y.Name && x.Channel < y.Channel
	})
	return list, ctx.Err()
}

// admins are connections to every peer that is ready, and what it has installed.
type admins struct {
	peers     map[*network.Node]*fabric.Peer
	installed map[*network.Node][]string // package ids
	errs      map[*network.Node]error
}

func (a *Access) admins(ctx context.Context, up map[string]bool) *admins {
	all := &admins{peers: map[*network.Node]*fabric.Peer{}, installed: map[*network.Node][]string{}, errs: map[*network.Node]error{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, o := range a.Network.PeerOrgs {
		for _, n := range o.Nodes {
			if !up[n.Name()] {
				all.errs[n] = errors.New(n.Name() + " is not ready")
				continue
			}
			wg.Go(func() {
				p, err := a.Peer(n, AsAdmin)
				var ids []string
				if err == nil {
					asking, cancel := context.WithTimeout(ctx, askTimeout)
					defer cancel()
					ids, err = p.Installed(asking)
				}
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					all.errs[n] = err
				}
				if p != nil {
					all.peers[n], all.installed[n] = p, ids
				}
			})
		}
	}
	wg.Wait()
	return all
}

func (s *admins) close() {
	for _, p := range s.peers {
		p.Close()
	}
}

// first is the organisation's first peer that answers.
func (s *admins) first(o *network.Org) (*fabric.Peer, error) {
	err := fmt.Errorf("org %q has no peer", o.Name)
	for _, n := range o.Nodes {
		if err = s.errs[n]; err == nil {
			return s.peers[n], nil
		}
	}
	return nil, err
}

// strangers are what the channel has and the files do not name.
func (s *admins) strangers(ctx context.Context, ch *network.Channel, known []Deployed) []Deployed {
	for _, o := range ch.Orgs {
		p, err := s.first(o)
		if err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		defined, err := p.Definitions(ctx, ch.Name)
		if err != nil {
			continue
		}
		var found []Deployed
		for _, d := range defined {
			if slices.ContainsFunc(known, func(k Deployed) bool { return k.Name == d.Name && k.Channel == ch.Name }) {
				continue
			}
			found = append(found, Deployed{Chaincode: Chaincode{Name: d.Name, Channel: ch.Name, Version: d.Version, Sequence: d.Sequence,
				Approved: []string{}, Installed: []string{}, Reason: "not in the files"}})
		}
		return found
	}
	return nil
}

// complete asks the admins of the channel's organisations.
func (s *admins) complete(ctx context.Context, n *network.Network, d *Deployed) {
	ch := n.Channel(d.Channel)
	for _, o := range ch.Orgs {
		org := DeployedOrg{Name: o.Name, Installed: []string{}, Peers: len(o.Nodes)}
		runs := true
		if cc := n.Chaincode(d.Name); cc != nil {
			runs = slices.Contains(cc.Orgs, o)
		}
		if p, err := s.first(o); err != nil {
			org.Lags = err.Error()
		} else if definition, err := s.ask(ctx, p, o, d, &org, runs); err != nil {
			org.Lags = err.Error()
		} else if definition != nil {
			d.describe(definition)
		}
		d.Orgs = append(d.Orgs, org)
	}
	d.Package = samePackage(d.Orgs)
}

// ask learns what the organisation approved for the committed sequence, and who has its package.
func (s *admins) ask(ctx context.Context, p *fabric.Peer, o *network.Org, d *Deployed, org *DeployedOrg, runs bool) (*chaincode.Definition, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	committed, err := p.Committed(ctx, d.Channel, d.Name)
	if err != nil {
		return nil, err
	}
	approved, err := p.Approved(ctx, d.Channel, d.Name, d.Sequence)
	if err != nil {
		return nil, err
	}
	org.Approved = committed.Approvals[o.MSPID]
	if org.Approved && !slices.Contains(d.Approved, o.Name) {
		d.Approved = append(d.Approved, o.Name)
	}
	if approved != nil {
		org.Package = approved.PackageID
	}
	var missing []string
	for _, node := range o.Nodes {
		switch {
		case org.Package != "" && slices.Contains(s.installed[node], org.Package):
			org.Installed = append(org.Installed, node.Name())
		case s.errs[node] == nil:
			missing = append(missing, node.Name())
		}
	}
	switch {
	case !org.Approved:
		org.Lags = fmt.Sprintf("has not approved sequence %d", d.Sequence)
	case !runs || len(missing) == 0:
	case org.Package == "":
		org.Lags = "approved without a package"
	default:
		org.Lags = "not installed on " + few.Names(missing, 3)
	}
	return &committed.Definition, nil
}

// describe fills in what the definition says beside version and sequence.
func (d *Deployed) describe(c *chaincode.Definition) {
	d.Policy, d.InitRequired = chaincode.PolicyString(c.Policy), c.InitRequired
	d.Collections = nil
	collections, err := chaincode.CollectionsOf(c.Collections)
	if err != nil {
		d.Collections = []string{"unreadable"}
		return
	}
	for _, one := range collections {
		d.Collections = append(d.Collections, one.Name)
	}
}

// samePackage is the id that all approved who approved any.
func samePackage(orgs []DeployedOrg) string {
	id := ""
	for _, o := range orgs {
		switch {
		case o.Package == "" || o.Package == id:
		case id != "":
			return ""
		default:
			id = o.Package
		}
	}
	return id
}

// ShortPackage is a package id as people read it: the label and the hash's first digits.
func ShortPackage(id string) string {
	label, hash, ok := strings.Cut(id, ":")
	if !ok || len(hash) <= shortHash {
		return id
	}
	return label + ":" + hash[:shortHash]
}

// shortHash is what docker and git show of theirs.
const shortHash = 12
