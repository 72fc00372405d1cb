// Package fabric holds clients of what Fabric's nodes offer: an orderer's channel
// participation API and blocks, a peer's channels, chaincode lifecycle, gateway and discovery.
//
// It decides nothing, waits for nothing and knows no Kubernetes: where a node is and how to
// reach it is an Endpoint. The idea to hold: Fabric says what went wrong in words, this package
// turns them into kinds, in one place (errors.go). Above it no code looks at an error's text;
// it asks errors.Is(err, fabric.ErrNoChannel) or exit.IsTransient(err).
package fabric
