package pki

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPublicRoundTrip(t *testing.T) {
	t.Parallel()
	dir, n := t.TempDir(), small(withoutNodeOUs)
	addNode(peerOf(n))
	ensure(t, dir, n)
	p := load(t, dir, n).Orgs["Org1"].Public
	b := p.Marshal()
	if again := load(t, dir, n).Orgs["Org1"].Public; !bytes.Equal(b, again.Marshal()) {
		t.Error("the same tree gave other bytes the second time")
	}
	got, err := ParsePublic(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&p, got); diff != "" {
		t.Errorf("-marshalled, +parsed:\n%s", diff)
	}
	if bytes.Contains(b, []byte("PRIVATE")) {
		t.Error("a private key is public")
	}
}

func TestParsePublic(t *testing.T) {
	t.Parallel()
	const cert = `"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"`
	cases := map[string]struct {
		reason string
		json   string
		names  string // what the error must name; empty for no error
	}{
		"Whole": {
			reason: "The least a channel needs.",
			json:   `{"name":"Org1","mspID":"Org1MSP","rootCerts":[` + cert + `],"tlsRootCerts":[` + cert + `]}`,
		},
		"UnknownField": {
			reason: "A newer pivt may have written the ConfigMap.",
			json:   `{"name":"Org1","mspID":"Org1MSP","rootCerts":[` + cert + `],"tlsRootCerts":[` + cert + `],"new":1}`,
		},
		"NotJSON":      {json: `name: Org1`, names: "public certificates"},
		"NoMSPID":      {json: `{"name":"Org1"}`, names: "mspID"},
		"NoRoots":      {json: `{"name":"Org1","mspID":"Org1MSP","tlsRootCerts":[` + cert + `]}`, names: "rootCerts"},
		"NoTLSRoots":   {json: `{"name":"Org1","mspID":"Org1MSP","rootCerts":[` + cert + `]}`, names: "tlsRootCerts"},
		"RootIsNotPEM": {json: `{"name":"Org1","mspID":"Org1MSP","rootCerts":["x"],"tlsRootCerts":[` + cert + `]}`, names: "rootCerts[0]"},
		"NodeIsNotPEM": {json: `{"name":"Org1","mspID":"Org1MSP","rootCerts":[` + cert + `],"tlsRootCerts":[` + cert + `],"nodes":{"peer0":{"signCert":` + cert + `,"tlsCert":""}}}`, names: "nodes.peer0.tlsCert"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ParsePublic([]byte(tc.json))
			if tc.names == "" {
				if err != nil {
					t.Errorf("%s\n%v", tc.reason, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.names) {
				t.Errorf("got %v, want an error that names %s", err, tc.names)
			}
		})
	}
}
