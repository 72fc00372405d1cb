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
	chaincode, err := newChaincode()
	if err != nil {
		return err
	}
	if err := takePeerAddress(flag.CommandLine, os.Getenv("CORE_PEER_ADDRESS")); err != nil {
		return err
	}
	return chaincode.Start()
}

func newChaincode() (*contractapi.ContractChaincode, error) {
	chaincode, err := contractapi.NewChaincode(new(NoteContract))
	if err != nil {
		return nil, fmt.Errorf("reading the contract: %w", err)
	}
	chaincode.Info.Title = "private"
	chaincode.Info.Version = "1.0"
	return chaincode, nil
}

// takePeerAddress makes address the default of the shim's flag: the shim parses the
// command line later, so what is written there replaces it.
func takePeerAddress(flags *flag.FlagSet, address string) error {
	if address == "" {
		return nil
	}
	if err := flags.Set("peer.address", address); err != nil {
		return fmt.Errorf("handing CORE_PEER_ADDRESS to the shim: %w", err)
	}
	return nil
}
