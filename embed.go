// Package pivt holds the network of the repository's root, so that "pivt init" can write
// it elsewhere. The program is in cmd/pivt.
package pivt

import _ "embed"

// CryptoConfig and Network are the two files of the default network: two organisations
// with a peer each, three Raft orderers, one channel, one chaincode.
var (
	//go:embed crypto-config.yaml
	CryptoConfig []byte
	//go:embed network.yaml
	Network []byte
)
