package main

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/hyperledger/fabric-contract-api-go/v2/contractapi"
)

const (
	// titleKey is where Init writes.
	titleKey = "title"
	// transientKey is the entry of the transient map that PutPrivate takes the note from.
	transientKey = "note"
)

// NoteContract is the set of transactions; the name of a method is the name to call.
type NoteContract struct {
	contractapi.Contract
}

// GetEvaluateTransactions names the transactions that only read.
func (c *NoteContract) GetEvaluateTransactions() []string {
	return []string{"Title", "GetPrivate", "PrivateHash"}
}

// Init is the first call of a chaincode that requires one: it gives the notebook a title. Fabric keeps everything else
// from running before it, and asks for it again with every version, when the notebook keeps the title that it has.
func (c *NoteContract) Init(ctx contractapi.TransactionContextInterface, title string) error {
	if title == "" {
		return errors.New("a notebook needs a title")
	}
	old, err := c.Title(ctx)
	if err != nil {
		return err
	}
	if old != "" {
		return nil
	}
	if err := ctx.GetStub().PutState(titleKey, []byte(title)); err != nil {
		return fmt.Errorf("writing the title: %w", err)
	}
	return nil
}

// Title returns what Init wrote, or nothing before.
func (c *NoteContract) Title(ctx contractapi.TransactionContextInterface) (string, error) {
	data, err := ctx.GetStub().GetState(titleKey)
	if err != nil {
		return "", fmt.Errorf("reading the title: %w", err)
	}
	return string(data), nil
}

// PutPrivate keeps the note of the transient map under a key of a collection.
func (c *NoteContract) PutPrivate(ctx contractapi.TransactionContextInterface, collection, key string) error {
	transient, err := ctx.GetStub().GetTransient()
	if err != nil {
		return fmt.Errorf("reading the transient map: %w", err)
	}
	note := transient[transientKey]
	if len(note) == 0 {
		return fmt.Errorf("the transient map has no %q; as an argument it would stand on the ledger for everybody", transientKey)
	}
	if err := ctx.GetStub().PutPrivateData(collection, key, note); err != nil {
		return fmt.Errorf("writing %q to collection %q: %w", key, collection, err)
	}
	return nil
}

// GetPrivate returns a note; only peers of the collection's members have it.
func (c *NoteContract) GetPrivate(ctx contractapi.TransactionContextInterface, collection, key string) (string, error) {
	note, err := ctx.GetStub().GetPrivateData(collection, key)
	if err != nil {
		return "", fmt.Errorf("reading %q from collection %q: %w", key, collection, err)
	}
	if note == nil {
		return "", fmt.Errorf("collection %q has no note %q here", collection, key)
	}
	return string(note), nil
}

// PrivateHash returns the SHA-256 of a note in hexadecimal, which every peer of the channel knows.
func (c *NoteContract) PrivateHash(ctx contractapi.TransactionContextInterface, collection, key string) (string, error) {
	sum, err := ctx.GetStub().GetPrivateDataHash(collection, key)
	if err != nil {
		return "", fmt.Errorf("reading the hash of %q from collection %q: %w", key, collection, err)
	}
	if sum == nil {
		return "", fmt.Errorf("collection %q has no note %q", collection, key)
	}
	return hex.EncodeToString(sum), nil
}
