package keeper

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// A CA is no node of the files: its labels alone say what it is. It is saved and restored all
// the same.
func TestCA(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const name = "hlf-ca--a"
	set := nodeSet(&network.Node{Org: w.net.PeerOrgs[0], Hostname: "ca"})
	set.Name, set.Labels["app.kubernetes.io/component"] = name, "ca"
	w.add(set)
	w.eventually("the CA runs", func() bool { return w.up(name) })
	other := set.DeepCopy()
	other.Name, other.UID, other.Labels["app.kubernetes.io/part-of"] = "somebodys-ca", "", "another-chart"
	w.add(other)

	k := w.keeper(nil)
	if err := k.SaveCAs(t.Context(), key, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{name}, w.savedNames()); diff != "" {
		t.Fatalf("saved: -want, +got:\n%s", diff)
	}
	if got := w.saved[name]; got.Kind != "ca" || got.Org != "a" || w.started(name) != 2 {
		t.Errorf("saved is %+v, started %d times", got, w.started(name))
	}
	if err := k.SaveCAs(t.Context(), key, map[string]bool{name: true}); err != nil || w.started(name) != 2 {
		t.Errorf("a CA that is saved was started %d times, and %v", w.started(name), err)
	}

	m := manifest(w)
	m.Nodes = append(m.Nodes, w.saved[name])
	if err := k.Restore(t.Context(), m, backup.Selection{}, nil); err != nil {
		t.Fatal(err)
	}
	w.eventually("it runs and is free", func() bool { return w.hold(name) == nil && w.up(name) })
	if !slices.Contains(w.restored, "restore "+name) || !slices.Contains(w.restored, "finish "+name) || w.started(name) != 3 {
		t.Errorf("the CA was started %d times; pods did %q", w.started(name), w.restored)
	}
	// In a namespace without it nobody is told that all is back while it is not.
	now := time.Now()
	w.must(w.tracker.Delete(setsResource, ns, name))
	accept := backup.Accept{backup.NewerData}
	err := k.Check(t.Context(), m, &now, backup.Identity{}, backup.Selection{}, accept)
	if exit.CodeOf(err) != exit.NotReady || !strings.Contains(err.Error(), "statefulset/hlf-ca--a, a CA that was saved, does not exist") || !strings.Contains(exit.HintOf(err), "deploy it first") {
		t.Errorf("got %v, hint %q", err, exit.HintOf(err))
	}
	if err := k.Check(t.Context(), m, &now, backup.Identity{}, backup.Selection{}, append(accept, backup.MissingParts)); err != nil {
		t.Error(err)
	}
	if err := k.Check(t.Context(), m, &now, backup.Identity{}, backup.Selection{Orgs: []string{"A"}}, accept); err != nil {
		t.Errorf("nobody asked for it: %v", err)
	}
	if w.started(other.Name) != 1 {
		t.Error("somebody else's CA was stopped")
	}
}
