package profile

import (
	"bytes"
	_ "embed"
	"fmt"
	"go/format"
	"path/filepath"
	"text/template"

	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

//go:embed client.go.tmpl
var clientTemplate string

// example is what the client's template is filled with.
type example struct {
	Org, User, Peer, Profile string
	Channel, Chaincode       string
	Cert, Key                string
}

// Example is a client in Go for applications of org: it reads the profile in JSON, connects to
// one of the organisation's peers, evaluates and submits. The keys are taken from cryptoDir, in
// cryptogen's layout.
func Example(n *network.Network, org *network.Org, cryptoDir string) ([]byte, error) {
	if len(org.Nodes) == 0 {
		return nil, fmt.Errorf("org %q has no peer to connect to", org.Name)
	}
	e := example{Org: org.Name, User: org.Users[0], Peer: org.Nodes[0].CommonName, Profile: FileName(org) + ".json"}
	for _, ch := range Channels(n, org) {
		for _, cc := range n.Chaincodes {
			for _, on := range cc.Channels {
				if on.Channel == ch && e.Chaincode == "" {
					e.Channel, e.Chaincode = ch.Name, cc.Name
				}
			}
		}
		if e.Channel == "" {
			e.Channel = ch.Name
		}
	}
	if e.Channel == "" {
		return nil, fmt.Errorf("org %q is on no channel", org.Name)
	}
	msp := filepath.Join(pki.Tree{Dir: cryptoDir}.UserDir(org, e.User), "msp")
	e.Cert, e.Key = filepath.Join(msp, "signcerts"), filepath.Join(msp, "keystore")
	t, err := template.New("client").Parse(clientTemplate)
	if err != nil {
		return nil, fmt.Errorf("writing the example: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, e); err != nil {
		return nil, fmt.Errorf("writing the example: %w", err)
	}
	return format.Source(b.Bytes())
}

// FileName is the name of an organisation's profile without its ending.
func FileName(org *network.Org) string { return "connection-" + org.Label() }
