package volume

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/configtx"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/fabric/fabrictest"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

func TestMain(m *testing.M) {
	fabrictest.Main()
	os.Exit(m.Run())
}

// real is a network of Fabric's own processes.
type real struct {
	*testing.T
	n     *network.Network
	m     *pki.Material
	procs *fabrictest.Processes
	id    fabric.Identity // writes and reads
}

const raftFiles = `
OrdererOrgs:
  - Name: Orderer
    Domain: example.com
    EnableNodeOUs: true
    Specs: [{Hostname: orderer0}, {Hostname: orderer1}, {Hostname: orderer2}]
PeerOrgs:
  - {Name: Org1, Domain: org1.example.com, EnableNodeOUs: true, Template: {Count: 1}, Users: {Count: 1}}
network:
  channels: [{name: common, orgs: [Org1], batch: {timeout: 100ms}}]
`

// bftFiles are raftFiles with a quorum that signs every block.
func bftFiles(t *testing.T) string {
	if strings.HasPrefix(fabrictest.Version(t), "2.") {
		t.Skip("Fabric 2 has no BFT")
	}
	return strings.NewReplacer("{Hostname: orderer2}", "{Hostname: orderer2}, {Hostname: orderer3}",
		"network:\n", "hyperledgerVersion: "+fabrictest.Version(t)+"\nnetwork:\n  consensus: BFT\n").Replace(raftFiles)
}

func startReal(t *testing.T, files string) *real {
	t.Helper()
	n, problems, err := network.Load([]network.Source{{Name: "network.yaml", Data: []byte(files)}}, nil)
	if err != nil {
		t.Fatal(err, problems)
	}
	dir := t.TempDir()
	if _, err := pki.Ensure(dir, n, pki.Options{}); err != nil {
		t.Fatal(err)
	}
	m, err := pki.Load(dir, n)
	if err != nil {
		t.Fatal(err)
	}
	r := &real{T: t, n: n, m: m, procs: fabrictest.PrepareProcesses(t, n, m)}
	client := m.Orgs["Org1"].Client
	if r.id, err = fabric.NewIdentity(m.Orgs["Org1"].Public.MSPID, client.CertPEM, client.KeyPEM); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *real) orderers() []*network.Node { return r.n.OrdererOrgs[0].Nodes }

// soon repeats until it succeeds.
func (r *real) soon(what string, try func(context.Context) error) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 90*time.Second)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			r.Fatalf("%s: %v", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// genesis is the first block of the network's channel.
func (r *real) genesis() *common.Block {
	r.Helper()
	orgs := map[string]*pki.Public{}
	for name, o := range r.m.Orgs {
		orgs[name] = &o.Public
	}
	block, err := configtx.Genesis(r.n.Channels[0], orgs)
	if err != nil {
		r.Fatal(err)
	}
	return block
}

// create makes all orderers join the network's channel.
func (r *real) create() {
	r.Helper()
	admin := r.m.Orgs["Orderer"].AdminTLS
	for _, node := range r.orderers() {
		p, err := fabric.NewParticipation(r.endpoint(node, node.AdminAddress()), admin.CertPEM, admin.KeyPEM)
		if err != nil {
			r.Fatal(err)
		}
		r.soon("joining "+node.Name(), func(ctx context.Context) error { return p.Join(ctx, r.genesis()) })
		p.Close()
	}
}

func (r *real) endpoint(node *network.Node, address string) fabric.Endpoint {
	roots := r.m.Orgs[node.Org.Name].Public.TLSRoots()
	return fabric.Endpoint{Address: address, ServerName: node.Name(), Roots: [][]byte{roots}, Dial: r.procs.Dial}
}

// height is the number of blocks that an orderer has.
func (r *real) height(node *network.Node) (h uint64, err error) {
	o, err := fabric.NewOrderer(r.endpoint(node, node.Address()), r.id)
	if err != nil {
		r.Fatal(err)
	}
	defer o.Close()
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	b, err := o.Newest(ctx, "common")
	if err != nil {
		return 0, err
	}
	return b.GetHeader().GetNumber() + 1, nil
}

func (r *real) reach(height uint64, nodes ...*network.Node) {
	r.Helper()
	for _, node := range nodes {
		r.soon(fmt.Sprintf("%s: height %d", node.Name(), height), func(context.Context) error {
			h, err := r.height(node)
			if err == nil && h < height {
				err = fmt.Errorf("it has %d blocks", h)
			}
			return err
		})
	}
}

// order gets a transaction into a block through an orderer.
func (r *real) order(node *network.Node) {
	r.Helper()
	before := uint64(0)
	r.soon("reading from "+node.Name(), func(context.Context) (err error) { before, err = r.height(node); return err })
	// An orderer that loses its leadership loses what it has not written into its log, although
	// it has said yes; clients send again.
	r.soon("ordering through "+node.Name(), func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		for _, to := range r.entries(node) {
			if err := r.broadcast(ctx, to); err != nil {
				return err
			}
		}
		for {
			h, err := r.height(node)
			if err == nil && h > before {
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("still at height %d: %v", h, err)
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
}

// entries are the orderers that a client sends to: with BFT all of them, as Fabric's gateway
// does.
func (r *real) entries(node *network.Node) []*network.Node {
	if r.n.Channels[0].Consensus == network.BFT {
		return r.orderers()
	}
	return []*network.Node{node}
}

func (r *real) broadcast(ctx context.Context, node *network.Node) error {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(r.m.Orgs[node.Org.Name].Public.TLSRoots())
	conn, err := grpc.NewClient("passthrough:///"+node.Address(),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{ServerName: node.Name(), RootCAs: pool, MinVersion: tls.VersionTLS12})),
		grpc.WithContextDialer(func(ctx context.Context, a string) (net.Conn, error) { return r.procs.Dial(ctx, a) }))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stream, err := orderer.NewAtomicBroadcastClient(conn).Broadcast(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(r.transaction()); err != nil {
		return err
	}
	answer, err := stream.Recv()
	if err != nil {
		return err
	}
	if answer.GetStatus() != common.Status_SUCCESS {
		return fmt.Errorf("%s %s", answer.GetStatus(), answer.GetInfo())
	}
	return nil
}

// transaction is nonsense that is signed by one who may write; orderers look no further.
func (r *real) transaction() *common.Envelope {
	must := func(m proto.Message) []byte {
		data, err := proto.Marshal(m)
		if err != nil {
			r.Fatal(err)
		}
		return data
	}
	nonce := make([]byte, 24)
	_, _ = rand.Read(nonce)
	payload := must(&common.Payload{
		Header: &common.Header{
			ChannelHeader:   must(&common.ChannelHeader{Type: int32(common.HeaderType_ENDORSER_TRANSACTION), ChannelId: "common", Timestamp: timestamppb.Now()}),
			SignatureHeader: must(&common.SignatureHeader{Creator: must(&msp.SerializedIdentity{Mspid: r.id.MspID(), IdBytes: r.id.Credentials()}), Nonce: nonce}),
		},
		Data: nonce,
	})
	sig, err := r.id.Sign(payload)
	if err != nil {
		r.Fatal(err)
	}
	return &common.Envelope{Payload: payload, Signature: sig}
}

func (r *real) start(nodes ...*network.Node) {
	for _, node := range nodes {
		r.procs.Start(node)
	}
}

func (r *real) stop(nodes ...*network.Node) {
	for _, node := range nodes {
		r.procs.Stop(node)
	}
}

// volumes is the directory with the node's volume, as it is mounted in a copy pod.
func (r *real) volumes(node *network.Node) string { return filepath.Dir(r.procs.Volume(node)) }

// save stops a node for its copy and starts it again.
func (r *real) save(s Store, node *network.Node, parts backup.Parts) backup.Node {
	r.Helper()
	r.stop(node)
	saved := save(r.T, s, r.task(node, parts))
	r.start(node)
	return saved
}

func (r *real) task(node *network.Node, parts backup.Parts) SaveTask {
	n := backup.Node{Name: node.Name(), Kind: string(node.Org.Kind), Org: node.Org.Name, Hostname: node.Hostname}
	task := saveTask(n, r.volumes(node), Data)
	task.Parts = parts
	return task
}

// lose takes away all that a stopped node has.
func (r *real) lose(node *network.Node) {
	r.Helper()
	if err := os.RemoveAll(r.procs.Volume(node)); err != nil {
		r.Fatal(err)
	}
	if err := os.Mkdir(r.procs.Volume(node), 0o700); err != nil {
		r.Fatal(err)
	}
}

// restore puts a stopped node's data back.
func (r *real) restore(s Store, node *network.Node, m backup.Manifest, replace []backup.Replacement) {
	r.Helper()
	saved, ok := m.Node(node.Name())
	if !ok {
		r.Fatalf("%s was not saved", node.Name())
	}
	task := RestoreTask{Key: "k1", Node: saved, Replace: replace, Dir: r.volumes(node)}
	if err := Restore(r.Context(), s, task); err != nil {
		r.Fatal(err)
	}
	if err := Finish(task.Dir); err != nil {
		r.Fatal(err)
	}
}
