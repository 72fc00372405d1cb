// Command pause is the first process of every pod sandbox of the dev cluster.
//
// It keeps the pod's namespaces alive, reaps orphans when the pod shares its process namespace, and leaves at SIGTERM.
// The real pause image cannot be pulled on a machine without a registry; this does the same three things.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		for {
			// One SIGCHLD may stand for several children.
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if pid <= 0 || err != nil {
				break
			}
		}
	}
}
