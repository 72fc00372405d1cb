// Package runtime runs chaincode as pods, each for one peer, on the Kubernetes API alone.
//
// It is not a scheduler and keeps no state: Run is the supervisor of exactly one pod, as a
// parent is of a process. It returns when the pod has ended, with the kubelet's own reason,
// and whenever it returns the pod is gone. The cluster is only read to see what became of
// that pod, so an API server that is away for an hour costs nothing but log lines.
//
// The idea to hold: nothing that a run makes can outlive it for long. The pod belongs to
// the peer's pod and the Secret to the pod (owner references), every object says which
// process made it, and each run first removes what dead processes left behind. It knows
// Fabric's chaincode.json and nothing of how it was called; package launcher is the
// external builder in front of it.
package runtime
