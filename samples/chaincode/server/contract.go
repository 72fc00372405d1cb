package main

import (
	"errors"
	"fmt"

	"github.com/hyperledger/fabric-contract-api-go/v2/contractapi"
)

// NoteContract is the set of transactions; the name of a method is the name to call.
type NoteContract struct {
	contractapi.Contract
	packageID string
}

// GetEvaluateTransactions names the transactions that only read.
func (c *NoteContract) GetEvaluateTransactions() []string { return []string{"ReadNote", "ServedAs"} }

// WriteNote keeps a text under a name, in place of what was there.
func (c *NoteContract) WriteNote(ctx contractapi.TransactionContextInterface, name, text string) error {
	if name == "" {
		return errors.New("a note needs a name")
	}
	if err := ctx.GetStub().PutState(name, []byte(text)); err != nil {
		return fmt.Errorf("writing note %q: %w", name, err)
	}
	return nil
}

// ReadNote returns a text.
func (c *NoteContract) ReadNote(ctx contractapi.TransactionContextInterface, name string) (string, error) {
	data, err := ctx.GetStub().GetState(name)
	if err != nil {
		return "", fmt.Errorf("reading note %q: %w", name, err)
	}
	if data == nil {
		return "", fmt.Errorf("there is no note %q", name)
	}
	return string(data), nil
}

// ServedAs answers with the package id that the server was told. Organisations have packages of
// their own, so their answers differ: ask one, and never in a transaction.
func (c *NoteContract) ServedAs() string { return c.packageID }
