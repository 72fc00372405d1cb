// Package cli is pivt's command line: commands, flags and printers.
//
// It is the only place that touches the terminal, the environment, the clock and the
// file system of the person who runs pivt; all of that comes in through State, so a test
// runs the whole program in memory. It decides nothing about Fabric or Kubernetes: a
// command loads the files, calls one package below, and prints what that returned.
//
// The idea to hold: results go to stdout in a form that can be piped, the story goes to
// stderr, and an error is printed once, at the very edge, with its hint and exit code.
package cli
