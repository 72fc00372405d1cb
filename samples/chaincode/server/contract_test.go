package main

import (
	"errors"
	"testing"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
)

// transaction implements the part of the stub that the contract uses; anything else ends the
// test with a nil pointer.
type transaction struct {
	shim.ChaincodeStubInterface
	call   []string
	state  map[string][]byte
	broken error
}

func (tx *transaction) GetTxID() string             { return "tx" }
func (tx *transaction) GetChannelID() string        { return "mychannel" }
func (tx *transaction) GetCreator() ([]byte, error) { return nil, errors.New("nobody called") }

func (tx *transaction) GetFunctionAndParameters() (string, []string) {
	return tx.call[0], tx.call[1:]
}

func (tx *transaction) GetState(key string) ([]byte, error) { return tx.state[key], tx.broken }

func (tx *transaction) PutState(key string, value []byte) error {
	if tx.broken == nil {
		tx.state[key] = value
	}
	return tx.broken
}

func TestTransactions(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		before  [][]string
		call    []string
		broken  error
		want    string // the result
		refused string // or the message
	}{
		"Write":     {reason: "What was written can be read.", before: [][]string{{"WriteNote", "a", "hello"}}, call: []string{"ReadNote", "a"}, want: "hello"},
		"Replace":   {reason: "The last text counts.", before: [][]string{{"WriteNote", "a", "x"}, {"WriteNote", "a", "y"}}, call: []string{"ReadNote", "a"}, want: "y"},
		"Absent":    {reason: "No note is not an empty one.", call: []string{"ReadNote", "a"}, refused: `there is no note "a"`},
		"NoName":    {reason: "A ledger takes no empty key.", call: []string{"WriteNote", "", "x"}, refused: "a note needs a name"},
		"BrokenGet": {reason: "A peer that cannot read says so.", call: []string{"ReadNote", "a"}, broken: errors.New("lost"), refused: `reading note "a": lost`},
		"BrokenPut": {reason: "Nor write.", call: []string{"WriteNote", "a", "x"}, broken: errors.New("lost"), refused: `writing note "a": lost`},
		"ServedAs":  {reason: "The one way to see which server answered.", call: []string{"ServedAs"}, want: "server_1.0:abc"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			chaincode, err := newChaincode("server_1.0:abc")
			if err != nil {
				t.Fatal(err)
			}
			state := map[string][]byte{}
			for _, call := range tc.before {
				chaincode.Invoke(&transaction{call: call, state: state})
			}
			var got *peer.Response = chaincode.Invoke(&transaction{call: tc.call, state: state, broken: tc.broken})
			if got.GetMessage() != tc.refused || string(got.GetPayload()) != tc.want {
				t.Errorf("%s\n%v: %q, message %q; want %q, message %q", tc.reason, tc.call, got.GetPayload(), got.GetMessage(), tc.want, tc.refused)
			}
		})
	}
}
