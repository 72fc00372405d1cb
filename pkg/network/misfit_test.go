package network_test

import (
	"testing"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// TestMisfits finds the places of what the charts' schema complains about.
func TestMisfits(t *testing.T) {
	t.Parallel()
	sources := []network.Source{
		{Name: "network.yaml", Data: []byte("backup:\n  schedul: x\npeer:\n  tolerations:\n    - {kee: a}\n")},
		{Name: "more.yaml", Data: []byte("peer: {image: 3}\n")},
	}
	err := network.Misfits(sources, []string{"flow.retry.limt=3"}, []network.Misfit{
		{Path: []string{"flow", "retry"}, Unknown: "limt", Known: []string{"limit"}},
		{Path: []string{"peer", "image"}, Message: "got number, want object"},
		{Path: []string{"peer", "tolerations", "0"}, Unknown: "kee", Known: []string{"key"}},
		{Path: []string{"backup"}, Unknown: "schedul", Known: []string{"keep", "schedule"}},
		{Path: []string{"backup", "target", "hosts", "3"}, Message: "is missing"},
	})
	const want = `network.yaml:2:3: unknown key "schedul" in backup; did you mean "schedule"?
network.yaml:2:3: backup.target.hosts[3]: is missing
network.yaml:5:8: unknown key "kee" in peer.tolerations[0]; did you mean "key"?
more.yaml:1:15: peer.image: got number, want object
--set flow.retry.limt=3: unknown key "limt" in flow.retry; did you mean "limit"?`
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
	if exit.CodeOf(err) != exit.Invalid {
		t.Errorf("code %d, want %d", exit.CodeOf(err), exit.Invalid)
	}
}
