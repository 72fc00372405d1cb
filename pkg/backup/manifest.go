package backup

import (
	"encoding/json"
	"time"

	"pivt.io/pivt/pkg/network"
)

// Version of the manifest's shape.
const Version = "pivt.io/v1alpha1"

// Manifest is what a backup is: written last, when every part of it is in the repository.
type Manifest struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"` // Backup
	Key        string    `json:"key"`
	Namespace  string    `json:"namespace"` // the network's when it was saved
	Fabric     string    `json:"fabric"`    // release, "3.1.1"
	Identity   Identity  `json:"identity"`
	Started    time.Time `json:"started"`  // when the first node was stopped
	Finished   time.Time `json:"finished"` // when the last one had been copied
	Parts      Parts     `json:"parts"`
	Nodes      []Node    `json:"nodes"` // in the order in which they were saved
	// Consensus is each channel's consensus type.
	Consensus map[string]network.Consensus `json:"consensus,omitempty"`
	// Files are the input files by name.
	Files map[string]string `json:"files,omitempty"`
	// MSPs are the public certificates of the organisations: the data of ConfigMap hlf-msp.
	MSPs map[string]json.RawMessage `json:"msps,omitempty"`
	// CryptoConfig is a copy of crypto-config/, encrypted with a passphrase before it left the
	// operator's machine: an age file.
	CryptoConfig []byte `json:"cryptoConfig,omitempty"`
}

// Node is what was saved of one node.
type Node struct {
	Name     string    `json:"name"` // StatefulSet
	Kind     string    `json:"kind"` // peer, orderer, ca
	Org      string    `json:"org"`
	Hostname string    `json:"hostname"`
	Stopped  time.Time `json:"stopped"`
	Copied   time.Time `json:"copied"`
	Volumes  []Volume  `json:"volumes"`
	Channels []Channel `json:"channels,omitempty"` // by name
	// WithState is false if the state databases were left out, or could not be told apart.
	WithState bool `json:"withState,omitempty"`
}

// Volume is one volume of a node, as a snapshot of the repository.
type Volume struct {
	Name     string `json:"name"` // data, couchdb
	Snapshot string `json:"snapshot"`
	Files    int    `json:"files"`
	Bytes    int64  `json:"bytes"`
	Uploaded int64  `json:"uploaded"` // bytes that were new to the repository
}

// Channel is how far a node had got with one channel.
type Channel struct {
	Name   string `json:"name"`
	First  uint64 `json:"first,omitempty"` // number of its first block; not 0 if it joined by snapshot
	Height uint64 `json:"height"`          // number of the last block + 1
	Hash   string `json:"hash"`            // of the last block's header, hex
}

// Channel is the node's entry for a channel.
func (n Node) Channel(name string) (Channel, bool) {
	for _, c := range n.Channels {
		if c.Name == name {
			return c, true
		}
	}
	return Channel{}, false
}

// Node finds a node by its name.
func (m Manifest) Node(name string) (Node, bool) {
	for _, n := range m.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

// Bytes is what the backup measures when restored.
func (m Manifest) Bytes() int64 {
	var sum int64
	for _, n := range m.Nodes {
		for _, v := range n.Volumes {
			sum += v.Bytes
		}
	}
	return sum
}

// Uploaded is how much of it was new to the repository.
func (m Manifest) Uploaded() int64 {
	var sum int64
	for _, n := range m.Nodes {
		for _, v := range n.Volumes {
			sum += v.Uploaded
		}
	}
	return sum
}

// Shown is what the repository answers when it is asked for one backup: the manifest, and when
// it was verified.
type Shown struct {
	Manifest *Manifest  `json:"manifest"`
	Verified *time.Time `json:"verified,omitempty"`
}

// Summary is a line of a list of backups.
type Summary struct {
	Key      string     `json:"key"`
	Started  time.Time  `json:"started"`
	Finished time.Time  `json:"finished,omitzero"`
	Nodes    int        `json:"nodes"`
	Bytes    int64      `json:"bytes"`
	Uploaded int64      `json:"uploaded"`
	Verified *time.Time `json:"verified,omitempty"`
	// Complete is false for an interrupted attempt: it has no manifest.
	Complete bool `json:"complete"`
}
