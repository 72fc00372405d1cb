// Package configtx makes the configuration of channels, beginning with the genesis block.
//
// It does not read files, does not talk to orderers and knows no configtx.yaml: a channel
// follows from network.Channel and from the public certificates of its organisations. It is
// fabric-config's business to read and change the configuration of a channel that runs; that library
// knows no BFT, so blocks are built from Fabric's protobufs here.
//
// The one idea: a genesis block is a pure function. Several orderer organisations make it at the
// same time in pods of their own and join their orderers with it, so two blocks of one channel that
// differ in a byte would be two channels. Whatever configtxgen takes from the clock or from chance is
// derived from the rest; everything else equals what configtxgen writes, which a test shows field by field.
package configtx
