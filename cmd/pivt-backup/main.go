// Command pivt-backup is the second program of the pivt image: the steps of the backup flow and
// the pods that copy nodes' volumes. It alone carries the backup repository's library.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"pivt.io/pivt/pkg/cli/backuppod"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := backuppod.Main(ctx, backuppod.Process{
		Args:        os.Args[1:],
		Env:         os.Getenv,
		Stdout:      os.Stdout,
		Stderr:      os.Stderr,
		Root:        "/run/pivt",
		Termination: "/dev/termination-log",
	})
	stop()
	os.Exit(int(code))
}
