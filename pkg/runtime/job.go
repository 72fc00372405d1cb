package runtime

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"

	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/transfer"
)

// job is one pod and its Secret, from their creation to their deletion: what a run and a
// build have in common.
type job struct {
	pods    typed.PodInterface
	secrets typed.SecretInterface
	events  typed.EventInterface
	peer    Peer
	o       Options
	name    string
	keys    string    // the Secret's name
	uid     types.UID // of the pod, once it is known

	noun  string            // what it is for people
	marks map[string]string // labels of all that is made
	main  string            // the container whose end is the pod's
	voice string            // the container whose log is copied
	want  *corev1.Pod       // the pod to make
	data  map[string][]byte // of its Secret; none at all means no Secret
	hosts transfer.Options  // where transfers listen

	former []corev1.Pod // earlier launches of the chaincode, see retire
}

func newJob(client typed.CoreV1Interface, p Peer, o Options) *job {
	return &job{
		pods:    client.Pods(p.Namespace),
		secrets: client.Secrets(p.Namespace),
		events:  client.Events(p.Namespace),
		peer:    p, o: o,
		hosts: transfer.Options{Host: p.IP, FirstPort: o.Ports[0], LastPort: o.Ports[1], Report: o.Report},
	}
}

func (j *job) report(format string, args ...any) { j.o.Report(fmt.Sprintf(format, args...)) }

// watchOver follows the log and the state of the pod that was made.
func (j *job) watchOver(ctx context.Context, made *corev1.Pod) (logs *logs, ended <-chan error) {
	logs = j.followLogs(ctx)
	result := make(chan error, 1)
	go func() { result <- j.supervise(ctx, made, logs) }()
	return logs, result
}

// Options are what a run or a build may vary. The zero value is what the product uses,
// except that nobody reads the logs then, and that moving code takes Image.
type Options struct {
	// Output gets the standard output and error of chaincode or build, line by line.
	Output io.Writer
	// Report gets one sentence per change: what is waited for, what was found.
	Report func(string)
	// Image is the pivt image, for the containers that move code and wait.
	Image string
	// AwaitNetwork holds the chaincode back until its peer answers, by an init container.
	// That costs a second, and is for networks whose policies reach a new pod some moments
	// after its first packet: shims try only once.
	AwaitNetwork bool
	// Templates shape the pod, later ones over earlier ones.
	Templates []Template
	// Ports is the range for transfers; zero means network.TransferPortFirst and -Last.
	Ports [2]int
	// Resources of the chaincode's container; none at all means DefaultResources, or
	// BuildResources for builds.
	Resources corev1.ResourceRequirements
	// Patience, where zero, is DefaultPatience.
	Patience Patience
	// Process is who makes the objects; zero means the caller.
	Process Process
	// Rand makes the suffix of names; nil means crypto/rand.
	Rand io.Reader

	silence, formerTime, buildCleanUp time.Duration // see the constants; shorter in tests
}

func (o Options) withDefaults() Options {
	if o.Output == nil {
		o.Output = io.Discard
	}
	if o.Report == nil {
		o.Report = func(string) {}
	}
	if o.Ports == ([2]int{}) {
		o.Ports = [2]int{network.TransferPortFirst, network.TransferPortLast}
	}
	if o.Resources.Requests == nil && o.Resources.Limits == nil {
		o.Resources = DefaultResources()
	}
	if o.Patience == (Patience{}) {
		o.Patience = DefaultPatience()
	}
	if o.Process == (Process{}) {
		o.Process = Self()
	}
	if o.silence == 0 {
		o.silence = silence
	}
	if o.buildCleanUp == 0 {
		o.buildCleanUp = buildCleanUp
	}
	if o.formerTime == 0 {
		o.formerTime = formerTime
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	return o
}

func randomSuffix(r io.Reader) (string, error) {
	raw := make([]byte, suffixLength)
	if _, err := io.ReadFull(r, raw); err != nil {
		return "", err
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(raw))[:suffixLength], nil
}
