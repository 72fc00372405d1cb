// Package ledger reads the block files that Fabric's peers and orderers keep, and proves that
// they are a chain.
//
// It needs no running node and none of a node's databases, changes nothing, and trusts nothing
// it reads: a file may have been written by anybody. It is not a block explorer: what is in a
// transaction does not matter here.
//
// The idea to hold: a block's header names the hash of the block's data and of the header
// before it, so whoever knows the hash of the last header can tell whether anything before it
// was changed. What a header does not cover, signatures and validation codes, is compared
// between nodes instead; see Block.Outcome.
//
// Blocks stream through a buffer of fixed size. However long a file or a block is, memory
// stays the same.
package ledger
