// Command chaincode is the sample contract "server": short notes that anyone may write and read,
// served to peers instead of started by them.
//
// It is what to copy when a chaincode is to run as a service, in a pod of its own that answers
// all peers of an organisation. The idea to hold: nothing is configured in it. Where it listens,
// which package it is and whom it trusts stand in the environment that pivt gives a server, which
// is that of Fabric's own samples; without CHAINCODE_SERVER_ADDRESS it is an ordinary chaincode.
package main
