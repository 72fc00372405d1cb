//go:build e2e

package e2e

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"pivt.io/pivt/pkg/check"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/network"
)

const (
	backupTimeout = 30 * time.Minute
	patience      = 5 * time.Minute  // of an application with one transaction
	attempt       = 30 * time.Second // of it with one peer
	storeCC       = "store"
	collection    = "shared"
	accessKey     = "pivt-test-access"
)

// vault is a network that is backed up, and what its clients know of it.
type vault struct {
	*site
	image    string
	password string // of the repository
	secret   string // of the S3 account
	network  *network.Network
	access   *check.Access
}

const vaultCrypto = `OrdererOrgs:
  - {Name: Orderer, Domain: example.com, EnableNodeOUs: true, Specs: [{Hostname: orderer0}, {Hostname: orderer1}, {Hostname: orderer2}]}
PeerOrgs:
  - {Name: Org1, Domain: org1.example.com, EnableNodeOUs: true, Template: {Count: %d}, Users: {Count: 1}}
  - {Name: Org2, Domain: org2.example.com, EnableNodeOUs: true, Template: {Count: %d}, Users: {Count: 1}}
`

const vaultNetwork = `hyperledgerVersion: "3.1.1"
network:
  channels: [{name: mychannel, orgs: [Org1, Org2], batch: {timeout: 200ms}}]
  chaincodes:
    - name: store
      version: "1.0"
      image: %q
      collections:
        - {name: shared, policy: "OR('Org1MSP.member','Org2MSP.member')", requiredPeerCount: 1, maxPeerCount: 3}
      channels: [{name: mychannel}]
      smoke: {function: Get, args: [a]}
`

// newVault installs a network with so many peers in each of two organisations.
func newVault(t testing.TB, ns string, peers int) *vault {
	t.Helper()
	s := newSite(t, ns)
	s.limit = backupTimeout
	v := &vault{site: s, image: s.imageRef("pivt/faulty"), password: token(), secret: token()}
	s.write("crypto-config.yaml", fmt.Sprintf(vaultCrypto, peers, peers))
	s.write("network.yaml", fmt.Sprintf(vaultNetwork, v.image))
	s.pivt("install").ok()
	v.connect()
	return v
}

func token() string {
	b := make([]byte, 12)
	if _, err := rand.Read(b); err != nil {
		panic(err)
	}
	return hex.EncodeToString(b)
}

func (v *vault) connect() {
	v.t.Helper()
	l := &lab{site: v.site}
	l.connect()
	v.network, v.access = l.network, l.access
}

// at is the same network seen from another namespace.
func (v *vault) at(s *site) *vault {
	c := *v
	c.site = s
	c.access = &check.Access{Kube: s.kube, Network: v.network, Material: v.access.Material}
	return &c
}

// in is the same network for a subtest.
func (v *vault) in(t testing.TB) *vault {
	return v.at(v.site.in(t))
}

// target appends a backup section to network.yaml.
func (v *vault) target(yaml string) {
	v.t.Helper()
	v.write("network.yaml", fmt.Sprintf(vaultNetwork, v.image)+"backup:\n"+yaml)
}

// s3 says where the S3 server of the test's namespace keeps the backups.
func (v *vault) s3Target(server, bucket string) string {
	return fmt.Sprintf("  target: {type: s3, s3: {endpoint: %q, bucket: %s, region: us-east-1, http: true}}\n", server, bucket)
}

// credentials makes the Secret a backup needs.
func (v *vault) credentials(name string, more map[string]string) {
	v.t.Helper()
	data := map[string]string{"password": v.password, "accessKeyId": accessKey, "secretAccessKey": v.secret}
	for k, value := range more {
		data[k] = value
	}
	_, err := v.core.CoreV1().Namespaces().Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: v.ns}}, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		v.must(err)
	}
	secrets := v.core.CoreV1().Secrets(v.ns)
	_ = secrets.Delete(context.Background(), name, metav1.DeleteOptions{})
	_, err = secrets.Create(context.Background(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: data}, metav1.CreateOptions{})
	v.must(err)
}

// s3Server runs versitygw in the namespace, its buckets on a volume of its own, and returns its
// address. It is no part of the network, so destroying that leaves it.
func (v *vault) s3Server(name, size string) string {
	v.t.Helper()
	v.claim(name, size)
	v.startS3(name)
	_, err := v.core.CoreV1().Services(v.ns).Create(context.Background(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Port: 7070, TargetPort: intstr.FromInt32(7070)}}}}, metav1.CreateOptions{})
	v.must(err)
	return name + "." + v.ns + ":7070"
}

// startS3 starts the server's pod, and returns when it answers.
func (v *vault) startS3(name string) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	no, yes, user := false, true, int64(65532)
	env := func(n, value string) corev1.EnvVar { return corev1.EnvVar{Name: n, Value: value} }
	_, err := v.core.CoreV1().Pods(v.ns).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: &no, TerminationGracePeriodSeconds: new(int64),
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &user, RunAsGroup: &user, FSGroup: &user,
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			// Buckets are directories; versitygw makes none by itself.
			InitContainers: []corev1.Container{{Name: "bucket", Image: "docker.io/library/busybox:1.35.0", ImagePullPolicy: corev1.PullNever,
				Command: []string{"mkdir", "-p", "/data/backups", "/data/others"}, SecurityContext: strict(), VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}}},
			Containers: []corev1.Container{{
				Name: "s3", Image: "docker.io/versity/versitygw:v1.8.0", ImagePullPolicy: corev1.PullNever,
				Args:            []string{"--port", ":7070", "posix", "--nometa", "/data"},
				Env:             []corev1.EnvVar{env("ROOT_ACCESS_KEY", accessKey), env("ROOT_SECRET_KEY", v.secret)},
				Ports:           []corev1.ContainerPort{{ContainerPort: 7070}},
				SecurityContext: strict(),
				ReadinessProbe:  &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(7070)}}, PeriodSeconds: 1},
				VolumeMounts:    []corev1.VolumeMount{{Name: "data", MountPath: "/data"}, {Name: "tmp", MountPath: "/tmp"}},
			}},
			Volumes: []corev1.Volume{
				{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}},
				{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			},
		},
	}, metav1.CreateOptions{})
	v.must(err)
	v.until(ctx, "the S3 server to be ready", func() (bool, error) {
		p, err := v.core.CoreV1().Pods(v.ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				return true, nil
			}
		}
		return false, errors.New(string(p.Status.Phase))
	})
}

func strict() *corev1.SecurityContext {
	no, yes := false, true
	return &corev1.SecurityContext{AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, RunAsNonRoot: &yes,
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}
}

// directory is where the volume of a claim lies on the machine.
func (v *vault) directory(claim string) string {
	v.t.Helper()
	ctx := context.Background()
	c, err := v.core.CoreV1().PersistentVolumeClaims(v.ns).Get(ctx, claim, metav1.GetOptions{})
	v.must(err)
	p, err := v.core.CoreV1().PersistentVolumes().Get(ctx, c.Spec.VolumeName, metav1.GetOptions{})
	v.must(err)
	if p.Spec.HostPath != nil {
		return p.Spec.HostPath.Path
	}
	return p.Spec.Local.Path
}

// gatewayOf connects as User1 of an organisation to one of its peers.
func (v *vault) gatewayOf(node *network.Node) *gateway {
	v.t.Helper()
	return v.gatewayTo(node.Org.Name, node.Org.Domain, node.Name(), client.WithEvaluateTimeout(30*time.Second),
		client.WithEndorseTimeout(20*time.Second), client.WithCommitStatusTimeout(30*time.Second))
}

// entry is what a client wrote and where the network put it.
type entry struct {
	key, value string
	private    bool
	block      uint64
}

// journal is what clients wrote.
type journal struct {
	mu      sync.Mutex
	entries []entry
}

func (j *journal) add(e entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, e)
}

// state is what the world state must be after the blocks below height.
func (j *journal) state(height uint64, private bool) map[string]string {
	j.mu.Lock()
	defer j.mu.Unlock()
	state := map[string]string{}
	for _, e := range j.entries {
		if e.private == private && e.block < height {
			state[e.key] = e.value
		}
	}
	return state
}

func (j *journal) len() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.entries)
}

// writer is an application of an organisation: it knows its peers and goes to the next when one
// does not answer, as the client libraries' documentation asks of applications.
type writer struct {
	v       *vault
	peers   []*gateway
	journal *journal
	at      atomic.Int64 // which peer is asked first
	moved   atomic.Int64 // how often it had to go to another
	resent  atomic.Int64 // how often a transaction had to be handed in again
	slowest atomic.Int64 // nanoseconds of the transaction that took longest
}

func (v *vault) writer(org string, j *journal) *writer {
	v.t.Helper()
	w := &writer{v: v, journal: j}
	for _, node := range v.network.Org(org).Nodes {
		w.peers = append(w.peers, v.gatewayOf(node))
	}
	return w
}

// put writes one key. Each part of a transaction is tried at every peer: what one peer endorsed
// another one can hand in, and a transaction that was handed in twice counts once.
func (w *writer) put(ctx context.Context, key, value string, private bool) error {
	args := []client.ProposalOption{client.WithArguments(key, value)}
	function := "Put"
	if private {
		function = "PutPrivate"
		args = []client.ProposalOption{client.WithArguments(collection, key), client.WithTransient(map[string][]byte{"value": []byte(value)})}
	}
	var tx []byte
	err := w.each(ctx, func(ctx context.Context, g *gateway) error {
		p, err := g.gw.GetNetwork(labChannel).GetContract(storeCC).NewProposal(function, args...)
		if err != nil {
			return err
		}
		t, err := p.EndorseWithContext(ctx)
		if err != nil {
			return err
		}
		tx, err = t.Bytes()
		return err
	})
	if err != nil {
		return fmt.Errorf("endorsing: %w", err)
	}
	committed, err := w.hand(ctx, tx)
	if err != nil {
		return fmt.Errorf("submitting: %w", err)
	}
	if !committed.Successful {
		return fmt.Errorf("transaction %s: code %d", committed.TransactionID, committed.Code)
	}
	w.journal.add(entry{key, value, private, committed.BlockNumber})
	return nil
}

// hand submits a transaction until it is in a block. An orderer says yes when it has queued a
// transaction, and what Raft's leader has queued and not yet proposed is lost when it is stopped: who wants it to count
// hands it in again, and because it is the same transaction it counts once. Each time it waits twice as long:
// what is only slow must not be made slower by more of the same.
func (w *writer) hand(ctx context.Context, tx []byte) (*client.Status, error) {
	var committed *client.Status
	handed := false
	wait := 5 * time.Second
	err := w.each(ctx, func(ctx context.Context, g *gateway) error {
		t, err := g.gw.NewTransaction(tx)
		if err != nil {
			return err
		}
		commit, err := t.SubmitWithContext(ctx)
		if err != nil {
			return err
		}
		if handed {
			w.resent.Add(1)
		}
		handed = true
		once, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		wait = min(2*wait, attempt)
		committed, err = commit.StatusWithContext(once)
		return err
	})
	return committed, err
}

// each asks one peer after the other until one has done it or ctx ends, first the one that answered last.
//
// Patience is needed where a peer is lost without a word: the others think for 25 s that it lives
// (peer.gossip.aliveExpirationTimeout), and again as soon as it is back and does not know its
// channels yet. A gateway leaves the endorsing of private data to its own organisation; of two peers
// the one that is left refuses when the collection's requiredPeerCount falls on the other, which is
// every second time until that one is restored (Fabric's gossip/privdata/distributor.go).
func (w *writer) each(ctx context.Context, do func(context.Context, *gateway) error) error {
	var errs []error
	for i := 1; ; i++ {
		once, cancel := context.WithTimeout(ctx, attempt)
		err := do(once, w.peers[int(w.at.Load())%len(w.peers)])
		cancel()
		if err == nil {
			return nil
		}
		errs = append(errs, detailed(err))
		w.at.Add(1)
		w.moved.Add(1)
		pause := time.Duration(0)
		if i%len(w.peers) == 0 {
			pause = 2 * time.Second
		}
		select {
		case <-ctx.Done():
			return errors.Join(errs...)
		case <-time.After(pause):
		}
	}
}

// detailed shows what the peers behind a gateway said.
func detailed(err error) error {
	return fmt.Errorf("%w %v", err, status.Convert(err).Details())
}

// fill writes n keys from several goroutines, every tenth of them private data.
func (w *writer) fill(prefix string, n, size int) {
	w.v.t.Helper()
	var group sync.WaitGroup
	var failed atomic.Value
	next := make(chan int)
	for range 20 {
		group.Go(func() {
			for i := range next {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				if err := w.put(ctx, fmt.Sprintf("%s%05d", prefix, i), value(size), i%10 == 0); err != nil {
					failed.Store(err)
				}
				cancel()
			}
		})
	}
	began := time.Now()
	for i := range n {
		if failed.Load() != nil {
			break
		}
		next <- i
	}
	close(next)
	group.Wait()
	if err := failed.Load(); err != nil {
		w.v.t.Fatalf("writing %s…: %v", prefix, err)
	}
	w.v.t.Logf("%d transactions of %d bytes in %s", n, size, time.Since(began).Round(time.Second))
}

func value(size int) string {
	b := make([]byte, (size+1)/2)
	if _, err := rand.Read(b); err != nil {
		panic(err)
	}
	return hex.EncodeToString(b)
}

// keepWriting writes one key after the other until stop is called, which says how many there
// were and how many could not be written, with the first reason.
func (w *writer) keepWriting(prefix string) (stop func() (written, failed int, first error)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var written, failed int
	var first error
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			once, end := context.WithTimeout(context.Background(), patience)
			asked := time.Now()
			err := w.put(once, fmt.Sprintf("%s%05d", prefix, i), value(40), i%10 == 0)
			end()
			w.slowest.Store(max(w.slowest.Load(), int64(time.Since(asked))))
			switch {
			case err == nil:
				written++
			default:
				if failed++; first == nil {
					first = err
				}
			}
		}
	}()
	return func() (int, int, error) {
		cancel()
		<-done
		return written, failed, first
	}
}

// hashes are the header hashes of a channel's blocks below height, as a peer has them.
func (g *gateway) hashes(channel string, height uint64) []string {
	g.s.t.Helper()
	var all []string
	for n := range height {
		block := &common.Block{}
		g.s.must(proto.Unmarshal(g.own(channel, "qscc", "GetBlockByNumber", channel, fmt.Sprint(n)), block))
		all = append(all, headerHash(block))
	}
	return all
}

// ordererHashes are the same as an orderer has them.
func (v *vault) ordererHashes(node *network.Node, height uint64) []string {
	v.t.Helper()
	o := v.orderer(node)
	defer o.Close()
	var all []string
	for n := range height {
		block, err := o.Block(context.Background(), labChannel, n)
		if err != nil {
			v.t.Fatalf("%s: reading block %d: %v", node.Name(), n, err)
		}
		all = append(all, headerHash(block))
	}
	return all
}

func (v *vault) orderer(node *network.Node) *fabric.Orderer {
	v.t.Helper()
	org := v.network.PeerOrgs[0]
	user := v.access.Material.Orgs[org.Name].Client
	id, err := fabric.NewIdentity(org.MSPID, user.CertPEM, user.KeyPEM)
	v.must(err)
	o, err := fabric.NewOrderer(fabric.Endpoint{Address: node.Address(), ServerName: node.Name(),
		Roots: [][]byte{v.access.Material.Orgs[node.Org.Name].Public.TLSRoots()},
		Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			return v.kube.Forward(ctx, node.Pod(), network.OrdererPort)
		}}, id)
	v.must(err)
	return o
}

// all reads every key, or every private key, from the state of the gateway's peer.
func (g *gateway) all(private bool) map[string]string {
	g.s.t.Helper()
	function, args := "All", []string(nil)
	if private {
		function, args = "AllPrivate", []string{collection}
	}
	state := map[string]string{}
	g.s.must(json.Unmarshal(g.own(labChannel, storeCC, function, args...), &state))
	return state
}

// names lists nodes by the start of their name.
func (v *vault) names(prefix string) []*network.Node {
	var all []*network.Node
	for _, n := range v.network.Nodes() {
		if strings.HasPrefix(n.Name(), prefix) {
			all = append(all, n)
		}
	}
	return all
}

// headerHash is what the next block names as its predecessor.
func headerHash(b *common.Block) string {
	raw, err := asn1.Marshal(struct {
		Number             *big.Int
		PreviousHash, Data []byte
	}{new(big.Int).SetUint64(b.GetHeader().GetNumber()), b.GetHeader().GetPreviousHash(), b.GetHeader().GetDataHash()})
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}
