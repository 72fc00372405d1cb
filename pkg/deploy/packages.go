package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/depot"
	"pivt.io/pivt/pkg/network"
)

// Packages makes the packages of chaincodes where their sources are: on the user's machine. Each
// is made once.
type Packages struct {
	// Open gives the source directory of a chaincode.
	Open func(*network.Chaincode) (fs.FS, error)
	// Keychain knows the credentials of registries; nil for none.
	Keychain authn.Keychain

	mu   sync.Mutex
	made map[string][]byte // by label: what is the same for all organisations
}

// Of is the package that the organisation's peers install.
func (p *Packages) Of(ctx context.Context, cc *network.Chaincode, o *network.Org) ([]byte, error) {
	if cc.Source == "" && cc.Package == "" {
		return chaincode.Package(cc, o)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if pkg := p.made[cc.Label()]; pkg != nil {
		return pkg, nil
	}
	pkg, err := p.fetch(ctx, cc)
	if err != nil {
		return nil, err
	}
	p.set(cc, pkg)
	return pkg, nil
}

// Use makes a package that was found elsewhere the chaincode's.
func (p *Packages) Use(cc *network.Chaincode, pkg []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set(cc, pkg)
}

func (p *Packages) set(cc *network.Chaincode, pkg []byte) {
	if p.made == nil {
		p.made = map[string][]byte{}
	}
	p.made[cc.Label()] = pkg
}

func (p *Packages) fetch(ctx context.Context, cc *network.Chaincode) ([]byte, error) {
	if cc.Package != "" {
		pkg, err := depot.Pull(ctx, cc.Package, p.Keychain)
		if err != nil {
			return nil, fmt.Errorf("chaincode %q: %w", cc.Name, err)
		}
		return pkg, nil
	}
	root, err := p.Open(cc)
	if err != nil {
		return nil, err
	}
	return chaincode.PackageSource(cc, root)
}

// deposit makes the packages of sources and puts them where the flow's pods find them.
func (d *Deployment) deposit(ctx context.Context, include []string) ([]Change, error) {
	var sources []*network.Chaincode
	for _, s := range d.subjects(ChaincodeFlow, include) {
		if cc := d.Network.Chaincode(s.name); cc.Source != "" {
			sources = append(sources, cc)
		}
	}
	if len(sources) == 0 {
		return nil, nil
	}
	step := d.Report.Start("packages")
	var changes []Change
	for _, cc := range sources {
		change, err := d.Deposit(ctx, cc, step.Update)
		if err != nil {
			step.Fail(err)
			return changes, err
		}
		if change.Verb != Unchanged {
			changes = append(changes, change)
		}
	}
	if len(changes) == 0 {
		step.Skip(fmt.Sprintf("%d unchanged", len(sources)))
		return nil, nil
	}
	step.Done(fmt.Sprintf("%d stored, %d unchanged", len(changes), len(sources)-len(changes)))
	return changes, nil
}

// Deposit stores the package of one source. A package of the same label that is stored already
// gives way only where MayReplace allows it.
func (d *Deployment) Deposit(ctx context.Context, cc *network.Chaincode, tell func(string)) (Change, error) {
	change := Change{"package/" + cc.Label(), Unchanged}
	tell("packaging " + cc.Name)
	pkg, err := d.Packages.Of(ctx, cc, nil)
	if err != nil {
		return change, err
	}
	tell(fmt.Sprintf("storing %s, %d KiB", cc.Label(), len(pkg)>>10))
	store := d.Kube.Core().CoreV1().ConfigMaps(d.Kube.Namespace())
	_, err = depot.Hash(ctx, store, cc.Label())
	verb := Configured
	if errors.Is(err, depot.ErrAbsent) {
		verb = Created
	}
	replace := d.MayReplace != nil && d.MayReplace(cc)
	changed, err := depot.Put(ctx, store, cc.Label(), pkg, replace)
	if err != nil {
		return change, fmt.Errorf("chaincode %q: %w", cc.Name, err)
	}
	if changed {
		change.Verb = verb
	}
	return change, nil
}
