// Package deploy takes a network from its files to running pods and back: the phases of
// install and uninstall, in order, and the runs of the backup flow around them.
//
// It neither knows how a phase does its work (that is kube's, chart's and workflow's) nor
// how it is shown (a Reporter is passed in). The idea to hold: every phase compares what
// is wanted with what is there, so install is the same command for the first bring-up,
// for a change, and for picking up where an interrupted run left off.
package deploy
