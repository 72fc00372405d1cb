// Command faulty is a chaincode that goes wrong on request, for tests of what runs it.
//
// Its functions misbehave once it runs; variable FAULT makes it misbehave at its start.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "Error: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	switch fault := os.Getenv("FAULT"); fault {
	case "":
	case "exit":
		fmt.Fprintln(os.Stderr, "faulty: nothing to do here")
		os.Exit(3)
	case "silent":
		fmt.Fprintln(os.Stderr, "faulty: connects to nobody")
		time.Sleep(time.Hour)
	default:
		return fmt.Errorf("no fault %q", fault)
	}
	if err := flag.Set("peer.address", os.Getenv("CORE_PEER_ADDRESS")); err != nil {
		return err
	}
	return shim.Start(new(chaincode))
}

type chaincode struct{}

// Init implements shim.Chaincode.
func (*chaincode) Init(shim.ChaincodeStubInterface) *peer.Response { return shim.Success(nil) }

// Invoke implements shim.Chaincode.
func (*chaincode) Invoke(stub shim.ChaincodeStubInterface) *peer.Response {
	function, args := stub.GetFunctionAndParameters()
	answer, err := call(stub, function, args)
	if err != nil {
		return shim.Error(err.Error())
	}
	return shim.Success(answer)
}

func call(stub shim.ChaincodeStubInterface, function string, args []string) ([]byte, error) {
	switch {
	case function == "Put" && len(args) == 2:
		return nil, stub.PutState(args[0], []byte(args[1]))
	case function == "Get" && len(args) == 1:
		return stub.GetState(args[0])
	case function == "PutPrivate" && len(args) == 2: // the value is in the transient map
		transient, err := stub.GetTransient()
		if err != nil {
			return nil, err
		}
		return nil, stub.PutPrivateData(args[0], args[1], transient["value"])
	case function == "All" && len(args) == 0:
		return all(stub.GetStateByRange("", ""))
	case function == "AllPrivate" && len(args) == 1:
		return all(stub.GetPrivateDataByRange(args[0], "", ""))
	case function == "Exit":
		os.Exit(4)
	case function == "Eat":
		eat()
	case function == "Line" && len(args) == 1:
		return nil, line(args[0])
	case function == "Spam" && len(args) == 1:
		return nil, spam(args[0])
	}
	return nil, errors.New("Put KEY VALUE, Get KEY, PutPrivate COLLECTION KEY, All, AllPrivate COLLECTION, Exit, Eat, Line BYTES or Spam BYTES")
}

// all reads a range to its end: a JSON object of keys and values.
func all(rows shim.StateQueryIteratorInterface, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[string]string{}
	for rows.HasNext() {
		kv, err := rows.Next()
		if err != nil {
			return nil, err
		}
		found[kv.GetKey()] = string(kv.GetValue())
	}
	return json.Marshal(found)
}

// eat takes memory until the kernel stops it.
func eat() {
	for all := [][]byte{}; ; {
		b := make([]byte, 16<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
	}
}

// line writes one line of so many bytes.
func line(bytes string) error {
	n, err := strconv.Atoi(bytes)
	if err != nil {
		return err
	}
	_, err = fmt.Println(strings.Repeat("x", n))
	return err
}

// spam writes lines of a thousand bytes, so many bytes in all.
func spam(bytes string) error {
	n, err := strconv.Atoi(bytes)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(os.Stderr)
	text := strings.Repeat("y", 992)
	for i := 0; i < n/1000; i++ {
		fmt.Fprintf(w, "%07d%s\n", i, text)
	}
	return w.Flush()
}
