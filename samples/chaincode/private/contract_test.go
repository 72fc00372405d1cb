package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-contract-api-go/v2/contractapi"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
)

func TestNotes(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte("owls at dusk"))
	type call struct {
		note     string
		function string
		args     []string
	}
	put := call{"owls at dusk", "PutPrivate", []string{"shared", "n1"}}
	cases := map[string]struct {
		reason string
		before []call
		last   call
		want   string // of the payload
		fails  string // of the message
	}{
		"Init":      {"The first call leaves its argument on the ledger.", []call{{"", "Init", []string{"Field notes"}}}, call{"", "Title", nil}, "Field notes", ""},
		"NoInit":    {"Before it there is no title.", nil, call{"", "Title", nil}, "", ""},
		"InitTwice": {"Every version begins with Init; it must not rename the notebook, and not fail, or no version after the first would ever run.", []call{{"", "Init", []string{"a"}}, {"", "Init", []string{"b"}}}, call{"", "Title", nil}, "a", ""},
		"InitEmpty": {"An empty title could not be told from none.", nil, call{"", "Init", []string{""}}, "", "needs a title"},
		"Get":       {"A member reads what was put.", []call{put}, call{"", "GetPrivate", []string{"shared", "n1"}}, "owls at dusk", ""},
		"Hash":      {"Everybody can compare the hash.", []call{put}, call{"", "PrivateHash", []string{"shared", "n1"}}, hex.EncodeToString(sum[:]), ""},
		"OtherCollection": {
			"Collections are apart.", []call{put},
			call{"", "GetPrivate", []string{"other", "n1"}}, "", `collection "other" has no note "n1"`,
		},
		"NoHash":      {"There is no hash of nothing.", nil, call{"", "PrivateHash", []string{"shared", "n1"}}, "", `has no note "n1"`},
		"NoTransient": {"A note given as an argument would be public.", nil, call{"", "PutPrivate", []string{"shared", "n1"}}, "", `has no "note"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLedger(t)
			for _, c := range tc.before {
				if r := l.call(c.note, c.function, c.args...); r.GetStatus() != shim.OK {
					t.Fatalf("%s: %s", c.function, r.GetMessage())
				}
			}
			r := l.call(tc.last.note, tc.last.function, tc.last.args...)
			if failed := r.GetStatus() != shim.OK; failed != (tc.fails != "") || !strings.Contains(r.GetMessage(), tc.fails) || string(r.GetPayload()) != tc.want {
				t.Errorf("%s\n%s: got %d %q %q, want %q or an error with %q", tc.reason, tc.last.function, r.GetStatus(), r.GetPayload(), r.GetMessage(), tc.want, tc.fails)
			}
		})
	}
}

func TestBrokenPeer(t *testing.T) {
	t.Parallel()
	for _, call := range [][]string{{"Init", "x"}, {"Title"}, {"PutPrivate", "c", "k"}, {"GetPrivate", "c", "k"}, {"PrivateHash", "c", "k"}} {
		l := newLedger(t)
		l.broken = errors.New("disk on fire")
		if r := l.call("note", call[0], call[1:]...); r.GetStatus() == shim.OK || !strings.Contains(r.GetMessage(), "disk on fire") {
			t.Errorf("%s on a broken peer answered %d %q, want the peer's reason", call[0], r.GetStatus(), r.GetMessage())
		}
	}
}

func TestCollectionsFile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("collections.json")
	if err != nil {
		t.Fatal(err)
	}
	var collections []struct{ Name, Policy string }
	if err := json.Unmarshal(text, &collections); err != nil {
		t.Fatal(err)
	}
	if len(collections) != 2 || collections[0].Name != "org1Notes" || collections[1].Name != "sharedNotes" {
		t.Errorf("the collections are %+v, want those the README names", collections)
	}
}

func TestTakePeerAddress(t *testing.T) {
	t.Parallel()
	flags := flag.NewFlagSet("chaincode", flag.ContinueOnError)
	got := flags.String("peer.address", "", "")
	if err := takePeerAddress(flags, "peer0:7052"); err != nil || *got != "peer0:7052" {
		t.Errorf("peer.address = %q, %v; launchers of images set only the variable", *got, err)
	}
	if flag.CommandLine.Lookup("peer.address") == nil {
		t.Error("the shim no longer has the flag peer.address; main would start without a peer")
	}
}

// ledger is a peer as far as the contract sees it; the writes of a transaction are kept only if it succeeds.
type ledger struct {
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
	return &ledger{chaincode: chaincode, state: map[string][]byte{}}
}

func (l *ledger) call(note, function string, args ...string) *peer.Response {
	tx := &transaction{ledger: l, note: note, function: function, args: args, writes: map[string][]byte{}}
	response := l.chaincode.Invoke(tx)
	if response.GetStatus() == shim.OK {
		for key, value := range tx.writes {
			l.state[key] = value
		}
	}
	return response
}

// transaction implements the part of the stub that the contract uses; anything else ends the test with a nil pointer.
type transaction struct {
	shim.ChaincodeStubInterface
	ledger   *ledger
	note     string
	function string
	args     []string
	writes   map[string][]byte
}

func (tx *transaction) GetTxID() string                              { return "tx" }
func (tx *transaction) GetChannelID() string                         { return "mychannel" }
func (tx *transaction) GetCreator() ([]byte, error)                  { return nil, errors.New("nobody called") }
func (tx *transaction) GetFunctionAndParameters() (string, []string) { return tx.function, tx.args }

func (tx *transaction) GetTransient() (map[string][]byte, error) {
	if tx.note == "" {
		return nil, tx.ledger.broken
	}
	return map[string][]byte{"note": []byte(tx.note)}, tx.ledger.broken
}

func (tx *transaction) GetState(key string) ([]byte, error) {
	return tx.ledger.state[key], tx.ledger.broken
}

func (tx *transaction) PutState(key string, value []byte) error {
	tx.writes[key] = value
	return tx.ledger.broken
}

func (tx *transaction) GetPrivateData(collection, key string) ([]byte, error) {
	return tx.GetState(collection + "/" + key)
}

func (tx *transaction) PutPrivateData(collection, key string, value []byte) error {
	return tx.PutState(collection+"/"+key, value)
}

func (tx *transaction) GetPrivateDataHash(collection, key string) ([]byte, error) {
	value, err := tx.GetPrivateData(collection, key)
	if value == nil {
		return nil, err
	}
	sum := sha256.Sum256(value)
	return sum[:], err
}
