package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"pivt.io/pivt/pkg/exit"
)

// IsUnavailable reports whether err says that the API server cannot answer now but may
// soon: it restarts, is overloaded, or the way to it is interrupted.
func IsUnavailable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	switch {
	case apierrors.IsServerTimeout(err), apierrors.IsTimeout(err), apierrors.IsTooManyRequests(err),
		apierrors.IsServiceUnavailable(err):
		return true
	case apierrors.IsInternalError(err):
		return isPassing(err.Error())
	case utilnet.IsConnectionRefused(err), utilnet.IsConnectionReset(err), utilnet.IsHTTP2ConnectionLost(err),
		utilnet.IsProbableEOF(err), errors.Is(err, io.ErrUnexpectedEOF):
		return true
	}
	var netErr net.Error
	return errors.As(err, &netErr) && netErr.Timeout()
}

// isPassing tells internal errors that time cures (etcd elects a leader, a webhook's pod
// starts) from those that come with the object. Only their words differ.
func isPassing(message string) bool {
	for _, words := range []string{"etcdserver", "failed calling webhook", "connection refused", "connect:", "the server is currently unable", "context deadline exceeded"} {
		if strings.Contains(message, words) {
			return true
		}
	}
	return false
}

// Explain attaches what a person can do about err, if it is one of the API server's usual
// answers.
func Explain(err error) error {
	var dns *net.DNSError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &dns):
		return exit.WithHint(err, "the API server's name is unknown; is the kubeconfig's context the right one?")
	case utilnet.IsConnectionRefused(err):
		return exit.WithHint(err, `the cluster does not answer; is it running? "kubectl cluster-info" shows more`)
	case apierrors.IsUnauthorized(err):
		return exit.WithHint(err, "the kubeconfig's credentials are refused; log in to the cluster again")
	case apierrors.IsForbidden(err):
		return exit.WithHint(err, `the kubeconfig's user lacks a right; "pivt check" lists all that are needed`)
	}
	var u *url.Error
	if errors.As(err, &u) && u.Timeout() {
		return exit.WithHint(err, "the cluster does not answer in time; is the way to it open (VPN, proxy, firewall)?")
	}
	return err
}

// How long and how often a request is tried while the API server is unavailable.
const (
	retryFor   = 20 * time.Second
	retryEvery = 500 * time.Millisecond
)

// retry calls f until it succeeds, fails for good, or the API server has been unavailable
// for retryFor. f must be safe to repeat.
func retry(ctx context.Context, f func() error) error {
	giveUp := time.NewTimer(retryFor)
	defer giveUp.Stop()
	for {
		err := f()
		if !IsUnavailable(err) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last answer: %w", context.Cause(ctx), err)
		case <-giveUp.C:
			return fmt.Errorf("the API server has been unavailable for %s: %w", retryFor, err)
		case <-time.After(retryEvery):
		}
	}
}
