package chart

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
	helm "helm.sh/helm/v3/pkg/chart"

	"pivt.io/pivt/pkg/network"
)

// Each chart's README is made from its Chart.yaml and the comments of its values.yaml.
func TestReadmeIsGenerated(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		want := readme(t, name)
		file := filepath.Join(chartsDir, name, "README.md")
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s: run go test ./pkg/chart -update; -values.yaml, +README:\n%s", file, diff)
		}
	}
}

func readme(t *testing.T, name string) string {
	t.Helper()
	var meta helm.Metadata
	var doc yaml.Node
	for file, into := range map[string]any{"Chart.yaml": &meta, "values.yaml": &doc} {
		data, err := os.ReadFile(filepath.Join(chartsDir, name, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(data, into); err != nil {
			t.Fatal(err)
		}
	}
	use := "helm template " + name + " -f crypto-config.yaml -f network.yaml | argo submit -"
	switch name {
	case BackupFlow: // with a schedule it is a CronWorkflow, which argo submit passes over
		use = strings.Replace(use, " |", " --set backup.schedule= |", 1)
	case Network:
		use = "pivt render secrets | kubectl apply -f -\nhelm install hlf-kube hlf-kube -f crypto-config.yaml -f network.yaml"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<!-- Made from Chart.yaml and values.yaml by go test ./pkg/chart -update; do not edit. -->\n# %s\n\n%s. `pivt` renders it with the user's files as values, and so can you:\n\n```sh\n%s\n```\n\n", name, meta.Description, use)
	b.WriteString("`crypto-config.yaml` and `network.yaml` are values like those below, which may stand in any of the files.\n\n| value | default | |\n|---|---|---|\n")
	rows(t, &b, doc.Content[0], "")
	return b.String()
}

func rows(t *testing.T, b *strings.Builder, n *yaml.Node, at string) {
	t.Helper()
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		path := strings.TrimPrefix(at+"."+key.Value, ".")
		added, description, err := annotations(key.HeadComment)
		if err != nil {
			t.Fatal(err)
		}
		if value.Kind == yaml.MappingNode && len(value.Content) > 0 && added["additionalProperties"] != true {
			rows(t, b, value, path)
			continue
		}
		if description == "" { // the user's files
			continue
		}
		var v any
		if err := value.Decode(&v); err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(b, "| `%s` | `%s` | %s |\n", path, data, strings.ReplaceAll(description, "|", `\|`))
	}
}

// The examples beside the charts render, alone, as chart tools use them.
func TestExampleValuesRender(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		files, err := filepath.Glob(filepath.Join(chartsDir, name, "ci", "*-values.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has no examples: %v", name, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sources := []network.Source{{Name: file, Data: data}}
			values, err := network.Values(sources, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := network.Load(sources, nil); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			mustRender(t, name, values)
		}
	}
}
