package pki

// Material is everything the nodes, admins and clients of a network need to prove who they
// are. It holds private keys: it goes into Secrets and nowhere else.
type Material struct {
	Orgs map[string]*OrgMaterial // by Org.Name
}

// OrgMaterial is one organisation's share of Material. CA keys are not in it, because nothing
// that runs needs them.
type OrgMaterial struct {
	Public   Public
	Admin    Identity
	AdminTLS KeyPair
	// Client is the organisation's first user. Orderer organisations have none, as with cryptogen.
	Client Identity
	Nodes  map[string]*NodeMaterial // by Node.Hostname
	// Servers are the TLS pairs of the chaincode servers that the organisation runs with
	// TLS, by Chaincode.Name.
	Servers map[string]KeyPair
}

// NodeMaterial is what one peer or orderer mounts. The CA certificates that go with it are in
// the organisation's Public.
type NodeMaterial struct {
	MSP Identity
	TLS KeyPair
	// ConfigYAML is the MSP's config.yaml. It names its CA certificate NodeCACert, where the
	// charts mount it, whatever the file is called in the tree. Nil when NodeOUs are off.
	ConfigYAML []byte
}

// NodeCACert is the path of the CA certificate in a node's mounted MSP directory.
const NodeCACert = "cacerts/ca.pem"

// Identity is a certificate of the organisation's CA with its private key, both PEM.
type Identity struct{ CertPEM, KeyPEM []byte }

// KeyPair is a certificate of the organisation's TLS CA with its private key, both PEM.
type KeyPair struct{ CertPEM, KeyPEM []byte }
