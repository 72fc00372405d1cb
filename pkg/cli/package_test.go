package cli

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/exit"
)

const sourceNetwork = `network:
  channels: [{name: common, orgs: [Org1, Org2]}]
  chaincodes:
    - name: built
      version: "1.0+x"
      source: ../code/built
      language: golang
      channels: [{name: common}]
    - name: served
      version: "1.0"
      service: {image: ` + imageA + `}
      channels: [{name: common}]
    - name: basic
      version: "1.0"
      image: ` + imageA + `
      channels: [{name: common}]
`

// newSource is a user with a network whose files lie beside the code, and a cluster.
func newSource(t *testing.T) *live {
	t.Helper()
	w := newEmpty(t)
	w.write("net/crypto-config.yaml", liveCrypto)
	w.write("net/network.yaml", sourceNetwork)
	w.write("code/built/go.mod", "module built\n")
	w.write("code/built/main.go", "package main\n\nfunc main() {}\n")
	return w
}

func filesOf(args ...string) []string {
	return append(args, "-f", "net/crypto-config.yaml", "-f", "net/network.yaml")
}

// TestPackage writes packages of all kinds.
func TestPackage(t *testing.T) {
	t.Parallel()
	w := newSource(t)
	code, out, errs := w.pivt(filesOf("chaincode", "package", "-d", "out", "-o", "json")...)
	var doc struct{ Data []packageFile }
	if err := json.Unmarshal([]byte(out), &doc); err != nil || code != exit.OK {
		t.Fatalf("exit %d, %v\n%s%s", code, err, out, errs)
	}
	want := []string{"out/built_1.0+x.tar.gz", "out/served_1.0.org1.tar.gz", "out/served_1.0.org2.tar.gz", "out/basic_1.0.tar.gz"}
	if len(doc.Data) != len(want) {
		t.Fatalf("%d packages, want %d: %s", len(doc.Data), len(want), out)
	}
	for i, p := range doc.Data {
		if p.File != want[i] {
			t.Errorf("package %d is %s, want %s", i, p.File, want[i])
			continue
		}
		data := []byte(w.read(p.File))
		contents, err := chaincode.Read(data)
		if err != nil || contents.Metadata.Label != p.Label || chaincode.PackageID(p.Label, data) != p.ID || len(data) != p.Bytes {
			t.Errorf("%s: %+v, %v; the list says %+v", p.File, contents, err, p)
		}
	}
	w.expect("A person sees file and id; the same source has the same id.", exit.OK, "built_1.0+x.tar.gz "+doc.Data[0].ID+"\n", "", filesOf("chaincode", "package", "built")...)
	w.expect("Names are for scripts.", exit.OK, "basic_1.0.tar.gz\n", "", filesOf("chaincode", "package", "basic", "-o", "name")...)
	w.expect("Unknown names are told with the known ones.", exit.Invalid, "", `chaincode "x" is not in the files; known: built, served, basic`, filesOf("chaincode", "package", "x")...)

	w.must(os.RemoveAll(filepath.Join(w.dir, "code")))
	w.expect("A directory that lacks is named as the user would.", exit.Invalid, "", `chaincode "built": source code/built: no such file or directory`, filesOf("chaincode", "package", "built")...)
	w.write("code/built", "a file")
	w.expect("A file is no source.", exit.Invalid, "", `source code/built is not a directory`, filesOf("chaincode", "package", "built")...)
}

// TestPush stores packages in the namespace.
func TestPush(t *testing.T) {
	t.Parallel()
	w := newSource(t)
	w.expect("What has no source has nothing to store.", exit.Invalid, "", `chaincode "basic" is not from source`, filesOf("chaincode", "push", "basic")...)
	w.expect("Without names, all sources.", exit.OK, "package/built_1.0+x created\n", "stored in namespace fabric", filesOf("chaincode", "push")...)
	w.expect("A repeat is cheap.", exit.OK, "package/built_1.0+x unchanged\n", "", filesOf("chaincode", "push")...)
	w.write("code/built/util.go", "package main\n")
	w.expect("As long as nothing is installed, the version may still change.", exit.OK, "package/built_1.0+x configured\n", "", filesOf("chaincode", "push")...)
	if maps := w.cluster.Names("configmaps", testNamespace); len(maps) != 2 {
		t.Errorf("of one small package there is one chunk and one index, and not %v", maps)
	}
	w.cluster.Refuse("create", "configmaps", "")
	w.write("code/built/util.go", "package main // again\n")
	w.expect("A right that lacks is named.", exit.Failed, "", `cannot create resource "configmaps"`, filesOf("chaincode", "push")...)
}

// TestPushTo sends a package to a registry.
func TestPushTo(t *testing.T) {
	t.Parallel()
	w := newSource(t)
	server := httptest.NewServer(registry.New())
	t.Cleanup(server.Close)
	to := "oci://" + strings.TrimPrefix(server.URL, "http://") + "/cc/built"
	push := func(args ...string) []string { return filesOf(append([]string{"chaincode", "push"}, args...)...) }

	w.expect("One address is for one package.", exit.Invalid, "", "name one of: built, served, basic", push("built", "basic", "--to", to)...)
	w.expect("Organisations' packages of a server differ.", exit.Invalid, "", "a server of its own in each organisation", push("served", "--to", to)...)
	w.expect("An address without scheme is refused.", exit.Invalid, "", "oci://", push("built", "--to", strings.TrimPrefix(to, "oci://"))...)
	code, out, errs := w.pivt(push("--to", to)...)
	line, ok := strings.CutPrefix(out, "package: "+to+"@sha256:")
	if code != exit.OK || !ok || !strings.Contains(errs, `write this line into network.yaml at chaincode "built"`) {
		t.Fatalf("push: exit %d, stdout %q, stderr %q", code, out, errs)
	}

	// The line does what it says: it is valid, and the package is the same.
	_, before, _ := w.pivt(push("built", "--to", to, "-o", "json")...)
	w.write("net/network.yaml", strings.Replace(sourceNetwork, "source: ../code/built\n      language: golang", "package: "+to+"@sha256:"+strings.TrimSpace(line), 1))
	var doc struct{ Data []packageFile }
	w.must(json.Unmarshal([]byte(before), &doc))
	w.expect("The package comes back from the registry.", exit.OK, "built_1.0+x.tar.gz "+doc.Data[0].ID+"\n", "", filesOf("chaincode", "package", "built")...)
}

func TestTagged(t *testing.T) {
	t.Parallel()
	for to, want := range map[string]string{
		"oci://host/repo":          "oci://host/repo:1.0_x",
		"oci://host:5000/repo":     "oci://host:5000/repo:1.0_x",
		"oci://host:5000/repo:tag": "oci://host:5000/repo:tag",
	} {
		if got := tagged(to, "1.0+x"); got != want {
			t.Errorf("tagged(%s) = %s, want %s", to, got, want)
		}
	}
}
