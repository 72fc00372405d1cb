package main

import (
	"errors"
	"flag"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
)

const three = `[{"ID":"asset1","Owner":"Aylin","Value":300},` +
	`{"ID":"asset2","Owner":"Brook","Value":400},` +
	`{"ID":"asset3","Owner":"Chidi","Value":500}]`

func TestTransactions(t *testing.T) {
	t.Parallel()
	type call struct {
		function string
		args     []string
	}
	cases := map[string]struct {
		reason string
		before []call
		last   call
		want   string
	}{
		"EmptyLedger": {
			reason: "A client must get a list from an empty ledger, not null.",
			last:   call{"GetAllAssets", nil},
			want:   `[]`,
		},
		"Init": {
			reason: "The first transaction of the tutorial leaves three assets.",
			before: []call{{"InitLedger", nil}},
			last:   call{"GetAllAssets", nil},
			want:   three,
		},
		"InitTwice": {
			reason: "Repeating InitLedger must not undo what users did to its assets.",
			before: []call{{"InitLedger", nil}, {"TransferAsset", []string{"asset2", "Dana"}}, {"InitLedger", nil}},
			last:   call{"ReadAsset", []string{"asset2"}},
			want:   `{"ID":"asset2","Owner":"Dana","Value":400}`,
		},
		"Create": {
			reason: "What was created can be read.",
			before: []call{{"CreateAsset", []string{"a", "Aylin", "7"}}},
			last:   call{"ReadAsset", []string{"a"}},
			want:   `{"ID":"a","Owner":"Aylin","Value":7}`,
		},
		"Update": {
			reason: "Owner and value are replaced together.",
			before: []call{{"InitLedger", nil}, {"UpdateAsset", []string{"asset1", "Emre", "1"}}},
			last:   call{"ReadAsset", []string{"asset1"}},
			want:   `{"ID":"asset1","Owner":"Emre","Value":1}`,
		},
		"Transfer": {
			reason: "The caller learns who gave the asset away.",
			before: []call{{"InitLedger", nil}},
			last:   call{"TransferAsset", []string{"asset3", "Dana"}},
			want:   `Chidi`,
		},
		"Delete": {
			reason: "A deleted asset is gone.",
			before: []call{{"InitLedger", nil}, {"DeleteAsset", []string{"asset1"}}},
			last:   call{"AssetExists", []string{"asset1"}},
			want:   `false`,
		},
		"Exists": {
			reason: "An asset on the ledger is reported as such.",
			before: []call{{"InitLedger", nil}},
			last:   call{"AssetExists", []string{"asset1"}},
			want:   `true`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLedger(t)
			for _, c := range tc.before {
				l.must(c.function, c.args...)
			}
			if got := l.must(tc.last.function, tc.last.args...); got != tc.want {
				t.Errorf("%s\n%s: got %s, want %s", tc.reason, tc.last.function, got, tc.want)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason   string
		function string
		args     []string
		want     string
	}{
		"CreateTwice":     {"Creating must not replace an asset silently.", "CreateAsset", []string{"asset1", "Dana", "1"}, `asset "asset1" exists already`},
		"CreateNoID":      {"Fabric refuses an empty key with a less helpful message.", "CreateAsset", []string{"", "Dana", "1"}, "an asset needs an ID"},
		"CreateNoOwner":   {"Nobody could hand the asset over.", "CreateAsset", []string{"a", "", "1"}, `asset "a" needs an owner`},
		"CreateNegative":  {"A value below zero is a typing error.", "CreateAsset", []string{"a", "Dana", "-1"}, `value -1 is negative`},
		"CreateNoNumber":  {"Arguments are strings; the contract API converts and checks.", "CreateAsset", []string{"a", "Dana", "many"}, "many"},
		"ReadMissing":     {"Reading nothing is an error, not an empty asset.", "ReadAsset", []string{"b"}, `asset "b" does not exist`},
		"UpdateMissing":   {"Updating must not create.", "UpdateAsset", []string{"b", "Dana", "1"}, `asset "b" does not exist`},
		"DeleteMissing":   {"Deleting twice shows a client's mistake.", "DeleteAsset", []string{"b"}, `asset "b" does not exist`},
		"TransferMissing": {"There is nothing to hand over.", "TransferAsset", []string{"b", "Dana"}, `asset "b" does not exist`},
		"TransferNobody":  {"An asset keeps an owner.", "TransferAsset", []string{"asset1", ""}, `asset "asset1" needs an owner`},
		"UnknownFunction": {"A wrong name is refused by name.", "Transfer", nil, "Transfer"},
		"TooFewArguments": {"A forgotten argument is refused.", "CreateAsset", []string{"a"}, "incorrect number of params"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLedger(t)
			l.must("InitLedger")
			response := l.call(tc.function, tc.args...)
			if response.GetStatus() == shim.OK || !strings.Contains(response.GetMessage(), tc.want) {
				t.Errorf("%s\n%s(%q) answered %d %q, want an error with %q",
					tc.reason, tc.function, tc.args, response.GetStatus(), response.GetMessage(), tc.want)
			}
			if got := l.must("GetAllAssets"); got != three {
				t.Errorf("a refused transaction changed the ledger: %s", got)
			}
		})
	}
}

func TestBrokenState(t *testing.T) {
	t.Parallel()
	for _, function := range []string{"InitLedger", "GetAllAssets"} {
		l := newLedger(t)
		l.broken = errors.New("disk on fire")
		if r := l.call(function); r.GetStatus() == shim.OK || !strings.Contains(r.GetMessage(), "disk on fire") {
			t.Errorf("%s on a broken peer answered %d %q, want the peer's reason", function, r.GetStatus(), r.GetMessage())
		}
	}
	l := newLedger(t)
	l.state["asset1"] = []byte("not JSON")
	for _, call := range [][]string{{"ReadAsset", "asset1"}, {"GetAllAssets"}} {
		if r := l.call(call[0], call[1:]...); r.GetStatus() == shim.OK || !strings.Contains(r.GetMessage(), `decoding asset "asset1"`) {
			t.Errorf("%s of a foreign value answered %d %q, want which key is broken", call[0], r.GetStatus(), r.GetMessage())
		}
	}
}

func TestTakePeerAddress(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		address string
		args    []string
		want    string
	}{
		"Environment": {"Launchers of images set the variable and give no arguments.", "peer0:7052", nil, "peer0:7052"},
		"Argument":    {"Fabric's own Docker builder gives the argument, which is nearer.", "peer0:7052", []string{"-peer.address=peer1:7052"}, "peer1:7052"},
		"Neither":     {"Then the shim itself says what is missing.", "", nil, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flags := flag.NewFlagSet("chaincode", flag.ContinueOnError)
			got := flags.String("peer.address", "", "")
			if err := takePeerAddress(flags, tc.address); err != nil {
				t.Fatal(err)
			}
			if err := flags.Parse(tc.args); err != nil {
				t.Fatal(err)
			}
			if *got != tc.want {
				t.Errorf("%s\npeer.address = %q, want %q", tc.reason, *got, tc.want)
			}
		})
	}
	if flag.CommandLine.Lookup("peer.address") == nil {
		t.Error("the shim no longer has the flag peer.address; main would start without a peer")
	}
}
