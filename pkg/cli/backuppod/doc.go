// Package backuppod is the command line of the program pivt-backup, which runs inside pods: the
// steps of the backup flow, the copying of one node's volumes, and questions about the repository.
//
// It is not for people and decides nothing: package keeper moves the nodes, package volume
// handles their files, package repository keeps them. The idea to hold: a pod tells its caller
// everything by exit code, termination message and, if it was asked something, one framed line.
package backuppod
