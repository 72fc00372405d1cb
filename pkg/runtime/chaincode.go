package runtime

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Chaincode is one launch of a chaincode: what to run and how it reaches its peer.
type Chaincode struct {
	// Image is name@digest, or the image that runs Program.
	Image string
	// Program is what a build made; nil for chaincode that is all in its image.
	Program *Program
	// ID is Fabric's package id, label:hash.
	ID string
	// PeerAddress is host:port. The peer's certificate holds exactly this host.
	PeerAddress string
	MSPID       string
	// RootCert, ClientCert and ClientKey are PEM. All are empty if the peer runs without
	// TLS. The peer makes them for one launch; they are worth nothing to the next.
	RootCert, ClientCert, ClientKey string
}

// Program is built chaincode and how it starts.
type Program struct {
	Dir     string // what to send to the pod
	Path    string // where the pod finds it, read-only
	Command string // for /bin/sh -c
}

// TLS reports whether the peer speaks TLS to its chaincode.
func (c *Chaincode) TLS() bool { return c.ClientCert != "" }

// Label is the part of the package id that people chose.
func (c *Chaincode) Label() string {
	label, _, _ := strings.Cut(c.ID, ":")
	return label
}

// hash is the package's SHA-256, 64 hexadecimal digits.
func (c *Chaincode) hash() string {
	_, hash, _ := strings.Cut(c.ID, ":")
	return hash
}

func (c *Chaincode) check() error {
	label, hash, _ := strings.Cut(c.ID, ":")
	if _, err := hex.DecodeString(hash); err != nil || label == "" || len(hash) < 2*shortHash {
		return fmt.Errorf("chaincode id %q is not label:hash", c.ID)
	}
	if c.Image == "" {
		return errors.New("no image")
	}
	if c.PeerAddress == "" {
		return errors.New("no peer address")
	}
	if p := c.Program; p != nil && (p.Dir == "" || p.Path == "" || p.Command == "") {
		return errors.New("built chaincode without its directory, place or command")
	}
	if c.TLS() && (c.ClientKey == "" || c.RootCert == "") {
		return errors.New("a client certificate without key or root certificate")
	}
	return nil
}

// Peer is whose chaincode runs.
type Peer struct {
	Namespace string
	// Node is the peer's name, as in network.Node.Name. It tells the pods of peers apart
	// and opens the network policy between a peer and its chaincode.
	Node string
	// Pod and UID are the pod that owns what is made here. Without a UID nothing is owned,
	// and what a killed peer leaves behind waits for the next run.
	Pod, UID string
	// IP is the address by which the peer's organisation and pods made here reach it.
	IP string
	// Org is the organisation's label, TLS the peer's own key and certificate as files. With
	// both, builds are shared between the peers of the organisation.
	Org string
	TLS TLSFiles
}

// TLSFiles are paths of PEM files.
type TLSFiles struct{ Cert, Key, Roots string }

func (p *Peer) check() error {
	switch {
	case p.Namespace == "":
		return errors.New("no namespace")
	case p.Node == "":
		return errors.New("no name of the peer")
	}
	return nil
}
