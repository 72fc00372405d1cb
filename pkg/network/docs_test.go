package network_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chartutil"

	"pivt.io/pivt/pkg/network"
)

const threeOrgs = `OrdererOrgs:
  - {Name: Orderer, Domain: example.com, EnableNodeOUs: true, Specs: [{Hostname: orderer0}]}
PeerOrgs:
  - {Name: Org1, Domain: org1.example.com, EnableNodeOUs: true, Template: {Count: 2}}
  - {Name: Org2, Domain: org2.example.com, EnableNodeOUs: true, Template: {Count: 2}}
  - {Name: Org3, Domain: org3.example.com, EnableNodeOUs: true, Template: {Count: 2}}
`

// TestExamplesOfTheDocs loads what people will copy.
func TestExamplesOfTheDocs(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "files.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(data), "```yaml\n")[1:]
	for i, block := range blocks {
		block, _, _ := strings.Cut(block, "```")
		if strings.Contains(block, "collections:\n") {
			block = "network:\n  channels: [{name: common, orgs: [Org1, Org2]}]\n  chaincodes:\n    - name: a\n      source: .\n      language: node\n      channels: [{name: common}]\n" + block
		}
		_, problems, err := network.Load([]network.Source{{Name: "crypto-config.yaml", Data: []byte(threeOrgs)}, {Name: "network.yaml", Data: []byte(block)}}, nil)
		if err != nil || len(problems) > 0 {
			t.Errorf("example %d: %s%v\n%s", i+1, lines(problems), err, block)
		}
	}
	if len(blocks) < 2 {
		t.Errorf("there are %d examples in YAML", len(blocks))
	}
}

// TestSchemasTakeTheCorpus holds the charts' schemas against Load: what we take, "helm
// install" must take as well.
func TestSchemasTakeTheCorpus(t *testing.T) {
	t.Parallel()
	for _, chart := range []string{"hlf-kube", "channel-flow", "chaincode-flow"} {
		schema, err := os.ReadFile(filepath.Join("..", "..", "charts", chart, "values.schema.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range cases(t, "valid-*.txtar") {
			if filepath.Base(file) == "valid-merge.txtar" {
				continue // it has values of no chart
			}
			sources, _, _ := golden(t, file)
			values, err := network.Values(sources, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := chartutil.ValidateAgainstSingleSchema(values, schema); err != nil {
				t.Errorf("%s: %s: %v", chart, file, err)
			}
		}
		// And the schema is not so loose that it would take anything.
		for _, wrong := range []string{
			"{network: {chaincodes: [{name: a, service: {adress: 'a:1'}}]}}", "{network: {chaincodes: [{name: a, package: a.tgz}]}}",
			"{network: {chaincodes: [{name: a, collections: [{name: x}]}]}}", "{network: {chaincodes: [{name: a, init: {args: []}}]}}",
		} {
			values, err := network.Values([]network.Source{{Name: "network.yaml", Data: []byte(wrong)}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if chartutil.ValidateAgainstSingleSchema(values, schema) == nil {
				t.Errorf("%s takes %s", chart, wrong)
			}
		}
	}
}
