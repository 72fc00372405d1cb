package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
)

// newServer reads the environment of a chaincode server:
//
//	CHAINCODE_SERVER_ADDRESS  where to listen, host:port
//	CHAINCODE_ID              the package id, which peers compare
//	CHAINCODE_TLS_DISABLED    true or false; by default false if there is a key
//	CHAINCODE_TLS_KEY, CHAINCODE_TLS_CERT  files of the server's pair
//	CHAINCODE_CLIENT_CA_CERT  file of the CA of peers; with it, a peer must show a certificate
func newServer(chaincode shim.Chaincode, env func(string) string) (*shim.ChaincodeServer, error) {
	s := &shim.ChaincodeServer{CCID: env("CHAINCODE_ID"), Address: env("CHAINCODE_SERVER_ADDRESS"), CC: chaincode}
	if s.CCID == "" {
		return nil, errors.New("CHAINCODE_ID is empty; it must be the id of the package that peers have installed")
	}
	s.TLSProps.Disabled = env("CHAINCODE_TLS_KEY") == ""
	if text := env("CHAINCODE_TLS_DISABLED"); text != "" {
		var err error
		if s.TLSProps.Disabled, err = strconv.ParseBool(text); err != nil {
			return nil, fmt.Errorf("CHAINCODE_TLS_DISABLED is %q; write true or false", text)
		}
	}
	if s.TLSProps.Disabled {
		return s, nil
	}
	for _, f := range []struct {
		variable string
		into     *[]byte
		required bool
	}{
		{"CHAINCODE_TLS_KEY", &s.TLSProps.Key, true},
		{"CHAINCODE_TLS_CERT", &s.TLSProps.Cert, true},
		{"CHAINCODE_CLIENT_CA_CERT", &s.TLSProps.ClientCACerts, false},
	} {
		path := env(f.variable)
		if path == "" && !f.required {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading the file of %s: %w", f.variable, err)
		}
		*f.into = data
	}
	return s, nil
}
