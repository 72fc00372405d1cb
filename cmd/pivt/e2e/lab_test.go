//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/check"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

const (
	labChannel = "mychannel"
	labPeer    = "hlf-peer--org1--peer0"
	chaincodes = "app.kubernetes.io/component=chaincode"
	buildPods  = "app.kubernetes.io/component=chaincode-build"
)

// lab is a small network, one orderer and one organisation, on which single chaincodes are
// defined by hand: what runs chaincode is under test here and not what installs it.
type lab struct {
	*site
	network *network.Network
	access  *check.Access
	admin   *fabric.Peer
	image   string // of the chaincode that goes wrong on request
}

const labFiles = `OrdererOrgs:
  - {Name: Orderer, Domain: example.com, EnableNodeOUs: true, Specs: [{Hostname: orderer0}]}
PeerOrgs:
  - {Name: Org1, Domain: org1.example.com, EnableNodeOUs: true, Template: {Count: %d}}
`

// newLab brings the network up with one chaincode, "good". Values are more of network.yaml.
func newLab(t testing.TB, ns string, peers int, values string) *lab {
	t.Helper()
	s := newSite(t, ns)
	l := &lab{site: s, image: s.imageRef("pivt/faulty")}
	s.write("crypto-config.yaml", fmt.Sprintf(labFiles, peers))
	s.write("network.yaml", fmt.Sprintf(`hyperledgerVersion: "3.1.1"
network:
  channels: [{name: %s, orgs: [Org1]}]
  chaincodes:
    - {name: good, version: "1.0", image: %q, channels: [{name: %s}], smoke: {function: Get, args: [a]}}
%s`, labChannel, l.image, labChannel, values))
	s.pivt("install").ok()
	l.connect()
	return l
}

// in is the same lab for a subtest, which must not end another test than itself.
func (l *lab) in(t testing.TB) *lab {
	c := *l
	c.site = l.site.in(t)
	return &c
}

// connect reads the files and opens the admin's connection.
func (l *lab) connect() {
	l.t.Helper()
	var sources []network.Source
	for _, name := range []string{"crypto-config.yaml", "network.yaml"} {
		data, err := os.ReadFile(filepath.Join(l.dir, name))
		l.must(err)
		sources = append(sources, network.Source{Name: name, Data: data})
	}
	n, _, err := network.Load(sources, nil)
	l.must(err)
	m, err := pki.Load(filepath.Join(l.dir, "crypto-config"), n)
	l.must(err)
	l.network, l.access = n, &check.Access{Kube: l.kube, Network: n, Material: m}
	l.admin, err = l.access.Peer(n.PeerOrgs[0].Nodes[0], check.AsAdmin)
	l.must(err)
	l.t.Cleanup(l.admin.Close)
}

// imageRef is name@digest of an image that the node has.
func (s *site) imageRef(name string) string {
	s.t.Helper()
	nodes, err := s.core.CoreV1().Nodes().List(context.Background(), metav1.ListOptions{})
	s.must(err)
	for _, node := range nodes.Items {
		for _, image := range node.Status.Images {
			for _, full := range image.Names {
				if _, ref, ok := strings.Cut(full, "docker.io/"); ok && strings.HasPrefix(ref, name+"@") {
					return ref
				}
			}
		}
	}
	s.t.Fatalf("no node has image %s; \"make cluster-up\" brings it", name)
	return ""
}

// define installs, approves and commits a chaincode of the faulty image.
func (l *lab) define(name, image string) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	org := l.network.PeerOrgs[0]
	cc := &network.Chaincode{Name: name, Version: "1.0", Image: image, Orgs: []*network.Org{org}}
	pkg, err := chaincode.Package(cc, org)
	l.must(err)
	_, err = l.admin.Install(ctx, pkg)
	l.must(err)
	d := chaincode.Definition{Name: name, Sequence: 1, Parameters: chaincode.Parameters{Version: "1.0"}}
	l.must(l.admin.Approve(ctx, labChannel, d, chaincode.PackageID(cc.Label(), pkg)))
	l.must(l.admin.Commit(ctx, labChannel, d))
}

// call evaluates a function of a chaincode within limit.
func (l *lab) call(limit time.Duration, cc, function string, args ...string) (string, time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	began := time.Now()
	answer, err := l.admin.Evaluate(ctx, labChannel, cc, function, args...)
	return string(answer), time.Since(began), err
}

// mustCall repeats a call until it is answered: a peer notices the loss of a chaincode with the
// next call at the earliest.
func (l *lab) mustCall(limit time.Duration, cc, function string, args ...string) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	l.until(ctx, function+" of "+cc, func() (bool, error) {
		_, _, err := l.call(limit, cc, function, args...)
		return err == nil, err
	})
}

// pod waits for the one running pod of a chaincode.
func (l *lab) pod(cc string) corev1.Pod {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var found corev1.Pod
	l.until(ctx, "one running pod of "+cc, func() (bool, error) {
		n := 0
		for _, p := range l.pods(chaincodes + ",pivt.io/chaincode=" + cc + "_1.0") {
			found, n = p, n+1
		}
		return n == 1 && found.Status.Phase == corev1.PodRunning && found.DeletionTimestamp == nil, fmt.Errorf("%d pods", n)
	})
	return found
}

// awaitGone waits until there is no pod or Secret of the selector: the kubelet and the garbage
// collector take the time they take.
func (l *lab) awaitGone(selector string) {
	l.t.Helper()
	l.eventually("no object of "+selector, func() (bool, error) {
		secrets, err := l.core.CoreV1().Secrets(l.ns).List(context.Background(), metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return false, err
		}
		n := len(secrets.Items) + len(l.pods(selector))
		return n == 0, fmt.Errorf("%d objects", n)
	})
}

// peerLog is what a peer has logged since the container's start.
func (l *lab) peerLog(pod string) string {
	l.t.Helper()
	b, err := l.core.CoreV1().Pods(l.ns).GetLogs(pod, &corev1.PodLogOptions{Container: "peer"}).DoRaw(context.Background())
	l.must(err)
	return string(b)
}

// awaitLog waits until one of the peers has logged a text since its container's start. What a
// launcher finds out about its pod may come after the peer's answer to who called the chaincode.
func (l *lab) awaitLog(text string) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	l.until(ctx, fmt.Sprintf("%q in a peer's log", text), func() (bool, error) {
		for _, node := range l.network.PeerOrgs[0].Nodes {
			if strings.Contains(l.peerLog(node.Pod()), text) {
				return true, nil
			}
		}
		return false, nil
	})
}

// hostProcess is one process of the lab's peer, seen from the machine the node runs on.
type hostProcess struct {
	pid  int
	args []string
}

// processes lists the peer's processes by the base name of their program.
func (l *lab) processes(name string) []hostProcess {
	l.t.Helper()
	var all []hostProcess
	dirs, err := filepath.Glob("/proc/[0-9]*")
	l.must(err)
	for _, dir := range dirs {
		cmd, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(cmd) == 0 {
			continue
		}
		args := strings.Split(strings.TrimRight(string(cmd), "\x00"), "\x00")
		if filepath.Base(args[0]) != name {
			continue
		}
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil || !slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool { return string(v) == "PIVT_NAMESPACE="+l.ns }) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		l.must(err)
		all = append(all, hostProcess{pid, args})
	}
	return all
}

// killAll sends SIGKILL to all of the peer's processes with a name and says how many there were.
func (l *lab) killAll(name string) int {
	l.t.Helper()
	found := l.processes(name)
	for _, p := range found {
		if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			l.t.Fatal(err)
		}
	}
	return len(found)
}

// peakMemory is the most resident memory a process has had, in bytes.
func (p hostProcess) peakMemory() int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				return 0
			}
			return kb << 10
		}
	}
	return 0
}
