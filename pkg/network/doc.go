// Package network turns the user's two files into one checked, immutable picture of the
// network, and is the only place that derives names from it.
//
// It is not a client of anything: it reads no file, no clock and no environment, and knows
// nothing of Kubernetes or Fabric but their rules for names. The same files always give the
// same Network, in the CLI, in a workflow's pod and in a test.
//
// The idea to hold: every value keeps the place it came from. Files are parsed into a tree of
// positioned nodes and merged there as Helm merges values, so whatever is wrong, anywhere, is
// reported with file, line and column of what the user wrote, all of it at once. Values
// gives charts the same files as Helm would read them.
package network
