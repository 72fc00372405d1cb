package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/runtime/runtimetest"
)

const (
	testImage = "example.com/cc@sha256:1111111111111111111111111111111111111111111111111111111111111111"
	testHash  = "2c95a09dc49f512fbe8b8409cf98797fbb0a42455131ee2569678ec5af127e62"
	node      = "hlf-peer--org1--peer0"
	// forever is longer than any test: what ends before has not waited.
	forever = time.Hour
	// promptly is more than any machine needs for what nobody waits for, and less than waiting
	// would take by mistake: for the API server, for dead followers, or for ever.
	promptly = 20 * time.Second
)

func chaincode(label string) Chaincode {
	return Chaincode{
		Image: testImage, ID: label + ":" + testHash, PeerAddress: node + ":7052", MSPID: "Org1MSP",
		RootCert: "root", ClientCert: "cert", ClientKey: "private",
	}
}

func impatient() Patience {
	const soon = 100 * time.Millisecond
	return Patience{Image: soon, Container: soon, Node: soon, Start: forever}
}

func patient() Patience {
	return Patience{Image: forever, Container: forever, Node: forever, Start: forever}
}

// started is a run in the background.
type started struct {
	t      *testing.T
	stop   context.CancelFunc
	result chan error

	mu      sync.Mutex
	output  bytes.Buffer
	reports []string
}

func start(t *testing.T, c *runtimetest.Cluster, cc Chaincode, o Options) *started {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	s := &started{t: t, stop: stop, result: make(chan error, 1)}
	o.Output = s
	o.Report = func(line string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reports = append(s.reports, line)
	}
	client, peer := c.Client(), Peer{Namespace: runtimetest.Namespace, Node: node}
	go func() { s.result <- Run(ctx, client, peer, cc, o) }()
	return s
}

func (s *started) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.Write(b)
}

func (s *started) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.String()
}

func (s *started) story() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.reports, "\n")
}

// wait returns the run's result, which has to come promptly.
func (s *started) wait() error {
	s.t.Helper()
	select {
	case err := <-s.result:
		return err
	case <-time.After(promptly):
		s.t.Fatalf("the run does not end; it said:\n%s", s.story())
		return nil
	}
}

// awaitEmpty waits for what was deleted to be gone.
func awaitEmpty(t *testing.T, c *runtimetest.Cluster) {
	t.Helper()
	c.Await("no pod and no secret", func() bool { return len(c.Pods()) == 0 && len(c.Secrets()) == 0 })
}

// serve is a chaincode that works until it is told to stop.
func serve(ctx context.Context, c runtimetest.Container) int {
	fmt.Fprintln(c.Output, "ready")
	<-ctx.Done()
	return 0
}

func images(p runtimetest.Program) map[string]runtimetest.Program {
	return map[string]runtimetest.Program{testImage: p}
}

func TestRunFails(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		cluster runtimetest.Options
		image   string
		options Options
		want    string
		wantLog string
	}{
		"ImageNotFound": {
			reason:  "Whoever installed the chaincode must read what the registry said, not that something timed out.",
			options: Options{Patience: impatient()},
			want:    `its image cannot be pulled: failed to pull and unpack image "` + testImage + `": failed to resolve reference: ` + testImage + `: not found`,
		},
		"InvalidImageName": {
			reason:  "A name that no registry can have needs no second attempt.",
			image:   "Example.com/CC@sha256:22",
			options: Options{Patience: patient()},
			want:    `its image cannot be pulled: Failed to apply default image tag "Example.com/CC@sha256:22": couldn't parse image name`,
		},
		"Unschedulable": {
			reason:  "The scheduler's words say what the cluster lacks.",
			cluster: runtimetest.Options{Images: images(serve), Memory: 1 << 20},
			options: Options{Patience: impatient()},
			want:    "no node takes it: 0/1 nodes are available: 1 Insufficient memory.",
		},
		"ContainerConfig": {
			reason:  "An image that insists on root is refused by the kubelet and stays so.",
			cluster: runtimetest.Options{Images: images(serve), Broken: "container has runAsNonRoot and image will run as root"},
			options: Options{Patience: impatient()},
			want:    "its container cannot be made: container has runAsNonRoot and image will run as root",
		},
		"Sandbox": {
			reason:  "A node without network shows only in events.",
			cluster: runtimetest.Options{Images: images(serve), Sandbox: "no IP addresses available in range"},
			options: Options{Patience: Patience{Start: 200 * time.Millisecond}},
			want:    "does not run after 200ms: FailedCreatePodSandBox: no IP addresses available in range",
		},
		"ExitsAtOnce": {
			reason: "The last line of a crashed chaincode is the reason; its log has it all, however long the kubelet takes.",
			cluster: runtimetest.Options{LogDelay: 2 * lastWords, Images: images(func(_ context.Context, c runtimetest.Container) int {
				fmt.Fprintln(c.Output, "starting")
				fmt.Fprint(c.Output, "panic: no address")
				return 2
			})},
			options: Options{Patience: patient()},
			want:    "exited with status 2: panic: no address",
			wantLog: "starting\npanic: no address\n",
		},
		"PeerNotReached": {
			reason: "A network policy that keeps the chaincode from its peer must show as such.",
			cluster: runtimetest.Options{Images: map[string]runtimetest.Program{
				testImage: serve,
				"pivt": func(_ context.Context, c runtimetest.Container) int {
					fmt.Fprintln(c.Output, "Error: waiting for hlf-peer--org1--peer0:7052: i/o timeout")
					return 4
				},
			}},
			options: Options{Patience: patient(), Image: "pivt", AwaitNetwork: true},
			want:    "did not reach its peer: Error: waiting for hlf-peer--org1--peer0:7052: i/o timeout",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := runtimetest.New(t, tc.cluster)
			cc := chaincode("basic_1.0")
			if tc.image != "" {
				cc.Image = tc.image
			}
			s := start(t, c, cc, tc.options)
			err := s.wait()
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "chaincode basic_1.0: pod "+node) {
				t.Errorf("%s\nRun = %v\nwant an error with %q", tc.reason, err, tc.want)
			}
			if tc.wantLog != "" && s.log() != tc.wantLog {
				t.Errorf("log = %q, want %q", s.log(), tc.wantLog)
			}
			awaitEmpty(t, c)
		})
	}
}

func TestRunQuota(t *testing.T) {
	t.Parallel()
	slow := func(ctx context.Context, c runtimetest.Container) int {
		<-ctx.Done()
		time.Sleep(200 * time.Millisecond) // its pod counts until it has ended
		return 0
	}
	c := runtimetest.New(t, runtimetest.Options{Images: images(slow), Pods: 1})
	first := start(t, c, chaincode("basic_1.0"), Options{})
	kept := c.AwaitRunning()
	other := chaincode("other_1.0")
	other.ID = "other_1.0:" + strings.Repeat("ab", 32)
	err := start(t, c, other, Options{Patience: patient()}).wait()
	if err == nil || !strings.Contains(err.Error(), "exceeded quota: small") {
		t.Errorf("Run beyond the quota = %v, want the API server's words at once", err)
	}
	// The same chaincode again needs the place of the pod it replaces.
	again := start(t, c, chaincode("basic_1.0"), Options{Patience: patient()})
	c.Await("the second pod of the chaincode", func() bool {
		p := c.Pods()
		return len(p) == 1 && p[0].Name != kept.Name && p[0].Status.Phase == corev1.PodRunning
	})
	if err := first.wait(); err == nil || !strings.Contains(err.Error(), "was deleted by someone else") {
		t.Errorf("the replaced run ended with %v, want that its pod was deleted", err)
	}
	again.stop()
	if err := again.wait(); err != nil {
		t.Error(err)
	}
	awaitEmpty(t, c)
}

func TestRunStops(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		images map[string]runtimetest.Program
		ready  func(*runtimetest.Cluster, *started) bool
	}{
		"Running": {
			reason: "The peer asks for this after an upgrade and when it ends.",
			images: images(serve),
			ready:  func(_ *runtimetest.Cluster, s *started) bool { return s.log() == "ready\n" },
		},
		"Deaf": {
			reason: "Chaincode that ignores SIGTERM must not hold its launcher beyond Fabric's five seconds.",
			ready:  func(_ *runtimetest.Cluster, s *started) bool { return s.log() == "ready\n" },
		},
		"Pulling": {
			reason: "A pod that never ran must go, or it would start when its image arrives.",
			ready:  func(_ *runtimetest.Cluster, s *started) bool { return strings.Contains(s.story(), "cannot be pulled") },
		},
		"AtOnce": {
			reason: "A stop may come before anything was made.",
			ready:  func(*runtimetest.Cluster, *started) bool { return true },
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "Deaf" {
				// A program that can never end would keep the cluster from ending.
				released := make(chan struct{})
				tc.images = images(func(_ context.Context, c runtimetest.Container) int {
					fmt.Fprintln(c.Output, "ready")
					<-released
					return 0
				})
				defer close(released)
			}
			c := runtimetest.New(t, runtimetest.Options{Images: tc.images})
			s := start(t, c, chaincode("basic_1.0"), Options{Patience: patient()})
			c.Await("the moment to stop", func() bool { return tc.ready(c, s) })
			s.stop()
			if err := s.wait(); err != nil {
				t.Errorf("%s\nRun = %v, want nil: it did as it was told", tc.reason, err)
			}
			awaitEmpty(t, c)
		})
	}
}

// TestStopTime: what a stopped run may wait for is over before Fabric kills its launcher. The sum
// is the promise; how long a stop takes here would say how busy this machine is.
func TestStopTime(t *testing.T) {
	t.Parallel()
	const fabric, own = 5 * time.Second, 500 * time.Millisecond // own is for the end of the program
	call := cleanupTime / 3                                     // one that has begun before the stop, see retry
	if all := call + cleanupTime + lastWords; all > fabric-own {
		t.Errorf("a stopped run may wait %s, Fabric kills its launcher after %s", all, fabric)
	}
}

func TestRunStopsWhileAPIIsAway(t *testing.T) {
	t.Parallel()
	c := runtimetest.New(t, runtimetest.Options{Images: images(serve)})
	s := start(t, c, chaincode("basic_1.0"), Options{Process: Process{PID: 1 << 30, Start: "1"}})
	old := c.AwaitRunning()
	c.Away()
	s.stop()
	if err := s.wait(); err == nil { // it does not wait for the server as a build does
		t.Error("Run = nil although the pod is still there")
	}
	c.Back(true)
	if len(c.Pods()) != 1 {
		t.Fatal("the test wants a leftover")
	}
	// Any later run of this peer clears it away, as its process is gone.
	other := chaincode("other_1.0")
	other.ID = "other_1.0:" + strings.Repeat("ab", 32)
	next := start(t, c, other, Options{})
	c.Await("the leftover swept", func() bool {
		p := c.Pods()
		return len(p) == 1 && p[0].Name != old.Name && len(c.Secrets()) == 1
	})
	next.stop()
	if err := next.wait(); err != nil {
		t.Error(err)
	}
}

func TestRunLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	c := runtimetest.New(t, runtimetest.Options{Images: images(serve)})
	first := start(t, c, chaincode("basic_1.0"), Options{})
	kept := c.AwaitRunning()
	other := chaincode("other_1.0")
	other.ID = "other_1.0:" + strings.Repeat("ab", 32)
	second := start(t, c, other, Options{})
	c.Await("two pods", func() bool { return len(c.Pods()) == 2 })
	second.stop()
	if err := second.wait(); err != nil {
		t.Error(err)
	}
	c.Await("one pod", func() bool { return len(c.Pods()) == 1 })
	if got := c.Pods()[0]; got.Name != kept.Name || got.DeletionTimestamp != nil {
		t.Errorf("pod %s of a living launcher was swept", kept.Name)
	}
	first.stop()
	if err := first.wait(); err != nil {
		t.Error(err)
	}
}

func TestRunPodDeleted(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason, eviction, want string
	}{
		"ByHand":  {"A person with kubectl leaves no reason.", "", "was deleted by someone else"},
		"Evicted": {"A drained node does.", "draining node1", "was deleted by EvictionByEvictionAPI: draining node1"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := runtimetest.New(t, runtimetest.Options{Images: images(serve)})
			s := start(t, c, chaincode("basic_1.0"), Options{})
			c.Delete(c.AwaitRunning().Name, tc.eviction)
			var ended *EndedError
			if err := s.wait(); !errors.As(err, &ended) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\nRun = %v, want %q", tc.reason, err, tc.want)
			}
			awaitEmpty(t, c)
		})
	}
}

// TestRunOutage is the chaincode that outlives its API server: it goes on, and each of its
// lines is copied once.
func TestRunOutage(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		break_ func(*runtimetest.Cluster)
		back   func(*runtimetest.Cluster)
	}{
		"Away": {
			reason: "The API server restarts and its watches go on.",
			break_: (*runtimetest.Cluster).Away,
			back:   func(c *runtimetest.Cluster) { c.Back(false) },
		},
		"Forgotten": {
			reason: "After a long outage the watch's version is too old.",
			break_: (*runtimetest.Cluster).Away,
			back:   func(c *runtimetest.Cluster) { c.Back(true) },
		},
		"Cut": {
			reason: "A load balancer drops long connections.",
			break_: (*runtimetest.Cluster).CutConnections,
			back:   func(*runtimetest.Cluster) {},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			speak, spoken := make(chan int), make(chan struct{})
			c := runtimetest.New(t, runtimetest.Options{Images: images(func(ctx context.Context, c runtimetest.Container) int {
				for {
					select {
					case <-ctx.Done():
						return 0
					case n := <-speak:
						if n < 0 {
							return 3
						}
						// Several lines per call share a time stamp, and some calls a second.
						fmt.Fprintf(c.Output, "%d a\n%d b\n%d c\n", n, n, n)
						spoken <- struct{}{}
					}
				}
			})})
			var want strings.Builder
			say := func(n int) {
				speak <- n
				<-spoken
				fmt.Fprintf(&want, "%d a\n%d b\n%d c\n", n, n, n)
			}
			s := start(t, c, chaincode("basic_1.0"), Options{})
			c.AwaitRunning()
			say(1)
			c.Await("the first lines", func() bool { return s.log() == want.String() })
			tc.break_(c)
			say(2)
			say(3)
			tc.back(c)
			c.Await("the lines of the outage", func() bool { return s.log() == want.String() })
			if len(c.Pods()) != 1 || c.Pods()[0].DeletionTimestamp != nil {
				t.Fatalf("%s\nthe pod was deleted; the run said:\n%s", tc.reason, s.story())
			}
			say(4)
			speak <- -1
			if err := s.wait(); err == nil || !strings.Contains(err.Error(), "exited with status 3") {
				t.Errorf("%s\nRun = %v, want the end that was seen after the outage", tc.reason, err)
			}
			if diff := cmp.Diff(want.String(), s.log()); diff != "" {
				t.Errorf("%s\nlog: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		change func(*Chaincode, *Peer)
		want   string
	}{
		"ID":        {"Legacy ids have no hash.", func(c *Chaincode, _ *Peer) { c.ID = "mycc:1.0" }, `chaincode id "mycc:1.0" is not label:hash`},
		"Image":     {"Nothing to run.", func(c *Chaincode, _ *Peer) { c.Image = "" }, "no image"},
		"Address":   {"The shim would say so only in the pod.", func(c *Chaincode, _ *Peer) { c.PeerAddress = "" }, "no peer address"},
		"Key":       {"Half of the credentials are a broken launch.", func(c *Chaincode, _ *Peer) { c.ClientKey = "" }, "certificate without key"},
		"Namespace": {"There is no default that is right.", func(_ *Chaincode, p *Peer) { p.Namespace = "" }, "no namespace"},
		"Node":      {"Pods of two peers could not be told apart.", func(_ *Chaincode, p *Peer) { p.Node = "" }, "no name of the peer"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := runtimetest.New(t, runtimetest.Options{Images: images(serve)})
			cc, peer := chaincode("basic_1.0"), Peer{Namespace: runtimetest.Namespace, Node: node}
			tc.change(&cc, &peer)
			if err := Run(t.Context(), c.Client(), peer, cc, Options{}); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\nRun = %v, want %q", tc.reason, err, tc.want)
			}
			if calls := c.Calls(); len(calls) != 0 {
				t.Errorf("calls %v before the input was checked", calls)
			}
		})
	}
}

func createOptions() metav1.CreateOptions { return metav1.CreateOptions{} }
