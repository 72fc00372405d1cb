// Package volume is what is done with the volumes of one stopped node, inside the pod that
// mounts them: save, look at, put back, verify a copy.
//
// It does not stop nodes and does not know Kubernetes; package keeper does that. Neither does
// it know how a repository stores files.
//
// The idea to hold: a volume is always either what it was or what it is to become, or it says
// in .pivt/state.json what is left to do. New data are complete beside the old ones before
// anything is moved, everything is moved by renames, and each function may be called again
// after a kill at any point: it goes on where the last one ended. What was replaced stays until
// Finish.
package volume
