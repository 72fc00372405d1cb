package kube

import (
	"context"
	"io"

	corev1 "k8s.io/api/core/v1"
)

// LogOptions choose what Logs returns.
type LogOptions struct {
	Container string // may be empty for pods with one container
	Follow    bool   // go on until the container ends
	Previous  bool   // of the run before the last restart
	Tail      int64  // lines from the end; 0 means all
	Limit     int64  // bytes; 0 means all
}

// Logs opens the log of a container in the client's namespace.
func (c *Client) Logs(ctx context.Context, pod string, o LogOptions) (io.ReadCloser, error) {
	options := &corev1.PodLogOptions{Container: o.Container, Follow: o.Follow, Previous: o.Previous}
	if o.Tail > 0 {
		options.TailLines = &o.Tail
	}
	if o.Limit > 0 {
		options.LimitBytes = &o.Limit
	}
	r, err := c.core.CoreV1().Pods(c.namespace).GetLogs(pod, options).Stream(ctx)
	return r, wrap(err, "reading the log of pod/%s", pod)
}
