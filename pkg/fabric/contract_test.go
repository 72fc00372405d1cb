package fabric_test

import (
	"os"
	"testing"

	"pivt.io/pivt/pkg/fabric/fabrictest"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

func TestMain(m *testing.M) {
	fabrictest.Main()
	os.Exit(m.Run())
}

func TestContractOfFakes(t *testing.T) {
	t.Parallel()
	fabrictest.Contract(t, func(t testing.TB, n *network.Network, m *pki.Material) fabrictest.Network {
		return fabrictest.PrepareNodes(t, n, m)
	})
}

func TestContractOfProcesses(t *testing.T) {
	fabrictest.Contract(t, func(t testing.TB, n *network.Network, m *pki.Material) fabrictest.Network {
		return fabrictest.PrepareProcesses(t, n, m)
	})
}
