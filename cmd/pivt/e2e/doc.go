// Package e2e runs the built pivt against a real Kubernetes with real Argo and real Fabric
// nodes, and asks the ledgers and the cluster whether it did what it said.
//
// It is no place for cases that a unit test can cover: each test here costs a network. The
// cluster is given by KUBECONFIG and never guessed; the program by PIVT_E2E_BIN. The idea
// to hold: no assertion reads a log line.
package e2e
