// Package sweep finds and removes what a cluster leaves on the machine: mounts, network devices, packet filter
// rules, address sets, control groups, processes.
//
// It does not know how the cluster was started. The one idea: what is ours is decided from names and from a
// Baseline taken before anything was changed, never from what a component promises to clean up itself; so it works the
// same after an orderly stop, a kill -9 of everything, or a half-finished start.
package sweep
