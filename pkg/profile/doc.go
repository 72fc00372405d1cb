// Package profile writes what a client application needs to know of a network: the connection
// profile that Fabric's SDKs read, and an example of a client that reads it.
//
// A profile holds names, addresses and the certificates of TLS CAs, and no key: whose identity
// signs is the application's business. The idea to hold: names in a profile are the nodes' common
// names, which their certificates carry; an address is where one caller happens to reach the
// node, inside the cluster by its Service or outside by whatever leads there.
package profile
