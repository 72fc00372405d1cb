//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer/lifecycle"
	"google.golang.org/protobuf/proto"
)

// sourceTimeout is for an install with many builds on a small machine.
const sourceTimeout = 30 * time.Minute

// sourced is a chaincode that the peers build.
type sourced struct {
	reason   string
	language string
	path     string
	// write makes version 1.0 of the source in a directory.
	write func(s *site, dir string)
	// edit is one line of the source: what it is at 1.0 and what it becomes at 2.0.
	file, old, now string
	// standIn marks a language whose images here have nothing of it: what runs knows nothing of the source.
	standIn bool
}

const (
	sampleDir = "../../../samples/chaincode"
	goPath    = "example.com/basic"
	// What the samples say of an asset that is not there, and what their next version says.
	oldWords, newWords = "does not exist", "is not there"
	goOld, goNow       = "asset %q " + oldWords, "asset %q " + newWords
	nodeOld, nodeNow   = `asset "${id}" ` + oldWords, `asset "${id}" ` + newWords
)

// sources are all the layouts that Fabric's own builder takes.
func sources() map[string]sourced {
	return map[string]sourced{
		"go-vendor": {
			reason: "Vendored modules build where no module proxy can be reached.", language: "golang",
			write: func(s *site, dir string) { s.copySample("basic", dir); s.vendor(dir) },
			file:  "contract.go", old: goOld, now: goNow,
		},
		"go-modules": {
			reason: "Modules come from the proxy that the values name.", language: "golang",
			write: func(s *site, dir string) { s.copySample("basic", dir) },
			file:  "contract.go", old: goOld, now: goNow,
		},
		"go-below": {
			reason: "The module may lie in a directory below the source.", language: "golang", path: "contracts/basic",
			write: func(s *site, dir string) { s.copySample("basic", filepath.Join(dir, "contracts/basic")) },
			file:  "contracts/basic/contract.go", old: goOld, now: goNow,
		},
		"go-path": {
			reason: "Code from before modules has its dependencies in a vendor directory and no go.mod.", language: "golang", path: goPath,
			write: func(s *site, dir string) {
				dir = filepath.Join(dir, goPath)
				s.copySample("basic", dir)
				s.vendor(dir)
				for _, name := range []string{"go.mod", "go.sum", "vendor/modules.txt"} {
					s.must(os.Remove(filepath.Join(dir, name)))
				}
			},
			file: goPath + "/contract.go", old: goOld, now: goNow,
		},
		"javascript": {
			reason: "npm installs what the lock file says.", language: "node",
			write: func(s *site, dir string) { s.copySample("javascript", dir) },
			file:  "lib/assetContract.js", old: nodeOld, now: nodeNow,
		},
		"typescript": {
			reason: "npm runs the compiler, as the package's prepare script.", language: "node",
			write: func(s *site, dir string) { s.copySample("typescript", dir) },
			file:  "src/assetContract.ts", old: nodeOld, now: nodeNow,
		},
		"java": {
			reason: "The builder image here is a stand-in without Java: what is under test is the way there and back.", language: "java",
			write: func(s *site, dir string) {
				s.must(os.MkdirAll(filepath.Join(dir, "src/main/java"), 0o755))
				s.must(os.WriteFile(filepath.Join(dir, "build.gradle"), []byte("plugins { id 'java' }\nversion = '1.0'\n"), 0o644))
				s.must(os.WriteFile(filepath.Join(dir, "src/main/java/Basic.java"), []byte("class Basic {}\n"), 0o644))
			},
			file: "build.gradle", old: "'1.0'", now: "'2.0'", standIn: true,
		},
	}
}

// TestSources builds, runs and upgrades a chaincode of every layout, on one peer.
func TestSources(t *testing.T) {
	t.Parallel()
	s := newSite(t, "e2e-sources")
	s.limit = sourceTimeout
	ccs := sources()
	var entries strings.Builder
	for name, cc := range ccs {
		cc.write(s, filepath.Join(s.dir, name))
		entries.WriteString(sourceEntry(name, cc))
	}
	s.sourceNetwork(entries.String())
	s.pivt("install", "--timeout", sourceTimeout.String()).ok()
	g := s.gateway("Org1", "org1.example.com")
	for name, cc := range ccs {
		g.submit(labChannel, name, "CreateAsset", "one", "Ada", "300")
		s.assertSourced(g, name, cc, "1.0", 1, oldWords)
		s.replace(filepath.Join(name, cc.file), cc.old, cc.now)
	}
	s.assertPods("1.0", names(ccs)...)

	s.pivt("chaincode", "upgrade", "--version", "2.0", "--timeout", sourceTimeout.String()).ok()
	for name, cc := range ccs {
		s.assertSourced(g, name, cc, "2.0", 2, newWords)
		g.submit(labChannel, name, "CreateAsset", "two", "Grace", "301")
	}
	s.assertPods("2.0", names(ccs)...)
	for name := range ccs {
		r := s.pivt("chaincode", "query", name, "GetAllAssets").ok()
		if want := `[{"ID":"one","Owner":"Ada","Value":300},{"ID":"two","Owner":"Grace","Value":301}]`; !sameJSON(r.stdout, want) {
			t.Errorf("%s: the ledger holds %s, want %s", name, r.stdout, want)
		}
	}
}

// assertSourced asks the channel for the definition, the running code for its words, and the ledger for the asset of the
// first version.
func (s *site) assertSourced(g *gateway, name string, cc sourced, version string, sequence int64, words string) {
	s.t.Helper()
	if v, n := g.committed(labChannel, name); v != version || n != sequence {
		s.t.Errorf("%s: version %s, sequence %d are committed, want %s, %d\n%s", name, v, n, version, sequence, cc.reason)
	}
	if cc.standIn {
		words = oldWords
	}
	if answer, err := g.evaluate(labChannel, name, "ReadAsset", "none"); err == nil || !strings.Contains(err.Error(), words) {
		s.t.Errorf("%s: asked for what is not there, the code that runs answers %q, %v; want an error with %q\n%s", name, answer, err, words, cc.reason)
	}
	const want = `{"ID":"one","Owner":"Ada","Value":300}`
	if got, err := g.evaluate(labChannel, name, "ReadAsset", "one"); err != nil || !sameJSON(got, want) {
		s.t.Errorf("%s: reading the asset of version 1.0: %s, %v; want %s\n%s", name, got, err, want, cc.reason)
	}
}

func names(ccs map[string]sourced) []string { return slices.Collect(maps.Keys(ccs)) }

// assertPods waits until each peer has one pod of each chaincode, of this version, and no build is
// left.
func (s *site) assertPods(version string, ccs ...string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s.until(ctx, "one pod of version "+version+" for each chaincode and no other", func() (bool, error) {
		var odd []string
		seen := map[string]int{}
		peers := len(s.pods("app.kubernetes.io/component=peer"))
		for name, p := range s.pods(chaincodes) {
			label := p.Labels["pivt.io/chaincode"]
			cc, v, _ := strings.Cut(label, "_")
			if v != version || p.DeletionTimestamp != nil {
				odd = append(odd, name)
				continue
			}
			seen[cc]++
		}
		for name := range s.pods(buildPods) {
			odd = append(odd, name)
		}
		for _, name := range ccs {
			if seen[name] != peers {
				odd = append(odd, fmt.Sprintf("%d of %s", seen[name], name))
			}
		}
		return len(odd) == 0, fmt.Errorf("pods: %s", strings.Join(odd, ", "))
	})
}

// sourceNetwork writes the files of a network with one peer, which builds.
func (s *site) sourceNetwork(entries string) {
	s.t.Helper()
	s.write("crypto-config.yaml", `OrdererOrgs:
  - {Name: Orderer, Domain: example.com, EnableNodeOUs: true, Specs: [{Hostname: orderer0}]}
PeerOrgs:
  - {Name: Org1, Domain: org1.example.com, EnableNodeOUs: true, Template: {Count: 1}, Users: {Count: 1}}
`)
	list := "[]"
	if entries != "" {
		list = "\n" + entries
	}
	s.write("network.yaml", fmt.Sprintf(`hyperledgerVersion: "3.1.1"
network:
  channels: [{name: %s, orgs: [Org1]}]
  chaincodes: %s
launcher:
  build:
    goProxy: %q
    caCertificates: %s
    # Code that is not optimised compiles in two thirds of the time.
    extraEnv: [{name: GOFLAGS, value: -gcflags=all=-N}]
`, labChannel, list, s.goProxy(), s.localCAs()))
}

func sourceEntry(name string, cc sourced) string {
	entry := fmt.Sprintf("    - name: %s\n      version: \"1.0\"\n      source: %s\n      language: %s\n", name, name, cc.language)
	if cc.path != "" {
		entry += "      path: " + cc.path + "\n"
	}
	return entry + fmt.Sprintf("      channels: [{name: %s}]\n", labChannel)
}

// goProxy is what this machine downloads modules from, as the pods share its network.
func (s *site) goProxy() string {
	s.t.Helper()
	return strings.TrimSpace(s.exec("", "go", "env", "GOPROXY").wait().ok().stdout)
}

// localCAs are the certificates that this machine trusts beyond Debian's, as JSON, which is YAML too: behind a proxy
// that opens TLS nothing could be downloaded without them.
func (s *site) localCAs() string {
	s.t.Helper()
	files, err := filepath.Glob("/usr/local/share/ca-certificates/*.crt")
	s.must(err)
	var all strings.Builder
	for _, file := range files {
		b, err := os.ReadFile(file)
		s.must(err)
		fmt.Fprintf(&all, "%s\n", strings.TrimSpace(string(b)))
	}
	text, err := json.Marshal(all.String())
	s.must(err)
	return string(text)
}

// copySample copies one of the project's sample chaincodes, without what npm has made in it.
func (s *site) copySample(name, dir string) {
	s.t.Helper()
	s.must(os.MkdirAll(filepath.Dir(dir), 0o755))
	s.must(os.CopyFS(dir, os.DirFS(filepath.Join(sampleDir, name))))
	for _, made := range []string{"node_modules", "dist"} {
		s.must(os.RemoveAll(filepath.Join(dir, made)))
	}
}

func (s *site) vendor(dir string) {
	s.t.Helper()
	s.exec("", "go", "-C", dir, "mod", "vendor").wait().ok()
}

// committed is the version and sequence of the definition on the channel.
func (g *gateway) committed(channel, name string) (string, int64) {
	g.s.t.Helper()
	args, err := proto.Marshal(&lifecycle.QueryChaincodeDefinitionArgs{Name: name})
	g.s.must(err)
	answer, err := g.gw.GetNetwork(channel).GetContract("_lifecycle").EvaluateTransaction("QueryChaincodeDefinition", string(args))
	if err != nil {
		g.s.t.Fatalf("asking for the definition of %s: %v", name, err)
	}
	var d lifecycle.QueryChaincodeDefinitionResult
	g.s.must(proto.Unmarshal(answer, &d))
	return d.GetVersion(), d.GetSequence()
}

func sameJSON(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	one, _ := json.Marshal(x)
	two, _ := json.Marshal(y)
	return string(one) == string(two)
}
