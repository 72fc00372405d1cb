package step

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// session is one run of one step: what it was given, its connections, what it has to tell.
type session struct {
	p        Params
	env      Env
	log      *slog.Logger
	n        *network.Network
	deadline time.Time

	mu      sync.Mutex
	result  Result
	public  map[string]*pki.Public     // by Org.Name
	peers   map[string]*fabric.Peer    // by Node.Name() and identity
	orders  map[string]*fabric.Orderer // the same
	genesis map[string]*common.Block   // by channel
}

func newSession(verb string, p Params, env Env) (*session, error) {
	path := filepath.Join(env.Root, "network", "network.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the network: %w", err)
	}
	n, _, err := network.Load([]network.Source{{Name: "network.yaml", Data: data}}, nil)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	log := env.Log.With("step", verb)
	for _, kv := range []struct{ key, value string }{{"channel", p.Channel}, {"org", p.Org}, {"chaincode", p.Chaincode}, {"flow", p.Flow}} {
		if kv.value != "" {
			log = log.With(kv.key, kv.value)
		}
	}
	return &session{p: p, env: env, log: log, n: n, deadline: env.Now().Add(p.Wait),
		public: map[string]*pki.Public{}, peers: map[string]*fabric.Peer{}, orders: map[string]*fabric.Orderer{},
		genesis: map[string]*common.Block{}}, nil
}

func (s *session) close() {
	for _, p := range s.peers {
		p.Close()
	}
	for _, o := range s.orders {
		o.Close()
	}
}

// changed notes something that was done, or would be.
func (s *session) changed(format string, args ...any) {
	sentence := fmt.Sprintf(format, args...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.result.Changed, sentence) { // tried again after half of it was done
		return
	}
	s.result.Changed = append(s.result.Changed, sentence)
	if s.p.DryRun {
		s.log.Info("would change", "change", sentence)
		return
	}
	s.log.Info("changed", "change", sentence)
}

func (s *session) verified(format string, args ...any) {
	sentence := fmt.Sprintf(format, args...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.result.Verified = append(s.result.Verified, sentence)
	s.log.Info("verified", "fact", sentence)
}

// write puts the result where the workflow picks it up.
func (s *session) write(verb string) error {
	name, list := "result", s.result.Changed
	if verb == "probe" {
		name, list = "todo", s.result.Todo
	}
	if list == nil {
		list = []string{} // "[]" and not "null" for the workflow's expressions
	}
	slices.Sort(s.result.Changed) // fan-out finishes in any order
	slices.Sort(s.result.Verified)
	data, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	dir := filepath.Join(s.env.Root, "out")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

// channel is the one the step is about.
func (s *session) channel() (*network.Channel, error) {
	if ch := s.n.Channel(s.p.Channel); ch != nil {
		return ch, nil
	}
	return nil, exit.With(fmt.Errorf("channel %q is not in network.yaml", s.p.Channel), exit.Invalid)
}

func (s *session) chaincode() (*network.Chaincode, error) {
	if cc := s.n.Chaincode(s.p.Chaincode); cc != nil {
		return cc, nil
	}
	return nil, exit.With(fmt.Errorf("chaincode %q is not in network.yaml", s.p.Chaincode), exit.Invalid)
}

func (s *session) org(kind network.Kind) (*network.Org, error) {
	o := s.n.Org(s.p.Org)
	if o == nil || o.Kind != kind {
		return nil, exit.With(fmt.Errorf("%s org %q is not in crypto-config.yaml", kind, s.p.Org), exit.Invalid)
	}
	return o, nil
}

// publicOf reads the organisation's public certificates.
func (s *session) publicOf(o *network.Org) (*pki.Public, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.public[o.Name]; p != nil {
		return p, nil
	}
	data, err := os.ReadFile(filepath.Join(s.env.Root, "msp", o.PublicKey()))
	if err != nil {
		return nil, exit.WithHint(fmt.Errorf("reading the public certificates of org %q: %w", o.Name, err),
			`"pivt install" writes them to ConfigMap hlf-msp`)
	}
	p, err := pki.ParsePublic(data)
	if err != nil {
		return nil, err
	}
	s.public[o.Name] = p
	return p, nil
}

// admin is the admin of the step's organisation. Only its own pods mount it.
func (s *session) admin(o *network.Org) (fabric.Identity, error) {
	return s.identity(o, filepath.Join(s.env.Root, "admin"))
}

// client is the client of the first of the organisations whose client this pod mounts.
func (s *session) client(orgs []*network.Org) (*network.Org, fabric.Identity, error) {
	var labels []string
	for _, o := range orgs {
		dir := filepath.Join(s.env.Root, "client", o.Label())
		if _, err := os.Stat(filepath.Join(dir, "cert.pem")); errors.Is(err, fs.ErrNotExist) {
			labels = append(labels, o.Label())
			continue
		}
		id, err := s.identity(o, dir)
		return o, id, err
	}
	return nil, fabric.Identity{}, fmt.Errorf("%w of %s in %s", errNoClient, strings.Join(labels, ", "), filepath.Join(s.env.Root, "client"))
}

var errNoClient = errors.New("no client's identity")

func (s *session) identity(o *network.Org, dir string) (fabric.Identity, error) {
	cert, key, err := readPair(dir, "cert.pem", "key.pem")
	if err != nil {
		return fabric.Identity{}, fmt.Errorf("identity of org %q: %w", o.Name, err)
	}
	return fabric.NewIdentity(o.MSPID, cert, key)
}

func readPair(dir, certName, keyName string) (cert, key []byte, err error) {
	if cert, err = os.ReadFile(filepath.Join(dir, certName)); err != nil {
		return nil, nil, err
	}
	if key, err = os.ReadFile(filepath.Join(dir, keyName)); err != nil {
		return nil, nil, err
	}
	return cert, key, nil
}

func (s *session) endpoint(node *network.Node, address string) (fabric.Endpoint, error) {
	public, err := s.publicOf(node.Org)
	if err != nil {
		return fabric.Endpoint{}, err
	}
	return fabric.Endpoint{Address: address, ServerName: node.Name(), Roots: [][]byte{public.TLSRoots()}, Dial: s.env.Dial}, nil
}

// peer connects to a peer once per step and identity.
func (s *session) peer(node *network.Node, id fabric.Identity) (*fabric.Peer, error) {
	return once(s, s.peers, node, id, fabric.NewPeer)
}

// orderer connects to an orderer once per step and identity.
func (s *session) orderer(node *network.Node, id fabric.Identity) (*fabric.Orderer, error) {
	return once(s, s.orders, node, id, fabric.NewOrderer)
}

// once returns the connection that was opened to the node as id, connecting the first time.
func once[T any](s *session, opened map[string]*T, node *network.Node, id fabric.Identity, connect func(fabric.Endpoint, fabric.Identity) (*T, error)) (*T, error) {
	e, err := s.endpoint(node, node.Address())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := node.Name() + " " + string(id.Credentials())
	if c := opened[key]; c != nil {
		return c, nil
	}
	c, err := connect(e, id)
	if err != nil {
		return nil, err
	}
	opened[key] = c
	return c, nil
}

// participation connects to an orderer's admin API as the step's organisation.
func (s *session) participation(node *network.Node) (*fabric.Participation, error) {
	cert, key, err := readPair(filepath.Join(s.env.Root, "admin"), "tls.crt", "tls.key")
	if err != nil {
		return nil, fmt.Errorf("TLS certificate of org %q's admin: %w", node.Org.Name, err)
	}
	e, err := s.endpoint(node, node.AdminAddress())
	if err != nil {
		return nil, err
	}
	return fabric.NewParticipation(e, cert, key)
}
