package depot

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/exit"
)

// Kinds of failure that callers act upon.
var (
	// ErrAbsent: there is no such package, or it was never put completely.
	ErrAbsent = errors.New("package absent")
	// ErrTaken: the label is another package's.
	ErrTaken = errors.New("label taken by another package")
	// ErrSpoiled: what is stored is not what was put; somebody changed it.
	ErrSpoiled = errors.New("package spoiled")
	// ErrTooLarge: the package is beyond the limit.
	ErrTooLarge = errors.New("package too large")
	// ErrDenied: the API server or the registry refuses.
	ErrDenied = errors.New("denied")
)

// kindError is a sentence of one of the kinds above. The kind itself is not in the text.
type kindError struct {
	text  string
	kind  error
	cause error
}

func (e *kindError) Error() string { return e.text }

func (e *kindError) Unwrap() []error {
	if e.cause == nil {
		return []error{e.kind}
	}
	return []error{e.kind, e.cause}
}

func failed(kind error, format string, args ...any) error {
	return &kindError{text: fmt.Sprintf(format, args...), kind: kind}
}

const pushHint = `run "pivt chaincode push", then repeat this`

func absent(format string, args ...any) error {
	return exit.WithHint(failed(ErrAbsent, format, args...), pushHint)
}

// clusterError tells what an API server may answer differently a moment later from what it will
// not. Whatever is no answer at all is a connection that broke.
func clusterError(ctx context.Context, doing string, err error) error {
	err = fmt.Errorf("%s: %w", doing, err)
	var status apierrors.APIStatus
	switch {
	case ctx.Err() != nil:
		return err
	case !errors.As(err, &status):
		return exit.Transient(err)
	case apierrors.IsForbidden(err):
		return &kindError{text: err.Error(), kind: ErrDenied, cause: err}
	case passes(status.Status()):
		return exit.Transient(err)
	}
	return err
}

func passes(s metav1.Status) bool {
	return s.Code == http.StatusTooManyRequests || s.Code >= http.StatusInternalServerError ||
		s.Reason == metav1.StatusReasonTimeout || s.Reason == metav1.StatusReasonConflict
}
