package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/hyperledger/fabric-contract-api-go/v2/contractapi"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "Error: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	chaincode, err := newChaincode(os.Getenv("CHAINCODE_ID"))
	if err != nil {
		return err
	}
	if os.Getenv("CHAINCODE_SERVER_ADDRESS") != "" {
		s, err := newServer(chaincode, os.Getenv)
		if err != nil {
			return err
		}
		return s.Start()
	}
	// The shim parses the command line later, so an argument still wins.
	if address := os.Getenv("CORE_PEER_ADDRESS"); address != "" {
		if err := flag.Set("peer.address", address); err != nil {
			return fmt.Errorf("handing CORE_PEER_ADDRESS to the shim: %w", err)
		}
	}
	return chaincode.Start()
}

func newChaincode(packageID string) (*contractapi.ContractChaincode, error) {
	chaincode, err := contractapi.NewChaincode(&NoteContract{packageID: packageID})
	if err != nil {
		return nil, fmt.Errorf("reading the contract: %w", err)
	}
	chaincode.Info.Title = "server"
	chaincode.Info.Version = "1.0"
	return chaincode, nil
}
