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
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
)

// Options are what a run may vary. The zero value is what the product uses, except that
// nobody reads the logs then.
type Options struct {
	// Output gets the chaincode's standard output and error, line by line.
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
}

func (o Options) withDefaults() Options {
	if o.Output == nil {
		o.Output = io.Discard
	}
	if o.Report == nil {
		o.Report = func(string) {}
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
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	return o
}

const (
	// deleteGrace is how many seconds a chaincode gets between SIGTERM and SIGKILL. It has
	// no state to save; Fabric gives the whole launcher five.
	deleteGrace = 1
	// cleanupTime is what remains for deleting after a stop: Fabric kills five seconds
	// after it asked, and the program has to end in between.
	cleanupTime = 3 * time.Second
	// drainTime is how long a run waits for the last lines of an ended chaincode, and
	// lastWords the same for one that was asked to stop.
	drainTime = 3 * time.Second
	lastWords = 300 * time.Millisecond
)

// Run runs the chaincode of a peer until its pod ends or ctx is cancelled, and deletes
// what it made either way. A cancelled ctx is a wish, not a failure: the result is nil,
// unless something could not be deleted.
func Run(ctx context.Context, client typed.CoreV1Interface, p Peer, c Chaincode, opts Options) error {
	o := opts.withDefaults()
	if err := p.check(); err != nil {
		return fmt.Errorf("running chaincode %s: %w", c.ID, err)
	}
	if err := c.check(); err != nil {
		return fmt.Errorf("running chaincode %s: %w", c.ID, err)
	}
	suffix, err := randomSuffix(o.Rand)
	if err != nil {
		return fmt.Errorf("naming the pod of chaincode %s: %w", c.ID, err)
	}
	r := &run{
		pods:    client.Pods(p.Namespace),
		secrets: client.Secrets(p.Namespace),
		events:  client.Events(p.Namespace),
		peer:    p, chaincode: c, o: o,
		name: podName(&p, &c, suffix),
	}
	if err := r.run(ctx); err != nil {
		return fmt.Errorf("chaincode %s: %w", c.Label(), err)
	}
	return nil
}

// run is one run of one chaincode.
type run struct {
	pods      typed.PodInterface
	secrets   typed.SecretInterface
	events    typed.EventInterface
	peer      Peer
	chaincode Chaincode
	o         Options
	name      string
}

func (r *run) report(format string, args ...any) { r.o.Report(fmt.Sprintf(format, args...)) }

func (r *run) run(ctx context.Context) error {
	swept := r.sweep(ctx)
	made, err := r.create(ctx, swept)
	if err != nil || ctx.Err() != nil {
		left := r.cleanUp()
		if ctx.Err() != nil {
			return left
		}
		return err
	}
	r.report("pod %s created from %s", r.name, r.chaincode.Image)
	logs := r.followLogs(ctx)
	err = r.supervise(ctx, made, logs)
	if ctx.Err() == nil {
		logs.finish(ctx, drainTime) // a deleted pod has no log
	}
	if ctx.Err() != nil {
		r.report("asked to stop; deleting pod %s", r.name)
		err = nil
	}
	left := r.cleanUp()
	logs.finish(context.Background(), lastWords)
	if err != nil {
		return err
	}
	return left
}

// supervise follows the pod until it ends. It never gives up on a pod that has run: the
// chaincode talks to its peer whether or not the API server answers us.
func (r *run) supervise(ctx context.Context, made *corev1.Pod, logs *logs) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seen := r.follow(ctx, made)
	v := vigil{run: r, limit: time.Now().Add(r.o.Patience.Start)}
	alarm := time.NewTimer(r.o.Patience.Start)
	defer alarm.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-alarm.C:
			if err := v.expired(); err != nil {
				return err
			}
		case now, open := <-seen:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !open {
				return &EndedError{Text: fmt.Sprintf("pod %s was deleted by someone else", r.name)}
			}
			s := look(now, r.o.Patience)
			if s.stage != starting {
				logs.begin()
			}
			if s.stage == ended {
				return v.ended(now, s)
			}
			if until, changed := v.saw(now, s, time.Now()); changed {
				alarm.Reset(time.Until(until))
			}
		}
	}
}

func randomSuffix(r io.Reader) (string, error) {
	raw := make([]byte, suffixLength)
	if _, err := io.ReadFull(r, raw); err != nil {
		return "", err
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(raw))[:suffixLength], nil
}
