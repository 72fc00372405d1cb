package pki

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// ErrBusy says that another process is completing the same tree.
var ErrBusy = errors.New("another pivt is writing there")

// Options of Ensure; the zero value is ready for use.
type Options struct {
	// Now is when new certificates begin; nil means time.Now.
	Now func() time.Time

	step     func(stage, path string) error // see disk
	unsynced bool
}

// Change is one thing that Ensure made or replaced.
type Change struct {
	Path string // the directory or file
	What string // "CA created", "TLS certificate re-issued for …"
}

func (c Change) String() string { return c.Path + ": " + c.What }

// Ensure completes the tree in dir until it holds everything that n needs, and says what it
// did. It never writes to a key that exists, and makes no CA for an organisation that already has
// certificates. After an error, or a kill, it can be repeated and goes on where it stopped.
func Ensure(dir string, n *network.Network, o Options) ([]Change, error) {
	if err := checkPaths(Tree{dir}, n); err != nil {
		return nil, err
	}
	e := &ensurer{tree: Tree{dir}, disk: &disk{step: o.step, unsynced: o.unsynced}, now: time.Now(), bft: bftOrderers(n), network: n}
	if o.Now != nil {
		e.now = o.Now()
	}
	if err := e.disk.mkdir(filepath.Clean(dir)); err != nil {
		return nil, err
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, org := range n.Orgs() {
		if err := checkRoles(e.tree, org); err != nil {
			return nil, fmt.Errorf("%s org %q: %w", org.Kind, org.Name, err)
		}
	}
	for _, org := range n.Orgs() {
		if err := e.org(org); err != nil {
			return e.changes, fmt.Errorf("%s org %q: %w", org.Kind, org.Name, err)
		}
	}
	return e.changes, nil
}

// checkPaths refuses names that would leave the tree or share a directory with another's.
// The loader refuses them with their lines; this is for networks from elsewhere.
func checkPaths(t Tree, n *network.Network) error {
	taken := map[string]string{}
	check := func(what, element, path string) error {
		if element == "" || element == "." || element == ".." || strings.ContainsAny(element, "/\\\x00") {
			return exit.With(fmt.Errorf("%s: %q cannot be a directory's name", what, element), exit.Invalid)
		}
		if other, ok := taken[path]; ok {
			return exit.With(fmt.Errorf("%s and %s would share %s", other, what, path), exit.Invalid)
		}
		taken[path] = what
		return nil
	}
	for _, o := range n.Orgs() {
		what := fmt.Sprintf("%s org %q", o.Kind, o.Name)
		if err := check(what, o.Domain, t.OrgDir(o)); err != nil {
			return err
		}
		for _, node := range o.Nodes {
			if err := check(fmt.Sprintf("%s: %q", what, node.Hostname), node.CommonName, t.NodeDir(node)); err != nil {
				return err
			}
		}
		for _, u := range users(o) {
			if err := check(fmt.Sprintf("%s: user %q", what, u), userName(o, u), t.UserDir(o, u)); err != nil {
				return err
			}
		}
		for _, cc := range served(n, o) {
			if err := check(fmt.Sprintf("%s: chaincode %q", what, cc.Name), cc.Name, t.ServerDir(o, cc)); err != nil {
				return err
			}
		}
	}
	return nil
}

// bftOrderers tells which BFT channel, if any, lists a node.
func bftOrderers(n *network.Network) map[*network.Node]string {
	m := map[*network.Node]string{}
	for _, c := range n.Channels {
		if c.Consensus != network.BFT {
			continue
		}
		for _, node := range c.Orderers() {
			m[node] = c.Name
		}
	}
	return m
}

type ensurer struct {
	tree    Tree
	disk    *disk
	now     time.Time
	bft     map[*network.Node]string
	network *network.Network
	changes []Change
}

func (e *ensurer) changed(path, format string, args ...any) {
	e.changes = append(e.changes, Change{path, fmt.Sprintf(format, args...)})
}

// org completes one organisation: CAs first, because their absence beside other certificates
// means that somebody took them away, and then nothing may take their place.
func (e *ensurer) org(o *network.Org) error {
	ca, err := e.authority(o, e.tree.CADir(o), "cacerts", "CA", o.CA.CommonName)
	if err != nil {
		return err
	}
	tlsCA, err := e.authority(o, e.tree.TLSCADir(o), "tlscacerts", "TLS CA", "tls"+o.CA.CommonName)
	if err != nil {
		return err
	}
	msp := e.tree.MSPDir(o)
	roots := &roots{org: o, ca: ca, tlsCA: tlsCA}
	if wrote, err := e.verifyingMSP(msp, roots); err != nil {
		return err
	} else if wrote {
		e.changed(msp, "MSP of %s completed", o.MSPID)
	}
	for _, u := range users(o) {
		if err := e.user(roots, u); err != nil {
			return fmt.Errorf("user %q: %w", u, err)
		}
	}
	if _, err := e.admins(msp, roots); err != nil {
		return err
	}
	for _, n := range o.Nodes {
		if err := e.node(roots, n); err != nil {
			return fmt.Errorf("%s %q: %w", o.Kind, n.Hostname, err)
		}
	}
	for _, cc := range served(e.network, o) {
		if err := e.server(roots, cc); err != nil {
			return fmt.Errorf("chaincode server %q: %w", cc.Name, err)
		}
	}
	return nil
}

func (e *ensurer) user(r *roots, name string) error {
	dir := e.tree.UserDir(r.org, name)
	role := roleClient
	if name == adminUser {
		role = roleAdmin
	}
	did, err := e.localMSP(filepath.Join(dir, "msp"), r, userName(r.org, name), role)
	if err != nil {
		return err
	}
	wrote, err := e.tls(filepath.Join(dir, "tls"), r, tlsWant{file: "client", commonName: userName(r.org, name)})
	if err != nil {
		return err
	}
	e.report(dir, "user "+name, did, wrote)
	return nil
}

func (e *ensurer) node(r *roots, n *network.Node) error {
	dir := e.tree.NodeDir(n)
	did, err := e.localMSP(filepath.Join(dir, "msp"), r, n.CommonName, string(n.Org.Kind))
	if err != nil {
		return err
	}
	wrote, err := e.tls(filepath.Join(dir, "tls"), r, tlsWant{
		file:       "server",
		commonName: n.CommonName,
		service:    n.Name(),
		sans:       serverNames(n),
		pinnedBy:   e.bft[n],
	})
	if err != nil {
		return err
	}
	e.report(dir, fmt.Sprintf("%s %s", n.Org.Kind, n.Hostname), did, wrote)
	return nil
}

// outcome is what completing one part came to; a larger one hides a smaller.
type outcome int

const (
	unchanged outcome = iota
	completed
	created
)

func (e *ensurer) report(path, what string, outcomes ...outcome) {
	most := unchanged
	for _, o := range outcomes {
		most = max(most, o)
	}
	switch most {
	case created:
		e.changed(path, "%s created", what)
	case completed:
		e.changed(path, "%s completed", what)
	}
}
