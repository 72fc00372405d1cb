package runtime

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"

	"pivt.io/pivt/pkg/transfer"
)

// Source is chaincode to be built.
type Source struct {
	// Label is the package's, for names and messages.
	Label string
	// Hash is the hexadecimal hash of the package's content. Peers of one organisation that
	// build the same hash at the same time share one build.
	Hash string
	// Dir is what the build finds in /chaincode/input.
	Dir string
	// Image is the builder's, Script what /bin/sh runs in it, Env what the script needs.
	Image, Script string
	Env           []corev1.EnvVar
	// CA, if given, is PEM that the build finds in /etc/pivt/ca.crt.
	CA []byte
	// Output is the directory to make of what the build leaves in /chaincode/output. It must
	// not exist or be empty.
	Output string
	// Limits of the output; zero means transfer.DefaultLimits.
	Limits transfer.Limits
	// Deadline of the build; zero means DefaultDeadline.
	Deadline time.Duration
}

// DefaultDeadline is enough for builds that download all they need.
const DefaultDeadline = 10 * time.Minute

// hangTime is how much later than the pod's own deadline a build is given up whose pod
// cannot be seen, or does not end.
const hangTime = 15 * time.Second

// buildCleanUp is how long a build waits for an API server that is away, to leave nothing behind.
// Nobody counts its seconds as a peer does those of a stopping chaincode.
const buildCleanUp = 90 * time.Second

// Build builds chaincode for a peer in a pod, and returns when its output is in place and
// nothing else is left. A build that ends with an error of its own is a *BuildError. If
// another peer of the organisation builds the same at the same time, one of the two builds
// and the other takes its result.
func Build(ctx context.Context, client typed.CoreV1Interface, p Peer, s Source, opts Options) error {
	if opts.Resources.Requests == nil && opts.Resources.Limits == nil {
		opts.Resources = BuildResources()
	}
	if s.Deadline <= 0 {
		s.Deadline = DefaultDeadline
	}
	if opts.Patience == (Patience{}) {
		opts.Patience = DefaultPatience()
		opts.Patience.Start = s.Deadline // nobody waits in a queue, and builders are large to pull
	}
	o := opts.withDefaults()
	b := &builder{client: client, peer: p, source: s, o: o}
	err := b.check()
	if err == nil {
		err = b.build(ctx)
	}
	if err != nil {
		return fmt.Errorf("building chaincode %s: %w", s.Label, err)
	}
	return nil
}

// BuildError is a build that ended with an error of its own: the code is wrong, not the
// cluster. Text says how it ended, and has its last lines.
type BuildError struct{ Text string }

func (e *BuildError) Error() string { return e.Text }

type builder struct {
	client typed.CoreV1Interface
	peer   Peer
	source Source
	o      Options
}

func (b *builder) report(format string, args ...any) { b.o.Report(fmt.Sprintf(format, args...)) }

func (b *builder) check() error {
	if err := b.peer.check(); err != nil {
		return err
	}
	s := &b.source
	if _, err := hex.DecodeString(s.Hash); err != nil || len(s.Hash) < labelHash {
		return fmt.Errorf("%q is no hash of a package", s.Hash)
	}
	for what, value := range map[string]string{
		"label": s.Label, "directory": s.Dir, "builder image": s.Image, "script": s.Script, "output directory": s.Output,
		"pivt image": b.o.Image, "address of the peer": b.peer.IP,
	} {
		if value == "" {
			return fmt.Errorf("no %s", what)
		}
	}
	return nil
}

// alone builds under a name of its own, for nobody else.
func (b *builder) alone(ctx context.Context) error { return b.once(ctx, "") }

// once makes one build pod and sees it through. If others are to get its result, their
// address is in the pod and its name is shared; then a *takenError may say that another peer
// was first.
func (b *builder) once(ctx context.Context, result string) error {
	suffix, err := randomSuffix(b.o.Rand)
	if err != nil {
		return fmt.Errorf("naming the pod: %w", err)
	}
	own := ownName(&b.peer, &b.source, suffix)
	names := buildNames{pod: own, secret: own, result: result}
	if result != "" {
		names.pod = sharedName(&b.peer, &b.source)
	}
	j := newJob(b.client, b.peer, b.o)
	j.name, j.keys, j.noun, j.main, j.voice = names.pod, names.secret, "build", returnName, buildName
	j.marks = labels(&b.peer, componentBuild, b.source.Label, b.source.Hash)
	if j.want, err = shape(buildPod(&b.peer, &b.source, names, &b.o), b.o.Templates); err != nil {
		return err
	}
	server, err := transfer.Listen(j.hosts)
	if err != nil {
		return fmt.Errorf("offering its source: %w", err)
	}
	defer server.Close()
	server.Give(b.source.Dir)
	taken := server.Take(b.source.Output, b.source.Limits)
	ticket, err := json.Marshal(server.Ticket())
	if err != nil {
		return err
	}
	j.data = map[string][]byte{ticketFile: ticket}
	if len(b.source.CA) > 0 {
		j.data[caFile] = b.source.CA
	}
	return b.see(ctx, j, taken)
}

// see creates the job's pod, waits for its output or its end, and deletes it.
func (b *builder) see(ctx context.Context, j *job, taken <-chan error) error {
	swept := j.sweep(ctx)
	made, err := j.create(ctx, swept)
	var other *takenError
	if errors.As(err, &other) {
		return err // nothing here is ours to delete
	}
	if err == nil && ctx.Err() == nil {
		j.report("pod %s created to build with %s", j.name, b.source.Image)
		err = b.result(ctx, j, made, taken)
	}
	if ctx.Err() != nil {
		j.report("asked to stop; deleting pod %s", j.name)
		err = ctx.Err()
	}
	if left := j.cleanUpWithin(ctx, b.o.buildCleanUp); left != nil {
		// The next build or launch of this peer sweeps it, and it ends by itself.
		j.report("%v", left)
	}
	return err
}

// result waits for the first of: the output, the end of the pod, and the end of patience.
// The output counts as soon as it is here, whatever is known of the pod.
func (b *builder) result(ctx context.Context, j *job, made *corev1.Pod, taken <-chan error) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	logs, ended := j.watchOver(watching, made)
	late := time.NewTimer(b.source.Deadline + hangTime)
	defer late.Stop()
	var err error
	select {
	case err = <-taken:
		logs.begin() // its container has ended by now, seen or not
		stop()
		<-ended
	case err = <-ended:
		err = lastMoment(taken, err)
	case <-late.C:
		err = fmt.Errorf("pod %s did not end within %s", j.name, b.source.Deadline)
	}
	if ctx.Err() != nil {
		logs.finish(context.Background(), 0)
		return ctx.Err()
	}
	logs.finish(ctx, drainTime)
	return err
}

// lastMoment prefers the output over the news of the pod's end. What became of it is in taken
// before the pod knows, and can end of it.
func lastMoment(taken <-chan error, end error) error {
	const moment = 5 * time.Second // after a good end, the output is on its last bytes
	wait := moment
	if end != nil {
		wait = 0
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case err := <-taken:
		return err
	default:
	}
	if end != nil {
		return end
	}
	select {
	case err := <-taken:
		return err
	case <-t.C:
		return errors.New("its pod ended without returning its output")
	}
}
