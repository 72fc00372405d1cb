// Package pki makes and reads the keys and certificates of a network, in the directory layout
// of Fabric's cryptogen.
//
// It is not a certificate authority service and it does not renew or revoke. Nothing here
// reaches a cluster: callers turn Material into Secrets and Public into a ConfigMap.
//
// The one idea: a tree on disk is never generated, it is completed. Ensure looks at every file
// that the network needs, one by one, and makes those that are missing; a key that exists is
// never written again. That makes a first run, a repeated run, a run after a kill, and a run after
// an organisation was added the same operation, and makes real cryptogen output just another
// tree that happens to be complete. Two orders hold it together: a key is on disk before the
// certificate that names it, and an organisation's CAs are there before anything else of it.
package pki
