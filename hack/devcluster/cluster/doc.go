// Package cluster starts a one-node Kubernetes with Argo Workflows on this machine, and removes it again without a trace.
//
// It does not supervise: what dies stays dead until the next up. It needs no registry, no Docker and no network once its parts are built. The one idea: whatever
// it makes can be found again without remembering that it was made. All files, sockets and mounts lie below one state directory, all processes are in one
// control group, all network devices have fixed names, and a baseline of the machine is written before the first change. So down works after any crash,
// and up begins with it.
package cluster
