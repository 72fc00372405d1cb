package cli_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"pivt.io/pivt/pkg/exit"
)

// TestProfile asks for profiles as a user does; what is in them is package profile's business.
func TestProfile(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		args   []string
		code   exit.Code
		stdout []string // in it
		stderr string   // in it
	}{
		"YAML":       {"Without a format it is YAML, as Fabric's samples have it.", []string{"Org1"}, exit.OK, []string{"version: 1.0.0\n", "url: grpcs://hlf-peer--org1--peer0:7051\n"}, ""},
		"JSON":       {"A profile in JSON is the profile itself, in no envelope: an SDK reads it.", []string{"Org2", "-o", "json"}, exit.OK, []string{`"organization": "Org2"`, "{\n  \"name\": \"pivt-org2\""}, ""},
		"Address":    {"The way in is one flag.", []string{"Org1", "--address", "peer0=localhost:7051"}, exit.OK, []string{"url: grpcs://localhost:7051\n", "ssl-target-name-override: peer0.org1.example.com\n"}, ""},
		"External":   {"So is a domain with all nodes in it.", []string{"Org1", "--external", "example.org:443"}, exit.OK, []string{"url: grpcs://hlf-orderer--orderer--orderer0.example.org:443\n"}, ""},
		"Client":     {"The example goes to stdout as the profile does.", []string{"Org1", "--example", "go"}, exit.OK, []string{"package main\n", `"mychannel"`, `"basic"`}, ""},
		"UnknownOrg": {"The names that are known are told.", []string{"Org3"}, exit.Invalid, nil, `peer org "Org3" is not in the files; known: Org1, Org2`},
		"Orderers":   {"Applications belong to organisations with peers.", []string{"Orderer"}, exit.Invalid, nil, `peer org "Orderer" is not in the files`},
		"BadAddress": {"An address nobody could reach is refused.", []string{"Org1", "--address", "peer0=localhost"}, exit.Invalid, nil, `--address "peer0=localhost": "localhost" is not HOST:PORT`},
		"BadDomain":  {"A URL is no domain.", []string{"Org1", "--external", "https://example.org"}, exit.Invalid, nil, `--external "https://example.org" is no DOMAIN`},
		"BadExample": {"Languages are a closed list.", []string{"Org1", "--example", "cobol"}, exit.Invalid, nil, `there is no example "cobol"; known: go`},
	}
	dir := t.TempDir()
	for _, args := range [][]string{{"init"}, {"crypto", "generate"}} {
		if got := run(t, dir, nil, args...); got.code != exit.OK {
			t.Fatal(got.stderr)
		}
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := run(t, dir, nil, append([]string{"profile"}, tc.args...)...)
			if got.code != tc.code || !strings.Contains(got.stderr, tc.stderr) || tc.code != exit.OK && got.stdout != "" {
				t.Errorf("%s\nexit %d, stderr %q, stdout %q", tc.reason, got.code, got.stderr, got.stdout)
			}
			for _, want := range tc.stdout {
				if !strings.Contains(got.stdout, want) {
					t.Errorf("%s\nstdout lacks %q:\n%s", tc.reason, want, got.stdout)
				}
			}
		})
	}
}

// TestProfileDirectory writes everything that an application's developer is given.
func TestProfileDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if got := run(t, dir, nil, "init"); got.code != exit.OK {
		t.Fatal(got.stderr)
	}
	if got := run(t, dir, nil, "profile", "Org1", "-d", "client"); got.code == exit.OK || !strings.Contains(got.stderr, "pivt crypto generate") {
		t.Errorf("without certificates: exit %d, %s", got.code, got.stderr)
	}
	if got := run(t, dir, nil, "crypto", "generate"); got.code != exit.OK {
		t.Fatal(got.stderr)
	}
	got := run(t, dir, nil, "profile", "Org1", "-d", "client", "--example", "go")
	want := "client/connection-org1.json created\nclient/connection-org1.yaml created\nclient/main.go created\n"
	if d := cmp.Diff(want, got.stdout); d != "" || got.code != exit.OK {
		t.Errorf("exit %d, stdout: -want, +got:\n%s%s", got.code, d, got.stderr)
	}
	asJSON, err := os.ReadFile(filepath.Join(dir, "client", "connection-org1.json"))
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := os.ReadFile(filepath.Join(dir, "client", "connection-org1.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var fromJSON, fromYAML map[string]any
	if err := yaml.Unmarshal(asJSON, &fromJSON); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(asYAML, &fromYAML); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(fromJSON, fromYAML); d != "" {
		t.Errorf("the two formats differ: -json, +yaml:\n%s", d)
	}
}

// TestNetworkNoun finds the same commands under their noun.
func TestNetworkNoun(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"install", "uninstall", "status", "check", "validate", "render"} {
		short, long := run(t, t.TempDir(), nil, name, "--help"), run(t, t.TempDir(), nil, "network", name, "--help")
		if d := cmp.Diff(short.stdout, strings.ReplaceAll(long.stdout, "pivt network "+name, "pivt "+name)); d != "" {
			t.Errorf("pivt network %s is another command than pivt %s: %s", name, name, d)
		}
	}
	help := run(t, t.TempDir(), nil, "--help").stdout
	for _, noun := range []string{"network", "channel", "chaincode", "profile"} {
		if !slices.ContainsFunc(strings.Split(help, "\n"), func(l string) bool { return strings.HasPrefix(l, "  "+noun+" ") }) {
			t.Errorf("pivt --help does not show %s:\n%s", noun, help)
		}
	}
	validated := run(t, t.TempDir(), nil, "network", "instal")
	if validated.code != exit.Invalid || !strings.Contains(validated.stderr, "did you mean install?") {
		t.Errorf("pivt network instal: exit %d, %s", validated.code, validated.stderr)
	}
}

// TestCompletion completes what the files know, without a cluster.
func TestCompletion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if got := run(t, dir, nil, "init"); got.code != exit.OK {
		t.Fatal(got.stderr)
	}
	for line, want := range map[string]string{
		"profile ":                         "Org1\nOrg2\n",
		"chaincode logs ":                  "basic\n",
		"chaincode logs basic --org ":      "Org1\nOrg2\n",
		"chaincode upgrade --include ":     "basic\n",
		"chaincode upgrade --dry-run ":     "none\nclient\nserver\n",
		"chaincode install --include ":     "basic\n",
		"chaincode query basic --channel ": "mychannel\n",
		"profile Org1 --example ":          "go\n",
		"restore --org ":                   "Orderer\nOrg1\nOrg2\n",
		"restore --accept ":                "newer-data\nmissing-parts\nother-network\nunverified\noverwrite\n",
		"network render ":                  "backup-flow\nchannel-flow\nchaincode-flow\nhlf-kube\nsecrets\n",
	} {
		got := run(t, dir, nil, append([]string{"__complete"}, strings.Split(line, " ")...)...)
		names, _, _ := strings.Cut(got.stdout, ":")
		sorted := strings.Split(strings.TrimSpace(names), "\n")
		wanted := strings.Split(strings.TrimSpace(want), "\n")
		slices.Sort(sorted)
		slices.Sort(wanted)
		if !slices.Equal(sorted, wanted) {
			t.Errorf("pivt %s<TAB>: %q, want %q", line, names, want)
		}
	}
}
