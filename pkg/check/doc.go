// Package check looks at a network and at the cluster it is, or shall be, in.
//
// It changes nothing and waits for nothing. Collect gathers one Status that printers and
// programs read; Run answers the questions of a preflight, each with its own cure. The idea
// to hold: what is asked of nodes is asked by their own protocol, through the API server's
// port-forward, with a user's keys from disk; no log is read and nothing is guessed.
package check
