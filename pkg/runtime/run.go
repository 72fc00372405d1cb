package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"

	"pivt.io/pivt/pkg/transfer"
)

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
	if c.Program != nil && o.Image == "" {
		return fmt.Errorf("running chaincode %s: no pivt image to fetch its code with", c.ID)
	}
	suffix, err := randomSuffix(o.Rand)
	if err != nil {
		return fmt.Errorf("naming the pod of chaincode %s: %w", c.ID, err)
	}
	r := &run{job: newJob(client, p, o), chaincode: c}
	r.name = podName(&p, &c, suffix)
	r.keys = r.name
	r.noun, r.main, r.voice = "chaincode", containerName, containerName
	r.marks = labels(&p, componentChaincode, c.Label(), c.hash())
	if err := r.run(ctx); err != nil {
		return fmt.Errorf("chaincode %s: %w", c.Label(), err)
	}
	return nil
}

// run is one run of one chaincode.
type run struct {
	*job
	chaincode Chaincode
}

func (r *run) run(ctx context.Context) error {
	give, err := r.offer()
	if err != nil {
		return err
	}
	defer give()
	if r.want, err = shape(pod(&r.peer, &r.chaincode, r.name, &r.o), r.o.Templates); err != nil {
		return err
	}
	swept := r.sweep(ctx)
	made, err := r.create(ctx, swept)
	if err != nil || ctx.Err() != nil {
		left := r.clear(r.retire()) // nobody else will retire them, and the peer may not ask again
		if ctx.Err() != nil {
			return left
		}
		return err
	}
	r.report("pod %s created from %s", r.name, r.chaincode.Image)
	retireNow := r.retire()
	logs, ended := r.watchOver(ctx, made)
	err = <-ended
	if ctx.Err() == nil {
		logs.finish(ctx, drainTime) // a deleted pod has no log
	}
	if ctx.Err() != nil {
		r.report("asked to stop; deleting pod %s", r.name)
		err = nil
	}
	left := r.clear(retireNow)
	logs.finish(context.Background(), lastWords)
	if err != nil {
		return err
	}
	return left
}

// clear deletes what this run and earlier launches of its chaincode have made, side by side: the
// time of cleanupTime is there once.
func (r *run) clear(retireNow func()) error {
	retired := make(chan struct{})
	go func() { defer close(retired); retireNow() }()
	left := r.cleanUp()
	<-retired
	return left
}

// offer makes the pod's Secret, and starts to offer the chaincode's code if there is any.
// The offer ends when the pod has the code: nobody needs the port any longer.
func (r *run) offer() (end func(), err error) {
	r.data = keys(&r.chaincode)
	program := r.chaincode.Program
	if program == nil {
		return func() {}, nil
	}
	server, err := transfer.Listen(r.hosts)
	if err != nil {
		return nil, fmt.Errorf("offering its code: %w", err)
	}
	ticket, err := json.Marshal(server.Ticket())
	if err != nil {
		return nil, err
	}
	r.data[ticketFile] = ticket
	given := server.Give(program.Dir)
	over, closed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(closed)
		select {
		case <-given:
		case <-over:
		}
		_ = server.Close()
	}()
	return func() { close(over); <-closed }, nil
}

// supervise follows the pod until it ends. It never gives up on a pod that has run: the
// chaincode talks to its peer, and a build to us, whether or not the API server answers.
func (r *job) supervise(ctx context.Context, made *corev1.Pod, logs *logs) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seen := r.follow(ctx, made)
	v := vigil{job: r, limit: time.Now().Add(r.o.Patience.Start)}
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
				return &EndedError{Text: fmt.Sprintf("pod %s was deleted by someone else", r.name), Deleted: true}
			}
			s := look(now, r.main, r.o.Patience)
			if s.stage == ended || speaks(now, r.voice) {
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
