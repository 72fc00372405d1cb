// Command pivt brings up and runs Hyperledger Fabric networks on Kubernetes.
package main

import (
	"context"
	"io"
	"os"

	"k8s.io/klog/v2"

	"pivt.io/pivt/pkg/cli"
)

func main() {
	// client-go's own log would break into the story that pivt tells; its errors are returned anyway.
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	ctx, stop := cli.Interruptible(context.Background())
	code := cli.Run(ctx, cli.OS())
	stop()
	os.Exit(int(code))
}
