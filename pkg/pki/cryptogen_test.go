package pki

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/network"
)

// binEnv names a directory with Fabric's own binaries, as hack/devcluster builds them.
const binEnv = "PIVT_TEST_FABRIC_BIN"

func fabricBin(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv(binEnv)
	if dir == "" {
		t.Skipf("%s is not set; it names the directory of Fabric's %s", binEnv, name)
	}
	return filepath.Join(dir, name)
}

// cryptogenFile writes the crypto-config.yaml that n would have been loaded from. With
// serviceNames it lists the Service of every node under SANS, as PIVT's users had to.
func cryptogenFile(t *testing.T, n *network.Network, serviceNames bool) string {
	t.Helper()
	var b bytes.Buffer
	for _, kind := range []struct {
		key  string
		orgs []*network.Org
	}{{"OrdererOrgs", n.OrdererOrgs}, {"PeerOrgs", n.PeerOrgs}} {
		fmt.Fprintf(&b, "%s:\n", kind.key)
		for _, o := range kind.orgs {
			fmt.Fprintf(&b, "- Name: %s\n  Domain: %s\n  EnableNodeOUs: %t\n  Users: {Count: %d}\n  Specs:\n", o.Name, o.Domain, o.NodeOUs, len(o.Users))
			for _, node := range o.Nodes {
				fmt.Fprintf(&b, "  - Hostname: %s\n", node.Hostname)
				if serviceNames {
					fmt.Fprintf(&b, "    SANS: [%s]\n", node.Name())
				}
			}
		}
	}
	path := filepath.Join(t.TempDir(), "crypto-config.yaml")
	write(t, path, b.Bytes(), 0o644)
	return path
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func forNodeOUs(t *testing.T, test func(t *testing.T, change ...func(*network.Org))) {
	for name, change := range map[string][]func(*network.Org){"NodeOUs": nil, "WithoutNodeOUs": {withoutNodeOUs}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, change...)
		})
	}
}

// TestCryptogenAccepted: a tree of cryptogen's with the Service names in it needs nothing.
func TestCryptogenAccepted(t *testing.T) {
	t.Parallel()
	cryptogen := fabricBin(t, "cryptogen")
	forNodeOUs(t, func(t *testing.T, change ...func(*network.Org)) {
		dir, n := t.TempDir(), small(change...)
		run(t, cryptogen, "generate", "--config="+cryptogenFile(t, n, true), "--output="+dir)
		before := snapshot(t, dir)
		if changes := ensure(t, dir, n); len(changes) > 0 {
			t.Errorf("cryptogen's tree was changed: %v", changes)
		}
		if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
			t.Errorf("-before, +after:\n%s", diff)
		}
		load(t, dir, n)
	})
}

// TestCryptogenWithoutServiceNames: only TLS server certificates may change, over their keys.
func TestCryptogenWithoutServiceNames(t *testing.T) {
	t.Parallel()
	cryptogen := fabricBin(t, "cryptogen")
	forNodeOUs(t, func(t *testing.T, change ...func(*network.Org)) {
		dir, n := t.TempDir(), small(change...)
		run(t, cryptogen, "generate", "--config="+cryptogenFile(t, n, false), "--output="+dir)
		before := snapshot(t, dir)
		if changes := ensure(t, dir, n); len(changes) != len(n.Nodes()) {
			t.Errorf("changes %v, want one for each of %d nodes", changes, len(n.Nodes()))
		}
		after := snapshot(t, dir)
		for path, b := range before {
			if !strings.HasSuffix(path, "tls/server.crt") && b != after[path] {
				t.Errorf("%s was changed", path)
			}
		}
		if len(after) != len(before) {
			t.Errorf("%d files before, %d after", len(before), len(after))
		}
		load(t, dir, n)
	})
}

// TestCryptogenExtends: people who know cryptogen may go on using it on our trees.
func TestCryptogenExtends(t *testing.T) {
	t.Parallel()
	cryptogen := fabricBin(t, "cryptogen")
	forNodeOUs(t, func(t *testing.T, change ...func(*network.Org)) {
		dir, n := t.TempDir(), small(change...)
		ensure(t, dir, n)
		before := snapshot(t, dir)
		addNode(peerOf(n))
		peerOf(n).Users = append(peerOf(n).Users, "User2")
		run(t, cryptogen, "extend", "--config="+cryptogenFile(t, n, true), "--input="+dir)
		if changes := ensure(t, dir, n); len(changes) > 0 {
			t.Errorf("what cryptogen added was changed: %v", changes)
		}
		after := snapshot(t, dir)
		keysKept(t, before, after)
		if len(after) <= len(before) {
			t.Error("cryptogen added nothing; the test shows nothing")
		}
		load(t, dir, n)
	})
}

// certFacts is what a certificate says but for keys, times and serial numbers.
type certFacts struct {
	Subject, Issuer string
	CA              bool
	Usage           x509.KeyUsage
	ExtUsage        []x509.ExtKeyUsage
	Names           []string
	HasKeyID        bool
	Validity        string
}

func factsOf(t *testing.T, b string) certFacts {
	t.Helper()
	c := parse(t, []byte(b))
	f := certFacts{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(), CA: c.IsCA,
		Usage: c.KeyUsage, ExtUsage: c.ExtKeyUsage,
		HasKeyID: len(c.SubjectKeyId) == 32, Validity: c.NotAfter.Sub(c.NotBefore).String(),
	}
	for _, name := range sansOf(c) {
		if !slices.Contains(localNames(), name) {
			f.Names = append(f.Names, name)
		}
	}
	slices.Sort(f.Names)
	return f
}

// TestSameAsCryptogen makes one tree with each and compares every file.
func TestSameAsCryptogen(t *testing.T) {
	t.Parallel()
	cryptogen := fabricBin(t, "cryptogen")
	forNodeOUs(t, func(t *testing.T, change ...func(*network.Org)) {
		n := small(change...)
		n.OrdererOrgs = append(n.OrdererOrgs, org(network.Orderer, "Second", "second.example.com", 2, change...))
		ours, theirs := t.TempDir(), t.TempDir()
		ensure(t, ours, n)
		run(t, cryptogen, "generate", "--config="+cryptogenFile(t, n, true), "--output="+theirs)
		a, b := snapshot(t, ours), snapshot(t, theirs)
		// cryptogen makes every user the admin of the user's own copy of the MSP.
		delete(a, "peerOrganizations/org1.example.com/users/User1@org1.example.com/msp/admincerts/Admin@org1.example.com-cert.pem")
		delete(b, "peerOrganizations/org1.example.com/users/User1@org1.example.com/msp/admincerts/User1@org1.example.com-cert.pem")
		if diff := cmp.Diff(sortedKeys(b), sortedKeys(a)); diff != "" {
			t.Fatalf("files: -cryptogen, +pivt:\n%s", diff)
		}
		for path := range a {
			switch {
			case isKey(path):
				if a[path].Mode != b[path].Mode {
					t.Errorf("%s: mode %o, cryptogen's %o", path, a[path].Mode, b[path].Mode)
				}
			case strings.HasSuffix(path, configFile):
				if diff := cmp.Diff(strings.Fields(b[path].Bytes), strings.Fields(a[path].Bytes)); diff != "" {
					t.Errorf("%s: -cryptogen, +pivt:\n%s", path, diff)
				}
			default:
				if diff := cmp.Diff(factsOf(t, b[path].Bytes), factsOf(t, a[path].Bytes)); diff != "" {
					t.Errorf("%s: -cryptogen, +pivt:\n%s", path, diff)
				}
			}
		}
	})
}
