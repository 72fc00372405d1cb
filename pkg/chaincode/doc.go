// Package chaincode says what a chaincode is to Fabric: its package, the package's id, its
// definition on a channel with policies and private data, and the sequence number a changed
// definition gets.
//
// It talks to no node; package fabric does that. The idea to hold: a package is a pure
// function of the file, or of the source directory. Whoever makes it, wherever and whenever,
// gets the same bytes and so the same package id. For images and services every
// organisation's pod makes its own copy, with no file passed around; a source is packaged once, and
// whoever doubts the result can make it again. What comes from elsewhere, packages as well
// as definitions, is read as hostile.
package chaincode
