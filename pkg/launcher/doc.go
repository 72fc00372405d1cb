// Package launcher is Fabric's external builder contract on top of package runtime: the
// programs detect, build, release and run that a peer calls for every chaincode, and
// Install, which brings them to the peer.
//
// It takes packages of all types: source (golang, java, node), built as Fabric itself
// builds it but in a pod; an image by digest (k8s); and the address of a chaincode that runs
// as a server (ccaas, external). It knows nothing of how pods are made; package runtime does.
//
// The idea to hold: the peer reads nothing but the exit status and standard error, in
// lines shorter than 64 KiB, and it can be killed between any two steps. So what build
// writes carries a seal over all of it, and run refuses a directory whose seal does not
// fit: Fabric itself would start a half-written one. Whatever stands in a package was
// written by somebody else: it never reaches a shell but as a quoted word.
package launcher
