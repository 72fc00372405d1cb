package chaincode_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/network"
)

// binEnv names the directory with Fabric's real programs.
const binEnv = "PIVT_TEST_FABRIC_BIN"

// peerCLI runs Fabric's own command line, for which an identity is enough.
type peerCLI struct {
	t   *testing.T
	bin string
	env []string
}

func newPeerCLI(t *testing.T) peerCLI {
	t.Helper()
	bin := os.Getenv(binEnv)
	if bin == "" {
		t.Skip("set " + binEnv + " to the directory with peer and cryptogen")
	}
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"crypto.yaml": "PeerOrgs: [{Name: Org1, Domain: org1.example.com, EnableNodeOUs: true, Template: {Count: 1}}]\n",
		"core.yaml":   "peer: {mspConfigPath: msp}\n",
	})
	p := peerCLI{t: t, bin: bin}
	p.run("cryptogen", "generate", "--config", filepath.Join(dir, "crypto.yaml"), "--output", filepath.Join(dir, "crypto"))
	p.env = []string{"FABRIC_CFG_PATH=" + dir, "CORE_PEER_LOCALMSPID=Org1MSP", "FABRIC_LOGGING_SPEC=error", "GOFLAGS=-mod=mod", "GOPROXY=off",
		"CORE_PEER_MSPCONFIGPATH=" + filepath.Join(dir, "crypto/peerOrganizations/org1.example.com/users/Admin@org1.example.com/msp")}
	return p
}

func (p peerCLI) run(program string, args ...string) string {
	p.t.Helper()
	c := exec.CommandContext(p.t.Context(), filepath.Join(p.bin, program), args...)
	c.Env = append(os.Environ(), p.env...)
	out, err := c.CombinedOutput()
	if err != nil {
		p.t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSameAsPeerCLI packs the same directories as Fabric's own command line: the files and
// what the metadata mean must be the same, and the peer's id of our package must be ours.
func TestSameAsPeerCLI(t *testing.T) {
	p := newPeerCLI(t)
	cases := map[string]struct {
		reason         string
		language, path string // ours
		theirs         string // where Fabric's command line is pointed, below the source
		files          map[string]string
		sameMeta       string // Fabric's path for our path
	}{
		"Module": {
			reason: "The usual Go chaincode.", language: "golang", sameMeta: "example.com/cc",
			files: map[string]string{"go.mod": goMod, "main.go": goMain, "lib/a.go": "package lib\n", ".hidden/HEAD": "x", "README": "x", indexes + "a.json": anIndex},
		},
		"MainBelow": {
			reason: "Fabric is pointed at the package and finds the module.", language: "golang", path: "cmd/cc", theirs: "cmd/cc", sameMeta: "example.com/cc/cmd/cc",
			files: map[string]string{"go.mod": goMod, "lib/a.go": "package lib\n", "cmd/cc/main.go": goMain, "cmd/cc/" + indexes + "a.json": anIndex},
		},
		"Node": {
			reason: "And Node's.", language: "node",
			files: map[string]string{"package.json": start, ".npmrc": "x", "index.js": "x", "node_modules/a/a.js": "x", indexes + "a.json": anIndex},
		},
		"Java": {
			reason: "And Java's.", language: "java",
			files: map[string]string{"build.gradle": "x", "src/main/java/A.java": "x", "src/main/java/A.class": "x", "build/a": "x", "out/b": "x", "target/c": "x", indexes + "a.json": anIndex},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p := p
			p.t = t
			dir := t.TempDir()
			root := filepath.Join(dir, "cc")
			write(t, root, tc.files)
			theirs := filepath.Join(dir, "theirs.tar.gz")
			p.run("peer", "lifecycle", "chaincode", "package", theirs, "--path", filepath.Join(root, tc.theirs), "--lang", tc.language, "--label", "basic_1.0")
			ours, err := chaincode.PackageSource(source(tc.language, tc.path), os.DirFS(root))
			if err != nil {
				t.Fatalf("%s\nPackageSource: %v", tc.reason, err)
			}
			other, err := os.ReadFile(theirs)
			if err != nil {
				t.Fatal(err)
			}
			theirMeta, theirFiles, _ := unpack(t, other)
			_, ourFiles, _ := unpack(t, ours)
			if diff := cmp.Diff(theirFiles, ourFiles); diff != "" {
				t.Errorf("%s\nfiles: -peer's, +ours:\n%s", tc.reason, diff)
			}
			var m chaincode.Metadata
			if err := json.Unmarshal([]byte(theirMeta), &m); err != nil {
				t.Fatal(err)
			}
			if tc.sameMeta != "" && m.Path != tc.sameMeta || m.Type != tc.language || m.Label != "basic_1.0" {
				t.Errorf("%s\nthe peer's metadata.json = %s", tc.reason, theirMeta)
			}
			checkID(t, p, "basic_1.0", ours)
		})
	}
}

func checkID(t *testing.T, p peerCLI, label string, pkg []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ours.tar.gz")
	if err := os.WriteFile(file, pkg, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := p.run("peer", "lifecycle", "chaincode", "calculatepackageid", file), chaincode.PackageID(label, pkg); got != want {
		t.Errorf("the peer calls the package %s, we %s", got, want)
	}
}

// TestPeerReadsPackages has the peer's own program read the other types.
func TestPeerReadsPackages(t *testing.T) {
	p := newPeerCLI(t)
	for _, cc := range []*network.Chaincode{
		basic(),
		{Name: "basic", Version: "2.0+a", Service: &network.Service{Address: "a:1", TLS: network.NoTLS}},
	} {
		pkg, err := chaincode.Package(cc, org())
		if err != nil {
			t.Fatal(err)
		}
		checkID(t, p, cc.Label(), pkg)
	}
}

// TestBuildsAsFabricDoes runs the script of Fabric's Docker build for Go (core/chaincode/platforms/
// golang) on unpacked packages, with the paths of their metadata.
func TestBuildsAsFabricDoes(t *testing.T) {
	if os.Getenv(binEnv) == "" {
		t.Skip("needs " + binEnv + ", and Go")
	}
	const script = `
set -e
if [ -f "$IN/src/go.mod" ] && [ -d "$IN/src/vendor" ]; then
    cd $IN/src
    GO111MODULE=on go build -mod=vendor -o $OUT $P
elif [ -f "$IN/src/go.mod" ]; then
    cd $IN/src
    GO111MODULE=on go build -mod=readonly -o $OUT $P
elif [ -f "$IN/src/$P/go.mod" ] && [ -d "$IN/src/$P/vendor" ]; then
    cd $IN/src/$P
    GO111MODULE=on go build -mod=vendor -o $OUT .
elif [ -f "$IN/src/$P/go.mod" ]; then
    cd $IN/src/$P
    GO111MODULE=on go build -mod=readonly -o $OUT .
else
    GO111MODULE=off GOPATH=$IN:$GOPATH go build -o $OUT $P
fi
`
	const uses = "package main\n\nimport \"example.com/lib\"\n\nfunc main() { lib.F() }\n"
	const lib, libMod = "package lib\n\nfunc F() {}\n", "module example.com/lib\n\ngo 1.21\n"
	require := goMod + "\nrequire example.com/lib v1.0.0\n"
	vendor := map[string]string{
		"vendor/modules.txt":          "# example.com/lib v1.0.0\n## explicit; go 1.21\nexample.com/lib\n",
		"vendor/example.com/lib/l.go": lib,
	}
	with := func(prefix string, more ...map[string]string) map[string]string {
		all := map[string]string{}
		for _, m := range more {
			for name, content := range m {
				all[prefix+name] = content
			}
		}
		return all
	}
	cases := map[string]struct {
		reason, path string
		files        map[string]string
	}{
		"Module":          {"go.mod at the root.", "", map[string]string{"go.mod": goMod, "main.go": goMain}},
		"Vendored":        {"With its modules beside it.", "", with("", vendor, map[string]string{"go.mod": require, "main.go": uses})},
		"MainBelow":       {"A package of the module.", "cmd/cc", map[string]string{"go.mod": goMod, "cmd/cc/main.go": goMain}},
		"MainBelowVendor": {"So with vendored modules.", "cmd/cc", with("", vendor, map[string]string{"go.mod": require, "cmd/cc/main.go": uses})},
		"ModuleBelow":     {"go.mod below, with another module beside it.", "cc", map[string]string{"cc/go.mod": require + "replace example.com/lib => ../lib\n", "cc/main.go": uses, "lib/go.mod": libMod, "lib/l.go": lib}},
		"VendoredBelow":   {"go.mod and vendor below.", "cc", with("cc/", vendor, map[string]string{"go.mod": require, "main.go": uses})},
		"Gopath":          {"No go.mod at all.", "example.com/cc", map[string]string{"example.com/cc/main.go": uses, "example.com/lib/l.go": lib}},
		"GopathVendor":    {"The vendor directory of GOPATH's days.", "example.com/cc", map[string]string{"example.com/cc/main.go": uses, "example.com/cc/vendor/example.com/lib/l.go": lib}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pkg, err := chaincode.PackageSource(source("golang", tc.path), tree(tc.files))
			if err != nil {
				t.Fatalf("%s\nPackageSource: %v", tc.reason, err)
			}
			c, err := chaincode.Read(pkg)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			_, files, _ := unpack(t, pkg)
			write(t, filepath.Join(dir, "in"), files)
			out := filepath.Join(dir, "chaincode")
			sh := exec.CommandContext(t.Context(), "sh", "-c", script)
			sh.Env = append(os.Environ(), "IN="+filepath.Join(dir, "in"), "OUT="+out, "P="+c.Metadata.Path, "GOPROXY=off", "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")
			if text, err := sh.CombinedOutput(); err != nil {
				t.Fatalf("%s\nFabric's build: %v\n%s", tc.reason, err, text)
			}
			if text, err := exec.CommandContext(t.Context(), out).CombinedOutput(); err != nil {
				t.Errorf("%s\nthe chaincode: %v\n%s", tc.reason, err, text)
			}
		})
	}
}
