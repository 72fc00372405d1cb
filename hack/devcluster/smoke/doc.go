// Package smoke proves that a cluster can do what a Fabric network and its workflows will ask of it.
//
// It is not a conformance test: each check stands for something pivt needs, and asks the cluster the way a user would, with kubectl. Everything
// lives in one namespace that enforces Pod Security restricted, and goes away with it. A check waits for what it wants to see until a
// deadline and then tells what it saw last; it never sleeps and hopes.
package smoke
