package network

// Network is the validated, immutable picture of what the two files ask for.
// Slices are in the order of the files; pointers are shared, never nil.
type Network struct {
	// Version is the Fabric release of every node, as "3.1.1".
	Version string
	// OrdererOrgs and PeerOrgs are the organisations whose nodes run here.
	OrdererOrgs []*Org
	PeerOrgs    []*Org
	Channels    []*Channel
	Chaincodes  []*Chaincode
	// FlowChannels and FlowChaincodes are what the flows work on: all of them, unless
	// flow.channel.include and flow.chaincode.include say otherwise.
	FlowChannels   []*Channel
	FlowChaincodes []*Chaincode
}

// Kind tells peers from orderers. Its values are the words object names use.
type Kind string

// The two kinds of organisation, and of node.
const (
	Orderer Kind = "orderer"
	Peer    Kind = "peer"
)

// Org is one organisation of crypto-config.yaml.
type Org struct {
	Name   string // as written, "Org1"
	Domain string // "org1.example.com"
	MSPID  string // cryptogen's rule: Name + "MSP"
	Kind   Kind
	// NodeOUs is cryptogen's EnableNodeOUs: roles are told by the certificate's OU.
	NodeOUs bool
	CA      CA
	Nodes   []*Node
	// Users are names without domain, "User1" first; there is always at least one,
	// because probing and the smoke test sign as a client and not as an admin.
	Users []string
}

// CA is the subject that cryptogen gives an organisation's two CAs.
type CA struct {
	Hostname           string // default "ca"
	CommonName         string // default Hostname + "." + Domain
	Country            string // default "US"
	Province           string // default "California"
	Locality           string // default "San Francisco"
	OrganizationalUnit string
	StreetAddress      string
	PostalCode         string
	SANS               []string
}

// Node is one peer or orderer.
type Node struct {
	Org        *Org
	Hostname   string   // "peer0"
	CommonName string   // "peer0.org1.example.com"
	SANS       []string // further names and addresses from the file, templates expanded
}

// Consensus is a channel's consensus type, spelled as in its configuration block.
type Consensus string

// Fabric 3 knows two; solo and kafka are gone.
const (
	Raft Consensus = "etcdraft"
	BFT  Consensus = "BFT"
)

// Channel is one application channel.
type Channel struct {
	Name        string
	Orgs        []*Org // peer organisations, file order
	OrdererOrgs []*Org // all orderer organisations unless the file names some
	Consensus   Consensus
	Batch       Batch
}

// Orderers lists the consenters of the channel, organisation by organisation.
func (c *Channel) Orderers() []*Node {
	var nodes []*Node
	for _, o := range c.OrdererOrgs {
		nodes = append(nodes, o.Nodes...)
	}
	return nodes
}

// Batch holds a channel's block cutting settings.
type Batch struct {
	Timeout           string // Go duration, default "500ms"
	MaxMessageCount   uint32 // default 500
	AbsoluteMaxBytes  uint32 // bytes, default 10 MiB
	PreferredMaxBytes uint32 // bytes, default 2 MiB
}

// Chaincode is one chaincode and where it is to be defined.
// Exactly one of Image, Service, Source and Package is set, or none for a PIVT file, whose
// sources lie in a folder named after the chaincode.
type Chaincode struct {
	Name    string
	Version string   // default "1.0"
	Image   string   // name@sha256:digest
	Service *Service // a chaincode server that peers connect to
	// Source is a directory, as written; it is relative to the directory of SourceFile, or to
	// the current one if a flag gave it and SourceFile is empty.
	Source, SourceFile string
	Path               string // below Source: the main package, Fabric's metadata.path; "" for Source itself
	Package            string // oci://host/name@sha256:digest of a finished package
	Language           string // golang, node or java
	Orgs               []*Org // whose peers install it
	Channels           []*ChaincodeChannel
	// Init is called once for each version before any other function; nil means that the
	// chaincode asks for no such call.
	Init *Call
	// Smoke is the call that proves the chaincode alive; nil means a query for the
	// contract's metadata.
	Smoke *Call
}

// Deployable reports whether the files say where the code is.
func (c *Chaincode) Deployable() bool {
	return c.Image != "" || c.Service != nil || c.Source != "" || c.Package != ""
}

// Service is a chaincode server. With an image, it runs in the network's namespace, one
// Deployment for each organisation, and Address is empty; without, somebody else runs it.
type Service struct {
	Address  string // host:port
	Image    string // name@sha256:digest
	Replicas int
	Port     int // of the server in its pods; default 9999
	TLS      ServiceTLS
}

// ServiceTLS says how peers and a chaincode server know each other.
type ServiceTLS string

// With ServerTLS peers check the server; with MutualTLS it checks them too.
const (
	NoTLS     ServiceTLS = "none"
	ServerTLS ServiceTLS = "tls"
	MutualTLS ServiceTLS = "mtls"
)

// Label is the label of the chaincode's package, "basic_1.0".
func (c *Chaincode) Label() string { return c.Name + "_" + c.Version }

// ChaincodeChannel is a chaincode's definition on one channel.
type ChaincodeChannel struct {
	Channel *Channel
	Orgs    []*Org // who approves; all of the channel unless the file names some
	// Policy is the endorsement policy in Fabric's syntax, or the name of one of the channel's,
	// which begins with "/"; empty means the channel's default.
	Policy string
	// Collections are the private data collections, in the order of the file.
	Collections []*Collection
}

// Collection is one private data collection. Its keys in the files are those of Fabric's
// collections_config.json.
type Collection struct {
	Name              string
	Policy            string // who gets the data, in Fabric's syntax
	RequiredPeerCount int32
	MaxPeerCount      int32
	BlockToLive       uint64 // blocks until the data are purged; 0 for never
	MemberOnlyRead    bool
	MemberOnlyWrite   bool
	// EndorsementPolicy replaces the chaincode's for keys of the collection: a policy in
	// Fabric's syntax, or the name of one of the channel's, which begins with "/".
	EndorsementPolicy string
}

// Call is a chaincode function with its arguments.
type Call struct {
	Function string
	Args     []string
	// Invoke submits a transaction; otherwise the call is only evaluated.
	Invoke bool
}

// Orgs lists all organisations, orderers first.
func (n *Network) Orgs() []*Org {
	return append(append([]*Org(nil), n.OrdererOrgs...), n.PeerOrgs...)
}

// Nodes lists every node, orderers first.
func (n *Network) Nodes() []*Node {
	var nodes []*Node
	for _, o := range n.Orgs() {
		nodes = append(nodes, o.Nodes...)
	}
	return nodes
}

// Org finds an organisation by its name as written in the file, or nil.
func (n *Network) Org(name string) *Org {
	for _, o := range n.Orgs() {
		if o.Name == name {
			return o
		}
	}
	return nil
}

// Channel finds a channel by name, or nil.
func (n *Network) Channel(name string) *Channel {
	for _, c := range n.Channels {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Chaincode finds a chaincode by name, or nil.
func (n *Network) Chaincode(name string) *Chaincode {
	for _, c := range n.Chaincodes {
		if c.Name == name {
			return c
		}
	}
	return nil
}
