// Command pivt brings up and runs Hyperledger Fabric networks on Kubernetes.
package main

import (
	"context"
	"os"

	"pivt.io/pivt/pkg/cli"
)

func main() {
	ctx, stop := cli.Interruptible(context.Background())
	code := cli.Run(ctx, cli.OS())
	stop()
	os.Exit(int(code))
}
