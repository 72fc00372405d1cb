package keeper

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"pivt.io/pivt/charts"
)

// The tests' API server grants what the chart's Role does, no more and no less; and the chart
// knows the ConfigMap that a restore makes.
func TestRightsAreTheCharts(t *testing.T) {
	t.Parallel()
	text, err := fs.ReadFile(charts.FS, "hlf-kube/templates/backup/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var plain []string
	for _, line := range strings.Split(string(text), "\n") {
		if !strings.Contains(line, "{{") {
			plain = append(plain, line)
		}
	}
	var role rbacv1.Role
	if err := yaml.Unmarshal([]byte(strings.Join(plain, "\n")), &role); err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, rule := range role.Rules {
		if names := rule.ResourceNames; names != nil && !slices.Contains(names, RecoveryConfigMap) {
			t.Errorf("%v are limited to %v", rule.Resources, names)
		}
		for _, resource := range rule.Resources {
			got[resource] = append(got[resource], rule.Verbs...)
		}
	}
	want := map[string][]string{}
	for _, g := range granted {
		resource, verbs, _ := strings.Cut(g, ": ")
		want[resource] = strings.Fields(verbs)
	}
	for _, all := range []map[string][]string{got, want} {
		for _, verbs := range all {
			slices.Sort(verbs)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rights: -granted here, +the chart's:\n%s", diff)
	}
	peer, err := fs.ReadFile(charts.FS, "hlf-kube/templates/peer/statefulset.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if line := fmt.Sprintf("configMapRef: {name: %s, optional: true}", RecoveryConfigMap); !strings.Contains(string(peer), line) {
		t.Errorf("peers have no %q", line)
	}
}
