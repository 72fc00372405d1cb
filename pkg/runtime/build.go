package runtime

import (
	"context"
	"errors"
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

// Build builds the source of a peer in a pod and returns when its output is in place.
func Build(ctx context.Context, client typed.CoreV1Interface, p Peer, s Source, opts Options) error {
	return errors.New("not built yet")
}

// BuildError is a build that ended with an error of its own: the code is wrong, not the
// cluster. Text has its last lines.
type BuildError struct{ Text string }

func (e *BuildError) Error() string { return e.Text }
