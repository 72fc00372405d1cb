// Command chaincode is the sample contract "basic": assets that have an owner and a value,
// and can be created, read, changed, handed over and deleted by anyone.
//
// It is a place to start from and what the end-to-end tests run, not an access control
// example. The idea to hold: the image needs no arguments. The program takes the peer's
// address from CORE_PEER_ADDRESS, so the same image runs wherever a launcher sets that
// variable, and a -peer.address argument still wins where one is given.
package main
