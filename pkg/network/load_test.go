package network_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// lines prints problems as a person sees them.
func lines(ps network.Problems) string {
	var b strings.Builder
	for _, p := range ps {
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}

func TestLoadValid(t *testing.T) {
	t.Parallel()
	for _, file := range cases(t, "valid-*.txtar") {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			sources, set, a := golden(t, file)
			n, problems, err := network.Load(sources, set)
			if err != nil {
				t.Fatalf("%s\nLoad: %v", a.Comment, err)
			}
			expect(t, file, a, problemsSection, lines(problems))
			expect(t, file, a, networkSection, describe(n))
			sameInOneFile(t, sources, set, n)
		})
	}
}

func TestLoadInvalid(t *testing.T) {
	t.Parallel()
	files := cases(t, "invalid-*.txtar")
	if len(files) < 30 {
		t.Errorf("there are %d broken inputs, and there should be 30 kinds at least", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			sources, set, a := golden(t, file)
			n, problems, err := network.Load(sources, set)
			if n != nil || err == nil {
				t.Fatalf("%s\nLoad: no error", a.Comment)
			}
			var invalid *network.InvalidError
			if !errors.As(err, &invalid) || exit.CodeOf(err) != exit.Invalid {
				t.Errorf("Load: error %T with code %d, want *InvalidError with %d", err, exit.CodeOf(err), exit.Invalid)
			}
			expect(t, file, a, problemsSection, lines(problems))
		})
	}
}

func TestDefaultNetwork(t *testing.T) {
	t.Parallel()
	var sources []network.Source
	for _, name := range []string{"crypto-config.yaml", "network.yaml"} {
		data, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, network.Source{Name: name, Data: data})
	}
	n, problems, err := network.Load(sources, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(problems) > 0 {
		t.Errorf("the default network must be without a warning, got:\n%s", lines(problems))
	}
	if len(n.Nodes()) != 5 || n.Chaincode("basic") == nil || n.Channel("mychannel") == nil {
		t.Errorf("the default network is not the shape of Fabric's test-network:\n%s", describe(n))
	}
}
