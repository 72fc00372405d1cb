package step_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
	"pivt.io/pivt/pkg/step"
)

const cryptoConfig = `
OrdererOrgs:
  - Name: Orderer
    Domain: example.com
    EnableNodeOUs: true
    Specs: [{Hostname: orderer0}, {Hostname: orderer1}, {Hostname: orderer2}]
PeerOrgs:
  - Name: Org1
    Domain: org1.example.com
    EnableNodeOUs: true
    Template: {Count: 1}
    Users: {Count: 1}
  - Name: Org2
    Domain: org2.example.com
    EnableNodeOUs: true
    Template: {Count: 1}
    Users: {Count: 1}
`

var digest = "sha256:" + strings.Repeat("ab", 32)

var networkYAML = `
network:
  channels:
    - name: mychannel
      orgs: [Org1, Org2]
      batch: {timeout: 100ms}
  chaincodes:
    - name: basic
      version: "1.0"
      image: example.com/basic@` + digest + `
      channels: [{name: mychannel}]
`

// load parses both files as a user's.
func load(t testing.TB, files ...string) *network.Network {
	t.Helper()
	var sources []network.Source
	for _, f := range files {
		sources = append(sources, network.Source{Name: "network.yaml", Data: []byte(f)})
	}
	n, problems, err := network.Load(sources, nil)
	if err != nil {
		t.Fatalf("loading the network: %v\n%v", err, problems)
	}
	return n
}

// material completes the keys in dir and reads them.
func material(t testing.TB, dir string, n *network.Network) *pki.Material {
	t.Helper()
	if _, err := pki.Ensure(dir, n, pki.Options{}); err != nil {
		t.Fatal(err)
	}
	m, err := pki.Load(dir, n)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// pod writes down what a step's pod mounts and returns its environment.
type pod struct {
	t     testing.TB
	dir   string // of the keys
	n     *network.Network
	m     *pki.Material
	files []string
	env   step.Env
}

// root makes /run/pivt for a step of an organisation; "" mounts no admin.
func (p pod) root(admin string, clients ...string) string {
	p.t.Helper()
	dir := p.t.TempDir()
	put := func(name string, data []byte) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			p.t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	merged, err := network.Values(sources(p.files), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	data, err := json.Marshal(merged)
	if err != nil {
		p.t.Fatal(err)
	}
	put("network/network.yaml", data)
	for _, o := range p.n.Orgs() {
		public := p.m.Orgs[o.Name].Public
		put("msp/"+o.PublicKey(), public.Marshal())
	}
	if admin != "" {
		o := p.m.Orgs[admin]
		put("admin/cert.pem", o.Admin.CertPEM)
		put("admin/key.pem", o.Admin.KeyPEM)
		put("admin/tls.crt", o.AdminTLS.CertPEM)
		put("admin/tls.key", o.AdminTLS.KeyPEM)
	}
	for _, c := range clients {
		put("client/"+p.n.Org(c).Label()+"/cert.pem", p.m.Orgs[c].Client.CertPEM)
		put("client/"+p.n.Org(c).Label()+"/key.pem", p.m.Orgs[c].Client.KeyPEM)
	}
	return dir
}

func sources(files []string) []network.Source {
	var s []network.Source
	for _, f := range files {
		s = append(s, network.Source{Name: "network.yaml", Data: []byte(f)})
	}
	return s
}

// run runs one step in a pod of its own.
func (p pod) run(verb string, params step.Params, admin string, clients ...string) (step.Result, error) {
	p.t.Helper()
	env := p.env
	env.Root = p.root(admin, clients...)
	if env.Poll == 0 {
		env.Poll = 50 * time.Millisecond
	}
	if env.Log == nil {
		env.Log = slog.New(slog.NewTextHandler(writer{p.t}, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		}}))
	}
	begin := time.Now()
	r, err := step.Run(p.t.Context(), verb, params, env)
	p.t.Logf("%s %+v: %+v, %v in %s", verb, params, r, err, time.Since(begin).Round(time.Millisecond))
	return r, err
}

type writer struct{ t testing.TB }

func (w writer) Write(line []byte) (int, error) {
	w.t.Logf("%s", strings.TrimSpace(string(line)))
	return len(line), nil
}

// signalWhenWaiting is a log that closes c when a step says for the first time that it waits.
func signalWhenWaiting(c chan struct{}) *slog.Logger {
	var once sync.Once
	return slog.New(handler(func(r slog.Record) {
		if r.Message == "waiting" {
			once.Do(func() { close(c) })
		}
	}))
}

type handler func(slog.Record)

func (h handler) Enabled(context.Context, slog.Level) bool { return true }
func (h handler) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h handler) WithGroup(string) slog.Handler            { return h }
func (h handler) Handle(_ context.Context, r slog.Record) error {
	h(r)
	return nil
}
