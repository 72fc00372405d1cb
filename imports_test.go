package pivt_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "pivt.io/pivt/"

// layers is the direction of imports: a package may import those of earlier layers only.
func layers() [][]string {
	return [][]string{
		{"pkg/exit", "pkg/few"},
		{"pkg/network"},
		{"pkg/pki", "pkg/chaincode"},
		{"pkg/profile", "pkg/configtx", "pkg/chart", "pkg/fabric", "pkg/kube", "pkg/transfer", "pkg/depot", "pkg/backup"},
		{"pkg/ledger", "pkg/repository", "pkg/ledger/ledgertest"},
		{"pkg/volume"},
		{"pkg/fabric/fabrictest", "pkg/deploy/deploytest", "pkg/step", "pkg/runtime", "pkg/workflow", "pkg/keeper"},
		{"pkg/launcher", "pkg/deploy", "pkg/check", "pkg/runtime/runtimetest"},
		{"pkg/cli/pod", "pkg/cli/backuppod", "pkg/deploy/deploytest"},
		{"pkg/cli"},
		{"cmd/pivt", "cmd/pivt-pod", "cmd/pivt-backup", "cmd/pivt/e2e"},
	}
}

// rule forbids what is reached, directly or through others.
type rule struct {
	reason   string
	packages []string
	never    []string
}

func rules() []rule {
	const (
		helm    = "helm.sh/helm/v3"
		argo    = "github.com/argoproj/argo-workflows/v3"
		k8s     = "k8s.io/"
		kopia   = "github.com/kopia/"
		fabrics = "github.com/hyperledger/"
	)
	return []rule{
		{"The in-pod program must stay small to pull and quick to start.",
			[]string{"pkg/step", "pkg/depot", "pkg/runtime", "pkg/launcher", "pkg/cli/pod", "cmd/pivt-pod"}, []string{helm, argo}},
		{"So must the other one, which goes where the nodes' data are.",
			[]string{"pkg/volume", "pkg/repository", "pkg/keeper", "pkg/cli/backuppod", "cmd/pivt-backup"}, []string{helm, argo}},
		{"The backup repository has one door, and only one program goes through it.",
			[]string{"cmd/pivt", "cmd/pivt-pod", "pkg/keeper", "pkg/ledger", "pkg/backup"}, []string{kopia}},
		{"Reading a ledger needs neither cluster nor node.", []string{"pkg/ledger"}, []string{k8s + "client-go", helm, argo, "google.golang.org/grpc"}},
		{"Package kube is about Kubernetes alone.", []string{"pkg/kube"}, []string{fabrics, helm, argo}},
		{"Package fabric is about Fabric alone.", []string{"pkg/fabric", "pkg/configtx"}, []string{k8s, helm, argo}},
		{"Moving a directory is about files and TLS alone.", []string{"pkg/transfer"}, []string{k8s, fabrics, helm, argo}},
		{"Reading the files needs neither cluster nor node.", []string{"pkg/network", "pkg/pki"}, []string{k8s, helm, argo, "google.golang.org/grpc"}},
		{"A package, and a profile for applications, are made without a cluster.", []string{"pkg/chaincode", "pkg/profile"}, []string{k8s, helm, argo}},
		{"Helm has one door.", []string{"pkg/workflow", "pkg/kube"}, []string{helm}},
		{"Argo has one door.", []string{"pkg/chart", "pkg/kube"}, []string{argo}},
		{"The model and the exit codes are plain data.", []string{"pkg/network", "pkg/exit"}, []string{"net/http"}},
	}
}

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func list(t *testing.T) map[string]pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps=false", "-json=ImportPath,Imports,Deps", "./...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	all := map[string]pkg{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimPrefix(p.ImportPath, module)] = p
	}
}

func TestImportDirection(t *testing.T) {
	t.Parallel()
	level := map[string]int{}
	for i, l := range layers() {
		for _, p := range l {
			level[p] = i
		}
	}
	for name, p := range list(t) {
		if !strings.HasPrefix(name, "pkg/") && !strings.HasPrefix(name, "cmd/") {
			continue
		}
		from, ok := level[name]
		if !ok {
			t.Errorf("%s has no layer; give it one in layers()", name)
			continue
		}
		for _, imp := range p.Imports {
			to, ours := level[strings.TrimPrefix(imp, module)]
			if ours && to >= from {
				t.Errorf("%s imports %s, which is not in an earlier layer", name, strings.TrimPrefix(imp, module))
			}
		}
	}
}

func TestForbiddenImports(t *testing.T) {
	t.Parallel()
	all := list(t)
	for _, r := range rules() {
		for _, name := range r.packages {
			p, ok := all[name]
			if !ok {
				t.Errorf("rule names %s, which does not exist", name)
				continue
			}
			for _, dep := range p.Deps {
				if slices.ContainsFunc(r.never, func(n string) bool { return strings.HasPrefix(dep, n) }) {
					t.Errorf("%s reaches %s: %s", name, dep, r.reason)
					break
				}
			}
		}
	}
}

// TestDependenciesArgued keeps docs/dependencies.md complete: every direct requirement has
// its line.
func TestDependenciesArgued(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(mod), "\n") {
		fields := strings.Fields(line)
		if !strings.HasPrefix(line, "\t") || strings.Contains(line, "// indirect") || len(fields) != 2 {
			continue
		}
		if !strings.Contains(string(doc), "`"+fields[0]+"`") {
			t.Errorf("go.mod requires %s, and docs/dependencies.md does not say why", fields[0])
		}
	}
}
