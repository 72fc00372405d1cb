package network

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// Ports of the nodes. Clients, joins and gossip use PeerPort and OrdererPort.
const (
	PeerPort           = 7051
	ChaincodePort      = 7052
	PeerOperations     = 9443
	OrdererPort        = 7050
	OrdererAdminPort   = 7053
	OrdererOperations  = 8443
	TransferPortFirst  = 7100 // peers' launchers hand code over on ports from here
	TransferPortLast   = 7199 // to here
	ServicePortDefault = 9999 // chaincode servers
	maxName            = 63   // a Kubernetes label value, and most names
	maxWorkloadName    = 52   // a StatefulSet's, because "-" and a ten digit hash follow it in a label
	shortHashHexDigits = 8
)

// Names of the objects that exist once per network, and so once per namespace.
const (
	Release        = "hlf-kube" // Helm release
	MSPConfigMap   = "hlf-msp"  // every organisation's public certificates, one key per organisation
	ServiceFlow    = "hlf-flow" // service account of workflow pods
	ServicePeer    = "hlf-peer" // service account of peers; their launcher makes chaincode pods
	ServiceOrderer = "hlf-orderer"
	LauncherConfig = "hlf-launcher" // ConfigMap that peers' launchers read
)

var notInName = regexp.MustCompile(`[^a-z0-9-]+`)

// Label spells a name of any shape as Kubernetes wants it: lower case, and a dash for
// every run of other characters. Charts have the same rule in _names.tpl.
func Label(s string) string {
	return strings.Trim(notInName.ReplaceAllString(strings.ToLower(s), "-"), "-")
}

// Shorten cuts a name to limit characters, replacing what goes by a hash of the whole.
func Shorten(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return strings.TrimRight(name[:limit-shortHashHexDigits-1], "-") + "-" + hex.EncodeToString(sum[:])[:shortHashHexDigits]
}

// Label is the organisation's name in object names and labels.
func (o *Org) Label() string { return Shorten(Label(o.Name), maxName) }

// AdminSecret holds the organisation's admin: cert.pem, key.pem, tls.crt, tls.key.
func (o *Org) AdminSecret() string {
	return Shorten(fmt.Sprintf("hlf-%s--%s--admin-msp", o.Kind, Label(o.Name)), maxName)
}

// ClientSecret holds the organisation's first user: cert.pem, key.pem.
func (o *Org) ClientSecret() string {
	return Shorten(fmt.Sprintf("hlf-%s--%s--client-msp", o.Kind, Label(o.Name)), maxName)
}

// ChaincodeService is the Deployment and Service of an organisation's chaincode server, and
// the address it has in the namespace without its port.
func (o *Org) ChaincodeService(c *Chaincode) string {
	return Shorten(fmt.Sprintf("hlf-chaincode--%s--%s", Label(o.Name), Label(c.Name)), maxWorkloadName)
}

// PublicKey is the organisation's key in ConfigMap hlf-msp.
func (o *Org) PublicKey() string { return o.Label() + ".json" }

// Name is the node's StatefulSet, Service and address inside the namespace.
func (n *Node) Name() string {
	return Shorten(fmt.Sprintf("hlf-%s--%s--%s", n.Org.Kind, Label(n.Org.Name), Label(n.Hostname)), maxWorkloadName)
}

// Pod is the name of the node's only pod.
func (n *Node) Pod() string { return n.Name() + "-0" }

// MSPSecret holds cacert.pem, tlscacert.pem, signcert.pem, key.pem and config.yaml.
func (n *Node) MSPSecret() string { return n.Name() + "-msp" }

// TLSSecret holds server.crt, server.key and ca.crt.
func (n *Node) TLSSecret() string { return n.Name() + "-tls" }

// CouchDBSecret holds the username and password of the CouchDB beside a peer, if it has one.
func (n *Node) CouchDBSecret() string {
	return Shorten(fmt.Sprintf("hlf-couchdb--%s--%s", Label(n.Org.Name), Label(n.Hostname)), maxWorkloadName)
}

// Port is the node's main port.
func (n *Node) Port() int {
	if n.Org.Kind == Orderer {
		return OrdererPort
	}
	return PeerPort
}

// Address is where other pods of the namespace reach the node, host:port.
func (n *Node) Address() string { return fmt.Sprintf("%s:%d", n.Name(), n.Port()) }

// AdminAddress is an orderer's channel participation API, host:port.
func (n *Node) AdminAddress() string { return fmt.Sprintf("%s:%d", n.Name(), OrdererAdminPort) }

// TaskName joins parts to the name of a workflow task. Argo takes letters, digits and
// dashes; a dot would be read as a task's result.
func TaskName(parts ...string) string {
	for i, p := range parts {
		parts[i] = Label(p)
	}
	return Shorten(strings.Join(parts, "-"), maxName)
}
