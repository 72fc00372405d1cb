// Package runtime builds and runs chaincode as pods, each for one peer, on the Kubernetes
// API alone.
//
// It is not a scheduler and keeps no state: Run and Build are supervisors of exactly one pod,
// as a parent is of a process. They return when the pod has ended, with the kubelet's own
// reason, and whenever they return the pod is gone. The cluster is only read to see what
// became of that pod, so an API server that is away for an hour costs nothing but log lines.
// What goes into a pod and what a build makes travels straight between pod and process, by
// package transfer.
//
// The idea to hold: nothing that is made here can outlive it for long. The pod belongs to
// the peer's pod and the Secret to the pod (owner references), every object says which
// process made it, and each launch first removes what dead processes left behind. Peers that
// build the same at once share one pod: its name is their lock, and it says where its
// maker hands out the result. The package knows Fabric's chaincode.json and nothing of how
// it was called; package launcher is the external builder in front of it.
package runtime
