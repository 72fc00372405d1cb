// Command pivt brings up and runs Hyperledger Fabric networks on Kubernetes.
package main

import (
	"context"
	"io"
	"log"
	"os"

	"k8s.io/klog/v2"

	"pivt.io/pivt/pkg/cli"
)

func main() {
	// client-go's and Helm's own logs would break into the story that pivt tells; their errors are returned anyway.
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	log.SetOutput(io.Discard)
	ctx, stop := cli.Interruptible(context.Background())
	code := cli.Run(ctx, cli.OS())
	stop()
	os.Exit(int(code))
}
