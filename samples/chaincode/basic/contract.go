package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hyperledger/fabric-contract-api-go/v2/contractapi"
)

// Asset is what the ledger holds under its ID. The order of the fields is the order of
// the bytes that all endorsers must agree on.
type Asset struct {
	ID    string `json:"ID"`
	Owner string `json:"Owner"`
	Value int    `json:"Value"`
}

// AssetContract is the set of transactions; the name of a method is the name to call.
type AssetContract struct {
	contractapi.Contract
}

// GetEvaluateTransactions names the transactions that only read, for clients that look
// the contract's description up.
func (c *AssetContract) GetEvaluateTransactions() []string {
	return []string{"ReadAsset", "AssetExists", "GetAllAssets"}
}

// InitLedger puts three assets on the ledger. Those that exist are left as they are, so
// it may be repeated.
func (c *AssetContract) InitLedger(ctx contractapi.TransactionContextInterface) error {
	for _, a := range []Asset{
		{ID: "asset1", Owner: "Aylin", Value: 300},
		{ID: "asset2", Owner: "Brook", Value: 400},
		{ID: "asset3", Owner: "Chidi", Value: 500},
	} {
		found, err := c.AssetExists(ctx, a.ID)
		if err != nil {
			return err
		}
		if found {
			continue
		}
		if err := put(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// CreateAsset adds an asset that does not exist yet.
func (c *AssetContract) CreateAsset(ctx contractapi.TransactionContextInterface, id, owner string, value int) error {
	found, err := c.AssetExists(ctx, id)
	if err != nil {
		return err
	}
	if found {
		return fmt.Errorf("asset %q exists already", id)
	}
	return put(ctx, Asset{ID: id, Owner: owner, Value: value})
}

// ReadAsset returns one asset.
func (c *AssetContract) ReadAsset(ctx contractapi.TransactionContextInterface, id string) (*Asset, error) {
	data, err := ctx.GetStub().GetState(id)
	if err != nil {
		return nil, fmt.Errorf("reading asset %q: %w", id, err)
	}
	if data == nil {
		return nil, fmt.Errorf("asset %q does not exist", id)
	}
	return decode(id, data)
}

// UpdateAsset replaces owner and value of an asset.
func (c *AssetContract) UpdateAsset(ctx contractapi.TransactionContextInterface, id, owner string, value int) error {
	if _, err := c.ReadAsset(ctx, id); err != nil {
		return err
	}
	return put(ctx, Asset{ID: id, Owner: owner, Value: value})
}

// DeleteAsset removes an asset.
func (c *AssetContract) DeleteAsset(ctx contractapi.TransactionContextInterface, id string) error {
	if _, err := c.ReadAsset(ctx, id); err != nil {
		return err
	}
	if err := ctx.GetStub().DelState(id); err != nil {
		return fmt.Errorf("deleting asset %q: %w", id, err)
	}
	return nil
}

// TransferAsset hands an asset to a new owner and returns the old one.
func (c *AssetContract) TransferAsset(ctx contractapi.TransactionContextInterface, id, newOwner string) (string, error) {
	a, err := c.ReadAsset(ctx, id)
	if err != nil {
		return "", err
	}
	old := a.Owner
	a.Owner = newOwner
	return old, put(ctx, *a)
}

// AssetExists reports whether there is an asset of this ID.
func (c *AssetContract) AssetExists(ctx contractapi.TransactionContextInterface, id string) (bool, error) {
	data, err := ctx.GetStub().GetState(id)
	if err != nil {
		return false, fmt.Errorf("reading asset %q: %w", id, err)
	}
	return data != nil, nil
}

// GetAllAssets returns every asset, ordered by ID. An empty ledger gives an empty list
// and not null, which clients would have to treat apart.
func (c *AssetContract) GetAllAssets(ctx contractapi.TransactionContextInterface) (assets []*Asset, err error) {
	results, err := ctx.GetStub().GetStateByRange("", "")
	if err != nil {
		return nil, fmt.Errorf("reading all assets: %w", err)
	}
	defer func() { err = errors.Join(err, results.Close()) }()
	assets = []*Asset{}
	for results.HasNext() {
		kv, err := results.Next()
		if err != nil {
			return nil, fmt.Errorf("reading all assets: %w", err)
		}
		a, err := decode(kv.GetKey(), kv.GetValue())
		if err != nil {
			return nil, err
		}
		assets = append(assets, a)
	}
	return assets, nil
}

func put(ctx contractapi.TransactionContextInterface, a Asset) error {
	switch {
	case a.ID == "":
		return errors.New("an asset needs an ID")
	case a.Owner == "":
		return fmt.Errorf("asset %q needs an owner", a.ID)
	case a.Value < 0:
		return fmt.Errorf("asset %q: value %d is negative", a.ID, a.Value)
	}
	data, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encoding asset %q: %w", a.ID, err)
	}
	if err := ctx.GetStub().PutState(a.ID, data); err != nil {
		return fmt.Errorf("writing asset %q: %w", a.ID, err)
	}
	return nil
}

func decode(id string, data []byte) (*Asset, error) {
	a := new(Asset)
	if err := json.Unmarshal(data, a); err != nil {
		return nil, fmt.Errorf("decoding asset %q: %w", id, err)
	}
	return a, nil
}
