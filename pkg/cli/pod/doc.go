// Package pod is the part of pivt's command line that runs inside pods: the steps of
// workflows and the chaincode launcher of peers.
//
// It is not for people. It is a package of its own so that the in-pod program carries
// neither Helm nor Argo: it is small to pull, quick to start and light in memory, since
// a peer keeps one launcher process for every chaincode. The idea to hold: the process
// tells its caller everything by exit code, termination message and result file.
package pod
