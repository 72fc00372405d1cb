// Command chaincode is the sample contract "private": notes that only the members of a
// collection can read, next to a ledger on which everybody sees that they exist.
//
// It shows what collections and a first call need, not how to decide who may do what.
// The idea to hold: a private value never stands in a transaction. It comes in the
// transient map, which is not recorded, and only its hash reaches the ledger.
package main
