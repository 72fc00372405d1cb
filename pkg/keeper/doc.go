// Package keeper stops the nodes of a network for their copies and starts them again, for
// backup and restore, on the Kubernetes API alone.
//
// It reads no ledger and writes no repository: pods that it makes do, each with one node's
// volumes. It knows Fabric only through Nodes, which says whether a node serves.
//
// The idea to hold: a stopped node says so itself. An annotation on its StatefulSet names who
// holds it, since when, and when the holder was last alive; it appears with the scale to zero and goes
// with the scale to one, in the same patch. So whoever finds a node stopped knows whether to
// wait, to go on or to start it: the same task when it is repeated, the guard when nobody is
// left, and a person with kubectl. A copy counts only if the hold was never interrupted, for
// which the StatefulSet's generation speaks: any change of its scale in between has raised it.
package keeper
