package network_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	helmyaml "sigs.k8s.io/yaml"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

const (
	goodCrypto = `OrdererOrgs:
  - {Name: Orderer, Domain: example.com, EnableNodeOUs: true, Specs: [{Hostname: orderer0}]}
PeerOrgs:
  - {Name: Org1, Domain: org1.example.com, EnableNodeOUs: true, Template: {Count: 1}}
  - {Name: Org2, Domain: org2.example.com, EnableNodeOUs: true, Template: {Count: 1}}
`
	goodNetwork = `network:
  channels:
    - {name: mychannel, orgs: [Org1, Org2]}
`
)

// seeds adds the files of all golden cases whose name has a suffix.
func seeds(f *testing.F, name string) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*.txtar"))
	if err != nil || len(files) == 0 {
		f.Fatal("no golden files: ", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		_, rest, found := strings.Cut(string(data), "-- "+name+" --\n")
		if !found {
			continue
		}
		body, _, _ := strings.Cut(rest, "\n-- ")
		f.Add([]byte(body + "\n"))
	}
}

func FuzzLoadCrypto(f *testing.F) {
	seeds(f, "crypto-config.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		checkLoad(t, []network.Source{{Name: "crypto-config.yaml", Data: data}, {Name: "network.yaml", Data: []byte(goodNetwork)}}, data)
	})
}

func FuzzLoadNetwork(f *testing.F) {
	seeds(f, "network.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		checkLoad(t, []network.Source{{Name: "crypto-config.yaml", Data: []byte(goodCrypto)}, {Name: "network.yaml", Data: data}}, data)
	})
}

var kubernetesName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// checkLoad loads whatever it is given and checks what must hold for every input.
func checkLoad(t *testing.T, sources []network.Source, data []byte) {
	t.Helper()
	n, problems, err := network.Load(sources, nil)
	lastLine := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + strings.Count(string(data), "\u0085") +
		strings.Count(string(data), "\u2028") + strings.Count(string(data), "\u2029") + 1
	for _, p := range problems {
		if p.Line < 1 || p.Column < 1 || p.Line > max(lastLine, 10) || strings.ContainsAny(p.String(), "\n\r") {
			t.Errorf("a problem's place or form is wrong: %q", p.String())
		}
	}
	if err != nil {
		var invalid *network.InvalidError
		if n != nil || !errors.As(err, &invalid) || len(problems.Errors()) == 0 || exit.CodeOf(err) != exit.Invalid {
			t.Fatalf("error without its problems: %v", err)
		}
		return
	}
	if len(problems.Errors()) > 0 {
		t.Fatalf("a network in spite of %v", problems.Errors())
	}
	checkNames(t, n)
	checkHelmReadsAlike(t, n, sources)
	sameInOneFile(t, sources, nil, n)
}

// checkNames checks that everything that becomes a Kubernetes name is one, and unique.
func checkNames(t *testing.T, n *network.Network) {
	t.Helper()
	seen := map[string]bool{}
	check := func(name string, limit int) {
		if len(name) > limit || !kubernetesName.MatchString(name) || seen[name] {
			t.Errorf("%q is not a Kubernetes name of at most %d, or is there twice", name, limit)
		}
		seen[name] = true
	}
	for _, o := range n.Orgs() {
		check(o.Label(), 63)
		check(o.AdminSecret(), 63)
		check(o.ClientSecret(), 63)
		for _, node := range o.Nodes {
			check(node.Name(), 52)
			check(node.MSPSecret(), 63)
			check(node.TLSSecret(), 63)
		}
	}
	for _, ch := range n.Channels {
		for _, o := range ch.OrdererOrgs {
			check(ch.CreateTask(o), 63)
		}
		for _, o := range ch.Orgs {
			check(ch.JoinTask(o), 63)
		}
	}
	for _, cc := range n.Chaincodes {
		check(cc.CommitTask(), 63)
		check(cc.SmokeTask(), 63)
		for _, o := range cc.Orgs {
			check(cc.InstallTask(o), 63)
			if cc.Service != nil && cc.Service.Image != "" {
				check(o.ChaincodeService(cc), 52)
			}
		}
	}
}

// checkHelmReadsAlike checks that charts get from Helm the values that we checked.
func checkHelmReadsAlike(t *testing.T, n *network.Network, sources []network.Source) {
	t.Helper()
	for _, s := range sources {
		want := map[string]any{}
		if err := helmyaml.Unmarshal(s.Data, &want); err != nil {
			t.Fatalf("Helm cannot read what we can: %v", err)
		}
		got, err := network.Values([]network.Source{s}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("Helm reads something else: -Helm, +ours:\n%s", diff)
		}
	}
	values, err := network.Values(sources, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	var charts struct {
		Network struct {
			Channels   []struct{ Name string }
			Chaincodes []struct{ Name string }
		}
	}
	if err := json.Unmarshal(data, &charts); err != nil {
		t.Fatal(err)
	}
	if len(charts.Network.Channels) != len(n.Channels) || len(charts.Network.Chaincodes) != len(n.Chaincodes) {
		t.Fatalf("charts see %d channels and %d chaincodes, we %d and %d",
			len(charts.Network.Channels), len(charts.Network.Chaincodes), len(n.Channels), len(n.Chaincodes))
	}
	for i, ch := range charts.Network.Channels {
		if ch.Name != n.Channels[i].Name {
			t.Errorf("charts see channel %q, we %q", ch.Name, n.Channels[i].Name)
		}
	}
}
