package cli

import (
	"context"
	"fmt"
	"time"
)

// ended is why a command did not come to its own end, in words for the user. To code it is
// the context's error, so nothing else has to know of it.
type ended struct {
	text string
	as   error
}

func (e ended) Error() string { return e.text }

func (e ended) Unwrap() error { return e.as }

var errInterrupted = ended{"interrupted", context.Canceled} //nolint:gochecknoglobals // a constant

// withTimeout is context.WithTimeout for a flag --timeout, which its error names.
func withTimeout(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, ended{fmt.Sprintf("time is up (--timeout %s)", limit), context.DeadlineExceeded})
}
