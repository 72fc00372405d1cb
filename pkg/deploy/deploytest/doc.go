// Package deploytest gives tests a Kubernetes cluster in memory: an API server over HTTP, with
// stand-ins for the StatefulSet controller and for Argo's workflow controller behind it.
//
// It runs no pod and checks no schema. The idea to hold: the program under test is the real
// one down to its connections (Helm, client-go and Argo's client included), and nobody tells the
// cluster what to answer; tests only make it refuse, lack something, or let a task fail.
package deploytest
