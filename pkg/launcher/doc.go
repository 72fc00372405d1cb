// Package launcher is Fabric's external builder contract on top of package runtime: the
// programs detect, build, release and run that a peer calls for every chaincode, and
// Install, which brings them to the peer.
//
// It claims packages of type "k8s" (chaincode given as an image by digest) and leaves all
// others to the peer's further builders. The idea to hold: the peer reads nothing but the
// exit status and standard error, in lines shorter than 64 KiB, and it can be killed
// between any two steps. So what build writes carries a seal over all of it, and run
// refuses a directory whose seal does not fit: Fabric itself would start a half-written one.
package launcher
