// Package kube is what pivt needs of a Kubernetes cluster: applying objects, waiting for
// StatefulSets, following and deleting objects, logs, port-forwarding, and asking what the
// user may do.
//
// It knows nothing of Fabric, Argo or Helm, prints nothing, and keeps no state of its own.
// The idea to hold: the API server may go away at any moment and come back, so everything
// here that waits resumes by looking again, and everything that changes something may be
// repeated.
package kube
