// Package fabrictest gives tests a Fabric network: either real orderer and peer processes on
// this machine (Processes), or nodes in memory that behave as those do (Nodes).
//
// Nodes are fakes and not mocks: nobody tells them what to answer. What they have to get right
// is written down as one suite, Contract, which package fabric's tests run against both. A
// difference between the two is a bug of the fake.
package fabrictest
