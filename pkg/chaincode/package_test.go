package chaincode_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"

	sdk "github.com/hyperledger/fabric-admin-sdk/pkg/chaincode"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

var digest = "sha256:" + strings.Repeat("ab", 32)

func basic() *network.Chaincode {
	return &network.Chaincode{Name: "basic", Version: "1.0", Image: "registry:5000/org/basic@" + digest}
}

func org() *network.Org { return &network.Org{Name: "Org1", Kind: network.Peer} }

func TestPackage(t *testing.T) {
	t.Parallel()
	pkg, err := chaincode.Package(basic(), org())
	if err != nil {
		t.Fatal(err)
	}
	// Fabric's own parser, as the peer would read it.
	meta, code, err := sdk.ParseChaincodePackage(pkg)
	if err != nil {
		t.Fatal(err)
	}
	if meta.Type != "k8s" || meta.Label != "basic_1.0" {
		t.Errorf("metadata = %+v, want type k8s and label basic_1.0", meta)
	}
	want := `{"name":"registry:5000/org/basic","digest":"` + digest + `"}`
	if got := content(t, code, "image.json"); got != want {
		t.Errorf("image.json = %s, want %s", got, want)
	}
}

// A package id is stored in ledgers. If this test fails after a change here or of Go, then
// every network would see all its chaincodes as changed.
func TestPackageIDIsStable(t *testing.T) {
	t.Parallel()
	const want = "basic_1.0:cb058779cf969a3faac0da2f97e82ecb530274c0c525dec02c7f3f7900ed1b06"
	pkg, err := chaincode.Package(basic(), org())
	if err != nil {
		t.Fatal(err)
	}
	got := chaincode.PackageID("basic_1.0", pkg)
	if got != want {
		t.Errorf("PackageID = %s, want %s", got, want)
	}
	if peers, err := sdk.PackageID(bytes.NewReader(pkg)); err != nil || peers != got {
		t.Errorf("the peer would say %s (%v), we say %s", peers, err, got)
	}
	if l := chaincode.Label(got); l != "basic_1.0" {
		t.Errorf("Label = %s", l)
	}
}

func TestPackageRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ reason, image string }{
		"None":      {"Source and service chaincodes are packaged elsewhere.", ""},
		"Tag":       {"A tag may mean another image on every node.", "basic:1.0"},
		"Short":     {"A cut digest would only be noticed when the pod cannot start.", "basic@sha256:abcd"},
		"NotHex":    {"So would one with a typing error.", "basic@sha256:" + strings.Repeat("zz", 32)},
		"OtherHash": {"Registries speak sha256.", "basic@sha512:" + strings.Repeat("ab", 32)},
		"NoName":    {"An image needs a name.", "@" + digest},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cc := basic()
			cc.Image = tc.image
			if _, err := chaincode.Package(cc, org()); exit.CodeOf(err) != exit.Invalid {
				t.Errorf("%s\nPackage(%q) = %v, want an invalid-file error", tc.reason, tc.image, err)
			}
		})
	}
}

func content(t *testing.T, archive []byte, name string) string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			t.Fatalf("no %s in the archive", name)
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == name {
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			return string(data)
		}
	}
}
