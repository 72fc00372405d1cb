// Command pivt-pod is the program inside the pivt image, where it is called pivt:
// workflow steps and the chaincode launcher, without Helm and Argo.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"pivt.io/pivt/pkg/cli/pod"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := pod.Main(ctx, pod.Process{
		Name:        os.Args[0],
		Args:        os.Args[1:],
		Env:         os.Getenv,
		Stderr:      os.Stderr,
		Termination: "/dev/termination-log",
	})
	stop()
	os.Exit(int(code))
}
