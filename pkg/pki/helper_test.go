package pki

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pivt.io/pivt/pkg/network"
)

// noon is when every test happens.
func noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC) }

func opts() Options { return Options{Now: noon, unsynced: true} }

// org makes an organisation as the loader would: cryptogen's names and defaults.
func org(kind network.Kind, name, domain string, nodes int, change ...func(*network.Org)) *network.Org {
	o := &network.Org{
		Name: name, Domain: domain, MSPID: name + "MSP", Kind: kind, NodeOUs: true,
		CA: network.CA{
			Hostname: "ca", CommonName: "ca." + domain,
			Country: "US", Province: "California", Locality: "San Francisco",
		},
		Users: []string{"User1"},
	}
	for range nodes {
		addNode(o)
	}
	for _, c := range change {
		c(o)
	}
	return o
}

func addNode(o *network.Org) {
	host := string(o.Kind) + strconv.Itoa(len(o.Nodes))
	o.Nodes = append(o.Nodes, &network.Node{Org: o, Hostname: host, CommonName: host + "." + o.Domain})
}

func withoutNodeOUs(o *network.Org) { o.NodeOUs = false }

// small has one of everything.
func small(change ...func(*network.Org)) *network.Network {
	n := &network.Network{
		Version:     "3.1.1",
		OrdererOrgs: []*network.Org{org(network.Orderer, "Orderer", "example.com", 1, change...)},
		PeerOrgs:    []*network.Org{org(network.Peer, "Org1", "org1.example.com", 1, change...)},
	}
	return n
}

func peerOf(n *network.Network) *network.Org { return n.PeerOrgs[0] }

func ensure(t *testing.T, dir string, n *network.Network) []Change {
	t.Helper()
	changes, err := Ensure(dir, n, opts())
	if err != nil {
		t.Fatalf("Ensure: %v", err)
	}
	return changes
}

func load(t *testing.T, dir string, n *network.Network) *Material {
	t.Helper()
	m, err := Load(dir, n)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return m
}

// entry is all that a test wants to know of a file.
type entry struct {
	Mode  fs.FileMode
	Bytes string
	Time  time.Time
}

// snapshot reads the files of a tree by their path inside it, the lock left out.
func snapshot(t *testing.T, dir string) map[string]entry {
	t.Helper()
	all := map[string]entry{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".pivt.lock" {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		all[filepath.ToSlash(rel)] = entry{info.Mode().Perm(), string(b), info.ModTime()}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func isKey(path string) bool {
	return strings.HasSuffix(path, "_sk") || strings.HasSuffix(path, ".key")
}

// keysKept fails the test if a private key of before is gone or changed in after.
func keysKept(t *testing.T, before, after map[string]entry) {
	t.Helper()
	for path, b := range before {
		if isKey(path) && after[path].Bytes != b.Bytes {
			t.Errorf("private key %s is gone or was changed", path)
		}
	}
}

func remove(t *testing.T, elements ...string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(elements...)); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path string, b []byte, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, b, mode); err != nil {
		t.Fatal(err)
	}
}
