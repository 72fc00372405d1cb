//go:build e2e

package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-gateway/pkg/client"
)

const (
	lifecycleFiles = `hyperledgerVersion: "3.1.1"
network:
  channels: [{name: mychannel, orgs: [Org1, Org2]}]
  chaincodes:
    - name: notes
      version: "1.0"
      source: notes
      language: golang
      init: {function: Init, args: ["Field notes"]}
      collections: notes/collections.json
      channels:
        - name: mychannel
          policy: OR('Org1MSP.peer','Org2MSP.peer')
launcher:
  build:
    goProxy: GOPROXY
    caCertificates: CAS
    extraEnv: [{name: GOFLAGS, value: -gcflags=all=-N}]
`
	anyMember = "policy: OR('Org1MSP.peer','Org2MSP.peer')"
	allOfThem = "policy: AND('Org1MSP.peer','Org2MSP.peer')"
)

// TestLifecycle takes one chaincode of two organisations, with private data and a first call,
// through its life: changes of policy, collections and code, an upgrade and the way back.
func TestLifecycle(t *testing.T) {
	t.Parallel()
	s := newSite(t, "e2e-lifecycle")
	s.limit = sourceTimeout
	s.copySample("private", filepath.Join(s.dir, "notes"))
	s.write("crypto-config.yaml", `OrdererOrgs:
  - {Name: Orderer, Domain: example.com, EnableNodeOUs: true, Specs: [{Hostname: orderer0}]}
PeerOrgs:
  - {Name: Org1, Domain: org1.example.com, EnableNodeOUs: true, Template: {Count: 1}, Users: {Count: 1}}
  - {Name: Org2, Domain: org2.example.com, EnableNodeOUs: true, Template: {Count: 1}, Users: {Count: 1}}
`)
	s.write("network.yaml", strings.NewReplacer("GOPROXY", s.goProxy(), "CAS", s.localCAs()).Replace(lifecycleFiles))
	s.pivt("install", "--timeout", sourceTimeout.String()).ok()
	one, two := s.gateway("Org1", "org1.example.com"), s.gateway("Org2", "org2.example.com")

	s.assertDefinition(one, "1.0", 1)
	if title, err := one.evaluate(labChannel, "notes", "Title"); err != nil || title != "Field notes" {
		t.Errorf("Title = %q, %v; want what the first call wrote", title, err)
	}
	s.assertPrivate(one, two)

	s.replace("network.yaml", anyMember, allOfThem)
	s.pivt("chaincode", "install").ok()
	s.assertDefinition(one, "1.0", 2)

	s.replace("notes/collections.json", "[\n", `[{"name": "late", "policy": "OR('Org2MSP.member')", "maxPeerCount": 1},`+"\n")
	s.pivt("chaincode", "install").ok()
	s.assertDefinition(one, "1.0", 3)

	s.replace("notes/contract.go", "a notebook needs a title", "a notebook wants a title")
	if r := s.pivt("chaincode", "install"); r.code != 2 || !strings.Contains(r.stderr, "notes_1.0:") || !strings.Contains(r.stderr, "new version") {
		t.Errorf("other code under a committed version: exit %d, want 2 with the package ids and the cure:\n%s", r.code, r.stderr)
	}
	s.assertDefinition(one, "1.0", 3)

	s.pivt("chaincode", "upgrade", "--version", "2.0", "--include", "notes", "--timeout", sourceTimeout.String()).ok()
	s.assertDefinition(one, "2.0", 4)
	s.assertPods("2.0", "notes")
	s.assertWords(one, "wants")

	s.pivt("chaincode", "rollback", "notes", "--yes", "--timeout", sourceTimeout.String()).ok()
	s.assertDefinition(one, "1.0", 5)
	s.assertPods("1.0", "notes")
	s.assertWords(one, "needs")
	if note, err := one.evaluate(labChannel, "notes", "GetPrivate", "org1Notes", "a"); err != nil || note != "secret" {
		t.Errorf("after an upgrade and back the private note is %q, %v", note, err)
	}

	var listed struct {
		Data []struct {
			Name, Channel, Version string
			Sequence               int64
		}
	}
	s.must(json.Unmarshal([]byte(s.pivt("chaincode", "list", "-o", "json").ok().stdout), &listed))
	if len(listed.Data) != 1 || listed.Data[0].Name != "notes" || listed.Data[0].Version != "1.0" || listed.Data[0].Sequence != 5 {
		t.Errorf("chaincode list = %+v, want notes 1.0 with sequence 5", listed.Data)
	}
}

// assertPrivate writes a private note as one organisation and sees who can read it.
func (s *site) assertPrivate(one, two *gateway) {
	s.t.Helper()
	_, err := one.gw.GetNetwork(labChannel).GetContract("notes").Submit("PutPrivate",
		client.WithArguments("org1Notes", "a"), client.WithTransient(map[string][]byte{"note": []byte("secret")}),
		client.WithEndorsingOrganizations("Org1MSP"))
	if err != nil {
		s.t.Fatalf("writing a private note: %v", err)
	}
	if note, err := one.evaluate(labChannel, "notes", "GetPrivate", "org1Notes", "a"); err != nil || note != "secret" {
		s.t.Errorf("a member of the collection reads %q, %v; want its note", note, err)
	}
	if note, err := two.evaluate(labChannel, "notes", "GetPrivate", "org1Notes", "a"); err == nil {
		s.t.Errorf("who is no member of the collection reads %q", note)
	}
}

func (s *site) assertDefinition(g *gateway, version string, sequence int64) {
	s.t.Helper()
	if v, n := g.committed(labChannel, "notes"); v != version || n != sequence {
		s.t.Errorf("version %s, sequence %d are committed, want %s, %d", v, n, version, sequence)
	}
}

// assertWords asks the code that runs for its own words.
func (s *site) assertWords(g *gateway, word string) {
	s.t.Helper()
	if _, err := g.evaluate(labChannel, "notes", "Init", ""); err == nil || !strings.Contains(err.Error(), word) {
		s.t.Errorf("the code that runs says %v, want %q", err, word)
	}
}
