package chart

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"sigs.k8s.io/yaml"

	"pivt.io/pivt/pkg/network"
)

func TestMisfits(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		values string
		want   []network.Misfit
	}{
		"Nothing":       {"Every value has a default.", `{}`, nil},
		"OtherCharts":   {"Values of all charts lie in one file.", `{backup: {keep: {daily: 7}}, flow: {retry: {limit: 3}}}`, nil},
		"UnknownKey":    {"A typo would be ignored.", `{backup: {schedul: x}}`, []network.Misfit{{Path: []string{"backup"}, Unknown: "schedul"}}},
		"TwoUnknown":    {"Each has a place of its own.", `{peer: {foo: 1, bar: 2}}`, []network.Misfit{{Path: []string{"peer"}, Unknown: "bar"}, {Path: []string{"peer"}, Unknown: "foo"}}},
		"WrongValue":    {"The word above it that something is wrong below is not repeated.", `{backup: {target: {type: floppy}}}`, []network.Misfit{{Path: []string{"backup", "target", "type"}, Message: "value must be one of 's3', 'azure', 'gcs', 'sftp', 'webdav', 'pvc', 'awsS3', 'azureBlobStorage'"}}},
		"WrongKind":     {"A default cannot be merged with it.", `{peer: {image: 3}}`, []network.Misfit{{Path: []string{"peer", "image"}, Message: "got number, want object"}}},
		"InList":        {"Items of lists are places, too.", `{PeerOrgs: [{Name: A, Domain: a}, {Name: B, Domain: b, Templat: {}}]}`, []network.Misfit{{Path: []string{"PeerOrgs", "1"}, Unknown: "Templat"}}},
		"FilesPattern":  {"The files' own keys are in the schema as well.", `{network: {chaincodes: [{name: a, version: "1", service: {image: x}}]}}`, []network.Misfit{{Path: []string{"network", "chaincodes", "0", "service", "image"}, Message: "'x' does not match pattern '^[^@]+@sha256:[0-9a-f]{64}$'"}}},
		"NullIsDefault": {"Helm takes null for the wish to have no default.", `{peer: {resources: null}}`, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var values map[string]any
			if err := yaml.Unmarshal([]byte(tc.values), &values); err != nil {
				t.Fatal(err)
			}
			got, err := Misfits(values)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreFields(network.Misfit{}, "Known")); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
			for _, m := range got {
				if m.Unknown != "" && len(m.Known) == 0 {
					t.Errorf("nobody is told which keys %v has", m.Path)
				}
			}
		})
	}
}
