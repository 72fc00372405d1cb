package launcher

import (
	"context"
	"fmt"
	"net"
	"time"

	"pivt.io/pivt/pkg/exit"
)

// Wait returns when a connection to address, host:port, can be made. It is the init
// container of chaincode pods: network policies and DNS reach a new pod some moments
// after its first packet, and chaincode dials only once.
func Wait(ctx context.Context, address string) error {
	const oneTry, between = time.Second, 50 * time.Millisecond
	dialer := net.Dialer{Timeout: oneTry}
	for {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		t := time.NewTimer(between)
		select {
		case <-ctx.Done():
			t.Stop()
			return exit.With(fmt.Errorf("waiting for %s: %w", address, err), exit.TimedOut)
		case <-t.C:
		}
	}
}
