package network_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

func TestProblemPaths(t *testing.T) {
	t.Parallel()
	_, problems, err := network.Load([]network.Source{
		{Name: "dir/crypto-config.yaml", Data: []byte(goodCrypto)},
		{Name: "dir/network.yaml", Data: []byte("network:\n  channels:\n    - {name: a, orgs: [Org1, Org3]}\n  genesisProfile: x\n")},
	}, []string{"network.channels[0].consensus=kafka"})
	if err == nil {
		t.Fatal("Load: no error")
	}
	want := network.Problems{
		{File: "dir/network.yaml", Line: 3, Column: 30, Path: "network.channels[0].orgs[1]", Severity: network.Error,
			Message: `channel "a": org "Org3" is not in crypto-config.yaml; did you mean "Org1"?`},
		{File: "dir/network.yaml", Line: 4, Column: 19, Path: "network.genesisProfile", Severity: network.Warning,
			Message: "network.genesisProfile has no effect: Fabric has no system channel any more; every channel gets a genesis block of its own, made from network.channels"},
		{File: "--set network.channels[0].consensus=kafka", Path: "network.channels[0].consensus", Severity: network.Error,
			Message: `consensus "kafka" is no longer in Fabric; write etcdraft or BFT`},
	}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Errorf("problems: -want, +got:\n%s", diff)
	}
	if got := fmt.Sprint(len(problems.Errors()), len(problems.Warnings())); got != "2 1" {
		t.Errorf("errors and warnings: %s, want 2 1", got)
	}
}

func TestInvalidErrorPrintsTwenty(t *testing.T) {
	t.Parallel()
	var orgs []string
	for i := range 30 {
		orgs = append(orgs, fmt.Sprintf("nobody%d", i))
	}
	_, problems, err := network.Load([]network.Source{
		{Name: "crypto-config.yaml", Data: []byte(goodCrypto)},
		{Name: "network.yaml", Data: []byte("tlsEnabled: false\nnetwork:\n  channels: [{name: a, orgs: [" + strings.Join(orgs, ", ") + "]}]\n")},
	}, nil)
	var invalid *network.InvalidError
	if !errors.As(err, &invalid) || exit.CodeOf(err) != exit.Invalid {
		t.Fatalf("Load: %v, want an InvalidError with code %d", err, exit.Invalid)
	}
	if len(problems) != 31 || len(invalid.Problems) != 31 {
		t.Errorf("%d problems returned and %d in the error, want 31 with the warning", len(problems), len(invalid.Problems))
	}
	printed := strings.Split(err.Error(), "\n")
	if len(printed) != 21 || printed[20] != "and 10 more" || strings.Contains(err.Error(), "warning") {
		t.Errorf("the error must print 20 errors, no warning and how many are left, got:\n%v", err)
	}
}

func TestLoadNothing(t *testing.T) {
	t.Parallel()
	n, problems, err := network.Load(nil, nil)
	if n != nil || exit.CodeOf(err) != exit.Invalid || len(problems) != 1 {
		t.Errorf("Load of no files: %v, %v, %v", n, problems, err)
	}
}

// TestLoadIsPure checks that loading leaves its input alone and gives the same again.
func TestLoadIsPure(t *testing.T) {
	t.Parallel()
	sources := large(2, 2, 2, 2)
	before := string(sources[0].Data) + string(sources[1].Data)
	first, _, err := network.Load(sources, []string{"network.batch.timeout=2s"})
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := network.Load(sources, []string{"network.batch.timeout=2s"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(describe(first), describe(second)); diff != "" {
		t.Errorf("two loads differ:\n%s", diff)
	}
	if string(sources[0].Data)+string(sources[1].Data) != before {
		t.Error("Load changed its input")
	}
}

// TestLoadStaysCheap guards the time of the largest network by what does not depend on
// the machine: BenchmarkLoad shows about 9 ms for these 36,000 allocations.
func TestLoadStaysCheap(t *testing.T) {
	sources := large(10, 4, 10, 10)
	allocs := testing.AllocsPerRun(1, func() {
		if _, _, err := network.Load(sources, nil); err != nil {
			t.Error(err)
		}
	})
	if allocs > 60_000 {
		t.Errorf("Load of 10x4x10x10 allocates %.0f times, want at most 60,000", allocs)
	}
}
