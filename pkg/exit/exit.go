package exit

import (
	"context"
	"errors"
)

// Code is a process exit status. The table is a contract with scripts and with the
// retry expression of the workflows; docs/exit-codes.md is tested against Codes.
type Code int

// The codes. Anything else a process of ours returns is a failure too.
const (
	OK          Code = 0
	Failed      Code = 1   // the operation failed
	Invalid     Code = 2   // wrong usage or invalid files; nothing was changed
	NotReady    Code = 3   // checks failed, or the network is not in the asked state
	TimedOut    Code = 4   // waiting ended; work may still be going on
	TryAgain    Code = 75  // sysexits' EX_TEMPFAIL: transient, workflows retry on it
	Interrupted Code = 130 // the state is consistent; repeat the command
)

// Codes lists every code with its meaning, in numeric order.
func Codes() []struct {
	Code    Code
	Meaning string
} {
	return []struct {
		Code    Code
		Meaning string
	}{
		{OK, "success, including \"nothing to do\""},
		{Failed, "operation failed"},
		{Invalid, "wrong usage or invalid configuration; nothing was changed"},
		{NotReady, "checks failed, or the network is not in the asked state"},
		{TimedOut, "timed out waiting; work may still be going on"},
		{TryAgain, "transient, try again (steps and launcher)"},
		{Interrupted, "interrupted; state is consistent, repeat the command"},
	}
}

type coded struct {
	error
	code Code
}

func (e *coded) Unwrap() error { return e.error }

type hinted struct {
	error
	hint string
}

func (e *hinted) Unwrap() error { return e.error }

// With attaches a code to err. A code that err already carries wins, because whoever
// was nearer to the cause knew it better. With(nil, …) is nil.
func With(err error, code Code) error {
	if err == nil {
		return nil
	}
	return &coded{err, code}
}

// WithHint attaches one sentence that says how to cure err.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &hinted{err, hint}
}

// Transient marks err as worth another try.
func Transient(err error) error { return With(err, TryAgain) }

// IsTransient reports whether err says "try again".
func IsTransient(err error) bool { return err != nil && CodeOf(err) == TryAgain }

// CodeOf returns the innermost code of err: OK for nil, Interrupted or TimedOut for a
// bare context error, Failed for an error that carries none.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	code := Failed
	switch {
	case errors.Is(err, context.Canceled):
		code = Interrupted
	case errors.Is(err, context.DeadlineExceeded):
		code = TimedOut
	}
	var c *coded
	for e := err; errors.As(e, &c); e = c.error {
		code = c.code
	}
	return code
}

// maxTermination is what Kubernetes keeps of a termination message, in bytes.
const maxTermination = 4096

// Termination is err as a container's termination message: its text, and its hint in a line of its own.
func Termination(err error) string {
	text := err.Error()
	if hint := HintOf(err); hint != "" {
		text += "\nHint: " + hint
	}
	return text[:min(len(text), maxTermination)]
}

// HintOf returns the innermost hint of err, or "".
func HintOf(err error) string {
	hint := ""
	var h *hinted
	for e := err; errors.As(e, &h); e = h.error {
		hint = h.hint
	}
	return hint
}
