package runtime

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"pivt.io/pivt/pkg/runtime/runtimetest"
)

// orgPeers are peers of one organisation.
func orgPeers(t *testing.T, c *runtimetest.Cluster, n int) []Peer {
	t.Helper()
	org := runtimetest.NewOrg(t)
	var out []Peer
	for i := range n {
		p := localPeer(fmt.Sprintf("hlf-peer--org1--peer%d", i))
		p.Org, p.Pod = "org1", p.Node+"-0"
		p.UID = c.AddPeer(p.Pod)
		p.TLS.Cert, p.TLS.Key, p.TLS.Roots = org.Peer(p.Node)
		out = append(out, p)
	}
	return out
}

// counting counts how often it builds.
func counting(n *atomic.Int32, p runtimetest.Program) runtimetest.Program {
	return func(ctx context.Context, c runtimetest.Container) int {
		n.Add(1)
		return p(ctx, c)
	}
}

// awaitBuilding waits for the pod of the build whose container runs.
func awaitBuilding(c *runtimetest.Cluster) *corev1.Pod {
	var found *corev1.Pod
	c.Await("a build that runs", func() bool {
		for _, p := range c.Pods() {
			s, ok := containerState(p.Status.InitContainerStatuses, buildName)
			if ok && s.Running != nil && p.DeletionTimestamp == nil {
				found = p
				return true
			}
		}
		return false
	})
	return found
}

// TestShareSameInstant: three peers install one package at the same moment; one builds.
func TestShareSameInstant(t *testing.T) {
	t.Parallel()
	var count atomic.Int32
	goOn := make(chan struct{})
	c := runtimetest.New(t, runtimetest.Options{Images: builders(counting(&count, waitFor(goOn)))})
	var builds []*built
	for _, p := range orgPeers(t, c, 3) {
		builds = append(builds, startBuild(t, c, p, source(t, goodScript), Options{}))
	}
	c.AwaitFollowers(2)
	close(goOn)
	for _, b := range builds {
		if err := b.wait(); err != nil {
			t.Fatalf("%v\n%s", err, b.story())
		}
		if diff := cmp.Diff(goodOutput(), b.tree()); diff != "" {
			t.Errorf("output: -want, +got:\n%s", diff)
		}
	}
	if n := count.Load(); n != 1 {
		t.Errorf("%d builds, want one", n)
	}
	awaitEmpty(t, c)
}

// TestShareFailure: what the compiler said reaches the followers word for word.
func TestShareFailure(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	var count atomic.Int32
	c := runtimetest.New(t, runtimetest.Options{Images: builders(counting(&count, waitFor(goOn)))})
	peers := orgPeers(t, c, 2)
	script := "echo './main.go:3: syntax error' >&2; exit 2"
	winner := startBuild(t, c, peers[0], source(t, script), Options{})
	awaitBuilding(c)
	follower := startBuild(t, c, peers[1], source(t, script), Options{})
	c.AwaitFollowers(1)
	close(goOn)
	const want = "building chaincode My_CC.v1+rc: the build exited with status 2:\nwaiting\n./main.go:3: syntax error"
	for who, b := range map[string]*built{"winner": winner, "follower": follower} {
		err := b.wait()
		var failed *BuildError
		if !errors.As(err, &failed) || err.Error() != want {
			t.Errorf("%s: %v, want %s", who, err, want)
		}
	}
	if n := count.Load(); n != 1 {
		t.Errorf("%d builds, want one: it would fail again", n)
	}
	awaitEmpty(t, c)
}

// TestShareOtherOrg: organisations do not trust one another's builds.
func TestShareOtherOrg(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	var count atomic.Int32
	c := runtimetest.New(t, runtimetest.Options{Images: builders(counting(&count, waitFor(goOn)))})
	one, two := orgPeers(t, c, 1)[0], localPeer("hlf-peer--org2--peer0")
	two.Org = "org2"
	two.TLS.Cert, two.TLS.Key, two.TLS.Roots = runtimetest.NewOrg(t).Peer(two.Node)
	builds := []*built{startBuild(t, c, one, source(t, goodScript), Options{}), startBuild(t, c, two, source(t, goodScript), Options{})}
	c.Await("two builds", func() bool { return count.Load() == 2 })
	close(goOn)
	for _, b := range builds {
		if err := b.wait(); err != nil {
			t.Error(err)
		}
	}
	awaitEmpty(t, c)
}

// TestShareWinnerKilled: a peer's process dies while another waits for it. The other one
// notices by the closed port and not by the silence, takes the name over and builds.
func TestShareWinnerKilled(t *testing.T) {
	t.Parallel()
	var count atomic.Int32
	goOn := make(chan struct{})
	c := runtimetest.New(t, runtimetest.Options{Images: builders(counting(&count, waitFor(goOn)))})
	peers := orgPeers(t, c, 3)
	winner := startProcess(t, c, peers[0], source(t, goodScript), nil)
	old := awaitBuilding(c)
	var followers []*built
	for _, p := range peers[1:] {
		followers = append(followers, startBuild(t, c, p, source(t, goodScript), Options{silence: forever}))
	}
	c.AwaitFollowers(2)
	if err := winner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Await("another build", func() bool { return count.Load() == 2 && awaitBuilding(c).UID != old.UID })
	c.AwaitFollowers(1) // one of the two has begun, and must not end before the other has found it
	close(goOn)
	for _, b := range followers {
		if err := b.wait(); err != nil {
			t.Fatalf("%v\n%s", err, b.story())
		}
		if diff := cmp.Diff(goodOutput(), b.tree()); diff != "" {
			t.Errorf("output: -want, +got:\n%s", diff)
		}
	}
	if n := count.Load(); n != 2 {
		t.Errorf("%d builds, want the lost one and one more", n)
	}
	awaitEmpty(t, c)
}

// TestSharePeerGone: the peer's pod is deleted, with all that it owns.
func TestSharePeerGone(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	c := runtimetest.New(t, runtimetest.Options{Images: builders(waitFor(goOn))})
	peers := orgPeers(t, c, 2)
	winner := startProcess(t, c, peers[0], source(t, goodScript), nil)
	awaitBuilding(c)
	follower := startBuild(t, c, peers[1], source(t, goodScript), Options{})
	c.AwaitFollowers(1)
	_ = winner.Process.Kill()
	c.RemovePeer(peers[0].Pod)
	close(goOn)
	if err := follower.wait(); err != nil {
		t.Fatalf("%v\n%s", err, follower.story())
	}
	awaitEmpty(t, c)
}

// TestShareWinnerStopped: a peer that shuts down tells nobody that the build failed.
func TestShareWinnerStopped(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	c := runtimetest.New(t, runtimetest.Options{Images: builders(waitFor(goOn))})
	peers := orgPeers(t, c, 2)
	winner := startBuild(t, c, peers[0], source(t, goodScript), Options{})
	awaitBuilding(c)
	follower := startBuild(t, c, peers[1], source(t, goodScript), Options{})
	c.AwaitFollowers(1)
	begun := time.Now()
	winner.stop()
	if err := winner.wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("the stopped build ended with %v", err)
	}
	if took := time.Since(begun); took > promptly {
		t.Errorf("stopping took %s", took)
	}
	close(goOn)
	if err := follower.wait(); err != nil {
		t.Fatalf("%v\n%s", err, follower.story())
	}
	awaitEmpty(t, c)
}

// TestShareFollowerKilled: a build is not held up by who waits for it no longer.
func TestShareFollowerKilled(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	c := runtimetest.New(t, runtimetest.Options{Images: builders(waitFor(goOn))})
	peers := orgPeers(t, c, 2)
	winner := startBuild(t, c, peers[0], source(t, goodScript), Options{})
	awaitBuilding(c)
	follower := startProcess(t, c, peers[1], source(t, goodScript), nil)
	c.AwaitFollowers(1)
	_ = follower.Process.Kill()
	_ = follower.Wait()
	close(goOn)
	begun := time.Now()
	if err := winner.wait(); err != nil {
		t.Fatalf("%v\n%s", err, winner.story())
	}
	if took := time.Since(begun); took > promptly {
		t.Errorf("the build ended %s after its work", took)
	}
	awaitEmpty(t, c)
}

// TestShareStranger: the peers' certificates do not fit together. Nobody ends the other's
// build; each has its own.
func TestShareStranger(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	c := runtimetest.New(t, runtimetest.Options{Images: builders(waitFor(goOn))})
	peers := orgPeers(t, c, 2)
	winner := startBuild(t, c, peers[0], source(t, goodScript), Options{})
	awaitBuilding(c)
	other := peers[1]
	other.TLS.Cert, other.TLS.Key, other.TLS.Roots = runtimetest.NewOrg(t).Peer(other.Node)
	follower := startBuild(t, c, other, source(t, goodScript), Options{})
	c.Await("two builds", func() bool { return len(c.Pods()) == 2 })
	close(goOn)
	for _, b := range []*built{winner, follower} {
		if err := b.wait(); err != nil {
			t.Fatalf("%v\n%s", err, b.story())
		}
		if diff := cmp.Diff(goodOutput(), b.tree()); diff != "" {
			t.Errorf("output: -want, +got:\n%s", diff)
		}
	}
	if strings.Contains(winner.story(), "building again") {
		t.Errorf("the first peer lost its pod:\n%s", winner.story())
	}
	awaitEmpty(t, c)
}

// TestShareSilent: a node that is cut off keeps its connections and says nothing. The
// follower takes the name over.
func TestShareSilent(t *testing.T) {
	t.Parallel()
	c := runtimetest.New(t, runtimetest.Options{Images: builders(runtimetest.Shell)})
	p := orgPeers(t, c, 1)[0]
	mute, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	s := source(t, goodScript)
	o := Options{Image: pivtImage, Process: Process{PID: 1, Start: "1"}}.withDefaults()
	other := Peer{Namespace: p.Namespace, Node: "hlf-peer--org1--peer9", Org: "org1"}
	stuck := buildPod(&other, &s, buildNames{pod: sharedName(&p, &s), secret: "none", result: mute.Addr().String()}, &o)
	if _, err := c.Client().Pods(p.Namespace).Create(t.Context(), stuck, createOptions()); err != nil {
		t.Fatal(err)
	}
	b := startBuild(t, c, p, s, Options{silence: time.Second})
	if err := b.wait(); err != nil {
		t.Fatalf("%v\n%s", err, b.story())
	}
	if !strings.Contains(b.story(), "hlf-peer--org1--peer9 does not answer") {
		t.Errorf("the build said:\n%s", b.story())
	}
	awaitEmpty(t, c)
}

// TestShareLost: somebody deletes the pod of a build, be it a follower that took its peer
// for dead. The build is made again, for this peer alone.
func TestShareLost(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	c := runtimetest.New(t, runtimetest.Options{Images: builders(waitFor(goOn))})
	b := startBuild(t, c, orgPeers(t, c, 1)[0], source(t, goodScript), Options{})
	c.Delete(awaitBuilding(c).Name, "")
	close(goOn)
	if err := b.wait(); err != nil {
		t.Fatalf("%v\n%s", err, b.story())
	}
	if !strings.Contains(b.story(), "was deleted by someone else; building again") {
		t.Errorf("the build said:\n%s", b.story())
	}
	awaitEmpty(t, c)
}

// TestShareLeftover: a process was killed, and the next build of the same peer finds its pod
// under the name that it wants itself.
func TestShareLeftover(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	c := runtimetest.New(t, runtimetest.Options{Images: builders(waitFor(goOn))})
	p := orgPeers(t, c, 1)[0]
	dead := startProcess(t, c, p, source(t, goodScript), nil)
	awaitBuilding(c)
	_ = dead.Process.Kill()
	_ = dead.Wait()
	b := startBuild(t, c, p, source(t, goodScript), Options{})
	c.Await("the leftover swept", func() bool { return strings.Contains(b.story(), "its launcher is gone") })
	close(goOn)
	if err := b.wait(); err != nil {
		t.Fatalf("%v\n%s", err, b.story())
	}
	awaitEmpty(t, c)
}

// TestShareForeignPod: somebody else's pod has the name.
func TestShareForeignPod(t *testing.T) {
	t.Parallel()
	c := runtimetest.New(t, runtimetest.Options{Images: builders(runtimetest.Shell)})
	p := orgPeers(t, c, 1)[0]
	s := source(t, goodScript)
	o := Options{Image: pivtImage, Process: Process{PID: 1, Start: "1"}}.withDefaults()
	other := Peer{Namespace: p.Namespace, Node: "hlf-peer--org1--peer9", Org: "org1"}
	foreign := buildPod(&other, &s, buildNames{pod: sharedName(&p, &s), secret: "none"}, &o)
	if _, err := c.Client().Pods(p.Namespace).Create(t.Context(), foreign, createOptions()); err != nil {
		t.Fatal(err)
	}
	b := startBuild(t, c, p, s, Options{})
	if err := b.wait(); err != nil {
		t.Fatalf("%v\n%s", err, b.story())
	}
	c.Await("only the foreign pod, untouched", func() bool {
		pods := c.Pods()
		return len(pods) == 1 && pods[0].Name == foreign.Name && pods[0].DeletionTimestamp == nil
	})
	if left, err := os.ReadDir(filepath.Dir(b.output)); err != nil || len(left) != 1 {
		t.Errorf("beside the output: %v, %v", left, err)
	}
}
