package kube

import (
	"context"
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

// Client-go's defaults (5 and 10) would make applying a network's Secrets wait for itself.
const (
	clientQPS   = 50
	clientBurst = 300
)

// paced is a copy of config for one client, which has a pace of its own.
func paced(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.RateLimiter = pace{flowcontrol.NewTokenBucketRateLimiter(clientQPS, clientBurst)}
	return config
}

// pace is client-go's own, but for what it says when time is up: a turn that would come after the
// deadline is refused with an error of no kind (golang.org/x/time/rate), and so is any turn between
// the deadline and the moment its timer fires.
type pace struct{ flowcontrol.RateLimiter }

func (p pace) Wait(ctx context.Context) error {
	err := p.RateLimiter.Wait(ctx)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	return err
}
