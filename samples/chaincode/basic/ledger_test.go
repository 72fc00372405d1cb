package main

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-contract-api-go/v2/contractapi"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/queryresult"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
)

// ledger is a peer's world state as far as the contract sees it. As in Fabric, a
// transaction reads what was committed before it and not its own writes, and its writes
// are kept only if it succeeds.
type ledger struct {
	t         *testing.T
	chaincode *contractapi.ContractChaincode
	state     map[string][]byte
	broken    error // what every access answers, if set
}

func newLedger(t *testing.T) *ledger {
	t.Helper()
	chaincode, err := newChaincode()
	if err != nil {
		t.Fatal(err)
	}
	return &ledger{t: t, chaincode: chaincode, state: map[string][]byte{}}
}

// call runs one transaction through the same entry point the peer uses.
func (l *ledger) call(function string, args ...string) *peer.Response {
	l.t.Helper()
	tx := &transaction{ledger: l, function: function, args: args, writes: map[string][]byte{}}
	response := l.chaincode.Invoke(tx)
	if response.GetStatus() != shim.OK {
		return response
	}
	for key, value := range tx.writes {
		if value == nil {
			delete(l.state, key)
			continue
		}
		l.state[key] = value
	}
	return response
}

// must runs a transaction that has to succeed and returns its result.
func (l *ledger) must(function string, args ...string) string {
	l.t.Helper()
	response := l.call(function, args...)
	if response.GetStatus() != shim.OK {
		l.t.Fatalf("%s(%q): %s", function, args, response.GetMessage())
	}
	return string(response.GetPayload())
}

// transaction implements the part of the stub that the contract uses; anything else
// ends the test with a nil pointer.
type transaction struct {
	shim.ChaincodeStubInterface
	ledger   *ledger
	function string
	args     []string
	writes   map[string][]byte
}

func (tx *transaction) GetTxID() string             { return "tx" }
func (tx *transaction) GetChannelID() string        { return "mychannel" }
func (tx *transaction) GetCreator() ([]byte, error) { return nil, errors.New("nobody called") }

func (tx *transaction) GetFunctionAndParameters() (string, []string) { return tx.function, tx.args }

func (tx *transaction) GetState(key string) ([]byte, error) {
	return tx.ledger.state[key], tx.ledger.broken
}

func (tx *transaction) PutState(key string, value []byte) error {
	tx.writes[key] = value
	return tx.ledger.broken
}

func (tx *transaction) DelState(key string) error {
	tx.writes[key] = nil
	return tx.ledger.broken
}

func (tx *transaction) GetStateByRange(start, end string) (shim.StateQueryIteratorInterface, error) {
	if tx.ledger.broken != nil {
		return nil, tx.ledger.broken
	}
	var found []*queryresult.KV
	for _, key := range slices.Sorted(maps.Keys(tx.ledger.state)) {
		if key >= start && (end == "" || key < end) {
			found = append(found, &queryresult.KV{Key: key, Value: tx.ledger.state[key]})
		}
	}
	return &rows{found}, nil
}

type rows struct{ left []*queryresult.KV }

func (r *rows) HasNext() bool { return len(r.left) > 0 }
func (r *rows) Close() error  { return nil }

func (r *rows) Next() (*queryresult.KV, error) {
	if len(r.left) == 0 {
		return nil, errors.New("no more rows")
	}
	kv := r.left[0]
	r.left = r.left[1:]
	return kv, nil
}
