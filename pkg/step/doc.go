// Package step holds the verbs that run inside workflow pods: probe, create, join, install,
// commit and smoke.
//
// A step is not told what is left to do. It observes the live network, decides (a pure
// function of what it saw), acts, and observes again. So every step may be repeated at any time,
// also while another run of it is under way, and a dry run is a step that stops after deciding.
//
// Time is the other half. Flows run side by side and nodes start when they like, so "not there
// yet" is no failure: the step waits inside its pod, which costs nothing, and only then gives
// up with exit code 75, on which the workflow tries again. What time cannot cure ends at once
// with the reason.
//
// An Observer is a step's eyes alone: package keeper, which stops and starts nodes for a backup, goes
// by what it sees.
//
// It knows Fabric through package fabric and nothing of Helm, Argo or how it was started.
package step
