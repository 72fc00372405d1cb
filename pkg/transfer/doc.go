// Package transfer moves directory trees between a process and the pods that it started:
// code into them, what a build made of it back out.
//
// The process listens on a port of its own pod and hands out a Ticket: an address, the
// digest of a certificate made for this one transfer, and a token that is spent by it. Who
// holds the ticket may call back; no file server, volume, registry or right to exec is
// needed. What arrives is never trusted: a tree is unpacked beside its place, checked entry
// by entry against Limits, and moved in place when all of it is there. A broken connection is
// repeated from the start, a refused tree is not.
//
// A Sharing is the same for another node of the organisation, which has no ticket but a
// certificate of its own. Nothing here knows Kubernetes or Fabric.
package transfer
