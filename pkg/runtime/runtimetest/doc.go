// Package runtimetest is a Kubernetes cluster in memory for tests of package runtime and
// of the programs in front of it: an API server over real HTTPS, a scheduler, a kubelet
// and a garbage collector, as far as chaincode pods need them.
//
// It behaves and is not told what to say: a test says which images exist, how much fits
// on the node and when the API server is away, and the cluster does the rest, with the
// words of real kubelets. It grants no more than the Role of the peers' service account
// and admits no more than Pod Security "restricted".
package runtimetest
