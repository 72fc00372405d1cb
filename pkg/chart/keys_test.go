package chart

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/charts"
	"pivt.io/pivt/pkg/network"
)

// Package network and the charts' schemas must let the same root keys pass, or a file is
// valid here and refused there.
func TestRootKeysAreThoseOfNetwork(t *testing.T) {
	t.Parallel()
	var schema struct {
		Properties           map[string]any `json:"properties"`
		AdditionalProperties *bool          `json:"additionalProperties"`
	}
	data, err := fs.ReadFile(charts.FS, "hlf-kube/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	if schema.AdditionalProperties == nil || *schema.AdditionalProperties {
		t.Error("the schema's root is open: typos would pass")
	}
	var got []string
	for key := range schema.Properties {
		got = append(got, key)
	}
	want := append(append([]string(nil), network.FileKeys...), network.ChartKeys...)
	for _, path := range network.RemovedKeys() {
		root, _, _ := strings.Cut(path, ".")
		want = append(want, root)
	}
	sort.Strings(got)
	sort.Strings(want)
	if diff := cmp.Diff(slices.Compact(want), got); diff != "" {
		t.Errorf("root keys: -package network, +schema:\n%s", diff)
	}
}

// What package network takes with a warning, no chart may refuse.
func TestRemovedKeysRender(t *testing.T) {
	t.Parallel()
	s := sampleNamed(t, "test-network")
	removed := map[string]any{ // as PIVT's files have them; the others take any value
		"tlsEnabled": true, "useActualDomains": true, "hostAliases": []any{}, "network.genesisProfile": "OrdererGenesis",
		"network.systemChannelID": "testchainid", "orderer.replicas": 1, "backup.enabled": true, "orderer.launchPods": true, "peer.launchPods": true,
	}
	for _, path := range network.RemovedKeys() {
		values := s.values(t)
		value, known := removed[path]
		if !known {
			value = map[string]any{"enabled": true}
		}
		set(values, path, value)
		for _, name := range Names() {
			if _, err := Render(name, values, RenderOptions{}); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

// set puts a value at a dotted path.
func set(values map[string]any, path string, value any) {
	parts := strings.Split(path, ".")
	for _, p := range parts[:len(parts)-1] {
		inner, ok := values[p].(map[string]any)
		if !ok {
			inner = map[string]any{}
			values[p] = inner
		}
		values = inner
	}
	values[parts[len(parts)-1]] = value
}

// The templates that several charts need are copies: a library chart would have to be
// fetched or packaged, and these are two files.
func TestCopiesAreEqual(t *testing.T) {
	t.Parallel()
	for file, in := range map[string][]string{"_names.tpl": Names(), "_step.tpl": flows()} {
		first, err := os.ReadFile(filepath.Join(chartsDir, in[0], "templates", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range in[1:] {
			other, err := os.ReadFile(filepath.Join(chartsDir, name, "templates", file))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(first), string(other)); diff != "" {
				t.Errorf("%s: -%s, +%s:\n%s", file, in[0], name, diff)
			}
		}
	}
}

// What a flow prints must depend on values alone; every Helm then prints the same bytes.
func TestFlowTemplatesReadOnlyValues(t *testing.T) {
	t.Parallel()
	forbidden := []string{".Release", ".Capabilities", ".Files", "lookup", "now", "rand", "uuidv4", "env ", "expandenv", "genCA", "getHostByName"}
	for _, flow := range append(flows(), BackupFlow) {
		err := fs.WalkDir(charts.FS, flow+"/templates", func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := fs.ReadFile(charts.FS, p)
			if err != nil {
				return err
			}
			for _, action := range actions(string(data)) {
				for _, word := range forbidden {
					if slices.Contains(strings.FieldsFunc(action, notWord), strings.TrimSpace(word)) {
						t.Errorf("%s uses %s in {{%s}}", p, word, action)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func notWord(c rune) bool {
	return !(c == '.' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9')
}

// actions are the template actions of a file, without comments.
func actions(text string) []string {
	var all []string
	for {
		_, rest, ok := strings.Cut(text, "{{")
		if !ok {
			return all
		}
		action, after, _ := strings.Cut(rest, "}}")
		if !strings.HasPrefix(strings.TrimPrefix(action, "- "), "/*") {
			all = append(all, action)
		}
		text = after
	}
}

// The files that travel in a release. A file that appears here by accident is shipped to
// every user, and one that is missing here breaks every include of it.
func TestShippedFiles(t *testing.T) {
	t.Parallel()
	flow := []string{"Chart.yaml", "README.md", "templates/_names.tpl", "templates/_network.tpl", "templates/_step.tpl", "templates/_validate.tpl", "templates/workflow.yaml", "values.schema.json", "values.yaml"}
	want := map[string][]string{
		ChannelFlow:   flow,
		ChaincodeFlow: flow,
		BackupFlow: {"Chart.yaml", "README.md", "templates/_names.tpl", "templates/_settings.tpl", "templates/_spec.tpl", "templates/_task.tpl", "templates/_validate.tpl",
			"templates/workflow.yaml", "values.schema.json", "values.yaml"},
		Network: {
			"Chart.yaml", "README.md",
			"templates/NOTES.txt",
			"templates/_helpers.tpl", "templates/_names.tpl", "templates/_nodes.tpl", "templates/_pod.tpl",
			"templates/backup/role.yaml", "templates/backup/rolebinding.yaml", "templates/backup/serviceaccount.yaml",
			"templates/chaincode/_service.tpl",
			"templates/chaincode/networkpolicy.yaml",
			"templates/chaincode/service-deployment.yaml", "templates/chaincode/service-networkpolicy.yaml",
			"templates/chaincode/service-poddisruptionbudget.yaml", "templates/chaincode/service.yaml",
			"templates/extraobjects.yaml",
			"templates/flow/role.yaml", "templates/flow/rolebinding.yaml", "templates/flow/serviceaccount.yaml",
			"templates/networkpolicy.yaml",
			"templates/orderer/networkpolicy.yaml", "templates/orderer/poddisruptionbudget.yaml", "templates/orderer/service.yaml",
			"templates/orderer/serviceaccount.yaml", "templates/orderer/statefulset.yaml",
			"templates/peer/_couchdb.tpl", "templates/peer/launcher.yaml", "templates/peer/networkpolicy.yaml", "templates/peer/poddisruptionbudget.yaml", "templates/peer/role.yaml",
			"templates/peer/rolebinding.yaml", "templates/peer/service.yaml", "templates/peer/serviceaccount.yaml", "templates/peer/statefulset.yaml",
			"templates/validate.yaml",
			"values.schema.json", "values.yaml",
		},
	}
	for _, name := range Names() {
		c, err := load(name)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range c.Raw {
			if f.Name != ".helmignore" {
				got = append(got, f.Name)
			}
		}
		sort.Strings(got)
		if diff := cmp.Diff(want[name], got); diff != "" {
			t.Errorf("%s: -want, +got:\n%s", name, diff)
		}
	}
}
