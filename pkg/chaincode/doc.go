// Package chaincode says what a chaincode is to Fabric: its package, the package's id, its
// definition on a channel, and the sequence number a changed definition gets.
//
// It talks to no node; package fabric does that. The idea to hold: a package is a pure
// function of the file. Every organisation's pod makes its own copy, and because the bytes
// are the same everywhere, so is the package id, with no file passed around.
package chaincode
