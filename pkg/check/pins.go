package check

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/network"
)

// Pin is the code that an organisation runs for a version that is committed to a channel. It
// stays what it is for as long as the version does: others compare what it endorses.
type Pin struct {
	Chaincode *network.Chaincode
	Channel   string
	Org       *network.Org
	Sequence  int64
	PackageID string // "" if the organisation approved without running the chaincode
}

// Pinned is what could be learned of the chaincodes' versions.
type Pinned struct {
	Pins      []Pin
	committed map[[2]string]*fabric.Committed // by chaincode and channel
	// Unasked are chaincodes that may have pins that nobody told of.
	Unasked []*network.Chaincode
}

// pinTimeout bounds all questions: it is a look before the work, which the steps repeat.
const pinTimeout = 5 * time.Second

// Pins asks every organisation's admin what it approved of the versions that are in the files. A
// network that is not there has none. What cannot be asked is no error.
func Pins(ctx context.Context, a *Access, chaincodes []*network.Chaincode) *Pinned {
	if len(chaincodes) == 0 {
		return &Pinned{}
	}
	ctx, cancel := context.WithTimeout(ctx, pinTimeout)
	defer cancel()
	if _, err := a.Kube.ServerVersion(ctx); err != nil {
		return &Pinned{Unasked: chaincodes} // others will wait for a cluster that is away
	}
	state, err := a.Kube.Workloads(ctx, "app.kubernetes.io/part-of="+network.Release)
	if err != nil {
		return &Pinned{Unasked: chaincodes}
	}
	if len(state.Workloads) == 0 {
		return &Pinned{}
	}
	if a.Material == nil {
		return &Pinned{Unasked: chaincodes}
	}
	ready := map[string]bool{}
	for _, w := range state.Workloads {
		ready[w.Name] = w.Ready
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	found := &Pinned{committed: map[[2]string]*fabric.Committed{}}
	for _, org := range a.Network.PeerOrgs {
		wg.Go(func() {
			q := pinning{ready: ready, committed: map[[2]string]*fabric.Committed{}}
			a.pinsOf(ctx, org, chaincodes, &q)
			mu.Lock()
			defer mu.Unlock()
			found.Pins = append(found.Pins, q.pins...)
			maps.Copy(found.committed, q.committed)
			for _, cc := range q.unasked {
				if !slices.Contains(found.Unasked, cc) {
					found.Unasked = append(found.Unasked, cc)
				}
			}
		})
	}
	wg.Wait()
	slices.SortFunc(found.Pins, func(a, b Pin) int {
		return strings.Compare(a.Chaincode.Name+" "+a.Channel+" "+a.Org.Name, b.Chaincode.Name+" "+b.Channel+" "+b.Org.Name)
	})
	return found
}

// pinning is what one organisation is asked and told.
type pinning struct {
	ready     map[string]bool // by Node.Name()
	pins      []Pin
	unasked   []*network.Chaincode
	committed map[[2]string]*fabric.Committed
}

// pinsOf asks the organisation's first peer that is ready.
func (a *Access) pinsOf(ctx context.Context, org *network.Org, chaincodes []*network.Chaincode, q *pinning) {
	i := slices.IndexFunc(org.Nodes, func(n *network.Node) bool { return q.ready[n.Name()] })
	var p *fabric.Peer
	for _, cc := range chaincodes {
		for _, on := range cc.Channels {
			if !slices.Contains(on.Channel.Orgs, org) || !slices.Contains(cc.Orgs, org) {
				continue
			}
			if i < 0 {
				q.unasked = append(q.unasked, cc)
				continue
			}
			if p == nil {
				var err error
				if p, err = a.Peer(org.Nodes[i], AsAdmin); err != nil {
					q.unasked = chaincodes
					return
				}
				defer p.Close()
			}
			if err := q.ask(ctx, p, org, cc, on.Channel.Name); err != nil {
				q.unasked = append(q.unasked, cc)
			}
		}
	}
}

func (q *pinning) ask(ctx context.Context, p *fabric.Peer, org *network.Org, cc *network.Chaincode, channel string) error {
	committed, err := p.Committed(ctx, channel, cc.Name)
	if errors.Is(err, fabric.ErrNotDefined) || errors.Is(err, fabric.ErrNoChannel) {
		return nil
	}
	if err != nil {
		return err
	}
	q.committed[[2]string{cc.Name, channel}] = committed
	if committed.Version != cc.Version {
		return nil
	}
	approved, err := p.Approved(ctx, channel, cc.Name, committed.Sequence)
	if err != nil {
		return err
	}
	pin := Pin{Chaincode: cc, Channel: channel, Org: org, Sequence: committed.Sequence}
	if approved != nil {
		pin.PackageID = approved.PackageID
	}
	q.pins = append(q.pins, pin)
	return nil
}

// Committed is the version and sequence that a channel has of a chaincode, "" and 0 for none.
func (p *Pinned) Committed(name, channel string) (version string, sequence int64) {
	if c := p.committed[[2]string{name, channel}]; c != nil {
		return c.Version, c.Sequence
	}
	return "", 0
}

// Has reports whether the chaincode's version is committed somewhere, or may be.
func (p *Pinned) Has(cc *network.Chaincode) bool {
	return slices.Contains(p.Unasked, cc) || slices.ContainsFunc(p.Pins, func(pin Pin) bool { return pin.Chaincode == cc })
}

// Refuse compares the pins with the packages that the files make. Each id is said to be of one
// chaincode and one organisation; "" is an id that cannot be told, and differs from none.
func (p *Pinned) Refuse(id func(*network.Chaincode, *network.Org) (string, error)) error {
	for _, pin := range p.Pins {
		made, err := id(pin.Chaincode, pin.Org)
		if err != nil {
			return err
		}
		if made == "" || pin.PackageID == "" || made == pin.PackageID {
			continue
		}
		name, version := pin.Chaincode.Name, pin.Chaincode.Version
		return exit.WithHint(exit.With(fmt.Errorf("chaincode %q: version %s is committed to channel %q with package %s, and the files make %s; nothing was changed",
			name, version, pin.Channel, pin.PackageID, made), exit.Invalid),
			fmt.Sprintf("new code needs a new version: pivt chaincode upgrade %s --version VERSION", name))
	}
	return nil
}
