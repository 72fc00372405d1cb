package chart

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"pivt.io/pivt/pkg/network"
)

var update = flag.Bool("update", false, "rewrite goldens and schemas")

// sample is a txtar with the user's files (crypto-config.yaml, network.yaml and perhaps
// values.yaml) and, below them, what the charts render for them.
type sample struct {
	name    string
	path    string
	archive *txtar.Archive
}

func samples(t testing.TB) []*sample { return samplesIn(t, "testdata") }

func samplesIn(t testing.TB, dir string) []*sample {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	var all []*sample
	for _, p := range paths {
		a, err := txtar.ParseFile(p)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &sample{strings.TrimSuffix(filepath.Base(p), ".txtar"), p, a})
	}
	return all
}

func sampleNamed(t testing.TB, name string) *sample {
	t.Helper()
	for _, s := range samples(t) {
		if s.name == name {
			return s
		}
	}
	t.Fatalf("no sample %s", name)
	return nil
}

// backups says where backups go, which no default can: without it backup-flow renders nothing.
const backups = "backup: {target: {type: pvc, pvc: {claimName: backups}}}"

// sources are the user's files, in the order of -f.
func (s *sample) sources() []network.Source {
	sources := []network.Source{{Name: "backup.yaml", Data: []byte(backups)}}
	for _, f := range s.archive.Files {
		if strings.HasSuffix(f.Name, ".yaml") {
			sources = append(sources, network.Source{Name: f.Name, Data: f.Data})
		}
	}
	return sources
}

func (s *sample) golden(name string) []byte {
	for _, f := range s.archive.Files {
		if f.Name == name+".golden" {
			return f.Data
		}
	}
	return nil
}

func (s *sample) setGolden(name string, data []byte) {
	for i, f := range s.archive.Files {
		if f.Name == name+".golden" {
			s.archive.Files[i].Data = data
			return
		}
	}
	s.archive.Files = append(s.archive.Files, txtar.File{Name: name + ".golden", Data: data})
}

func (s *sample) values(t testing.TB) map[string]any {
	t.Helper()
	v, err := network.Values(s.sources(), nil)
	if err != nil {
		t.Fatalf("%s: %v", s.path, err)
	}
	return v
}

func (s *sample) network(t testing.TB) *network.Network {
	t.Helper()
	n, _, err := network.Load(s.sources(), nil)
	if err != nil {
		t.Fatalf("%s: %v", s.path, err)
	}
	return n
}

// write puts the user's files where helm finds them and returns its flags.
func (s *sample) write(t testing.TB) []string {
	t.Helper()
	var flags []string
	dir := t.TempDir()
	for _, src := range s.sources() {
		file := filepath.Join(dir, src.Name)
		if err := os.WriteFile(file, src.Data, 0o600); err != nil {
			t.Fatal(err)
		}
		flags = append(flags, "-f", file)
	}
	return flags
}

func mustRender(t testing.TB, name string, values map[string]any) []byte {
	t.Helper()
	out, err := Render(name, values, RenderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// with returns the values with text merged over them, as a further -f would.
func with(t testing.TB, s *sample, text string) map[string]any {
	t.Helper()
	sources := append(s.sources(), network.Source{Name: "more.yaml", Data: []byte(text)})
	v, err := network.Values(sources, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// objects decodes what a chart rendered, by "Kind/name".
func objects(t testing.TB, manifest []byte) map[string]*unstructured.Unstructured {
	t.Helper()
	all := map[string]*unstructured.Unstructured{}
	for _, doc := range bytes.Split(manifest, []byte("\n---\n")) {
		o := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(doc, &o.Object); err != nil {
			t.Fatalf("%v in:\n%s", err, doc)
		}
		if o.Object == nil {
			continue
		}
		key := o.GetKind() + "/" + o.GetName() + o.GetGenerateName()
		if all[key] != nil {
			t.Fatalf("%s is there twice", key)
		}
		all[key] = o
	}
	return all
}

// scaled makes a network of orgs x peers x channels x chaincodes, everybody everywhere.
func scaled(orgs, peers, channels, chaincodes int) []network.Source {
	var crypto, net strings.Builder
	crypto.WriteString("OrdererOrgs:\n  - Name: Orderer\n    Domain: example.com\n    EnableNodeOUs: true\n    Specs: [{Hostname: orderer0}, {Hostname: orderer1}, {Hostname: orderer2}]\nPeerOrgs:\n")
	var names, members []string
	for i := range orgs {
		fmt.Fprintf(&crypto, "  - Name: Org%d\n    Domain: org%d.example.com\n    EnableNodeOUs: true\n    Template: {Count: %d}\n    Users: {Count: 1}\n", i, i, peers)
		names = append(names, fmt.Sprintf("Org%d", i))
		members = append(members, fmt.Sprintf("'Org%dMSP.member'", i))
	}
	net.WriteString("network:\n  channels:\n")
	for i := range channels {
		fmt.Fprintf(&net, "    - name: channel%d\n      orgs: [%s]\n", i, strings.Join(names, ", "))
	}
	net.WriteString("  chaincodes:\n")
	for i := range chaincodes {
		fmt.Fprintf(&net, "    - name: chaincode%d\n      version: \"1.0\"\n      image: registry.example.com/chaincode%d@sha256:%064d\n      orgs: [%s]\n      channels:\n", i, i, i, strings.Join(names, ", "))
		for j := range channels {
			fmt.Fprintf(&net, "        - name: channel%d\n          orgs: [%s]\n          policy: OR(%s)\n", j, strings.Join(names, ", "), strings.Join(members, ","))
		}
	}
	return []network.Source{
		{Name: "crypto-config.yaml", Data: []byte(crypto.String())}, {Name: "network.yaml", Data: []byte(net.String())}, {Name: "backup.yaml", Data: []byte(backups)},
	}
}
