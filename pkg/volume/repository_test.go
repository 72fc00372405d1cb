package volume

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/repository"
)

// TestRepository does everything with the store that is used outside of tests: the fake must
// not be the only one that these functions understand.
func TestRepository(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, dir, map[string]string{"credentials/" + backup.CredentialPassword: "secret", "repository/": ""})
	o := repository.Options{Credentials: filepath.Join(dir, "credentials"), Dir: filepath.Join(dir, "repository"), Cache: filepath.Join(dir, "cache"),
		Create: true, Patience: time.Second}
	open := func() *repository.Repository {
		r, err := repository.Open(t.Context(), backup.Target{Type: backup.PVC}, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close(context.WithoutCancel(t.Context())) })
		return r
	}
	r := open()
	m := backup.Manifest{Key: "k1"}
	odd := peerVolumes(t, 40)
	if err := os.Symlink("nowhere", filepath.Join(odd, Data, "production/lifecycle/link")); err != nil {
		t.Fatal(err)
	}
	first := ordererVolumes(t, "orderer0", 30)
	m.Nodes = []backup.Node{
		save(t, r, saveTask(peerNode("peer0"), odd, Data, CouchDB)),
		save(t, r, saveTask(ordererNode("orderer0"), first, Data)),
		save(t, r, saveTask(ordererNode("orderer1"), ordererVolumes(t, "orderer1", 40), Data)),
		save(t, r, saveTask(ordererNode("orderer2"), volumesOf(t, Data), Data)),
	}
	if findings, err := Verify(t.Context(), r, m, t.TempDir(), nil); err != nil || len(findings) > 0 {
		t.Fatalf("%v, %v", findings, err)
	}

	peer := peerVolumes(t, 10)
	if err := Restore(t.Context(), r, RestoreTask{Key: "k1", Node: m.Nodes[0], Dir: peer}); err != nil {
		t.Fatal(err)
	}
	same(t, "peer", content(t, odd), content(t, peer))

	// All channels of orderer1 from orderer0; its snapshots of channel "other" are none at all.
	if err := os.RemoveAll(filepath.Join(first, Data, "production/orderer/etcdraft/snapshot/other")); err != nil {
		t.Fatal(err)
	}
	m.Nodes[1] = save(t, r, saveTask(ordererNode("orderer0"), first, Data))
	orderer := ordererVolumes(t, "orderer1", 20)
	task := RestoreTask{Key: "k1", Node: m.Nodes[2], Dir: orderer, Replace: []backup.Replacement{
		{Channel: "common", From: m.Nodes[1], Log: true}, {Channel: "other", From: m.Nodes[1], Log: true}}}
	if err := Restore(t.Context(), r, task); err != nil {
		t.Fatal(err)
	}
	if err := Finish(orderer); err != nil {
		t.Fatal(err)
	}
	want := content(t, first)
	for _, path := range []string{"index", "index/CURRENT", "index/LOCK", "etcdraft/wal/common/0.tmp"} {
		delete(want, "data/production/orderer/"+path)
	}
	want["data/production/orderer/etcdraft/snapshot/other"] = "directory"
	same(t, "orderer", want, content(t, orderer))

	// What the repository has lost is found, and nothing else.
	m.Nodes[1].Volumes[0].Snapshot = "00000000000000000000000000000000"
	findings, err := Verify(t.Context(), r, m, t.TempDir(), nil)
	if err != nil || len(findings) != 1 || findings[0].Node != m.Nodes[1].Name {
		t.Errorf("%v, %v", findings, err)
	}
	harmed := 0
	// Packs with files' contents are below p.
	err = filepath.WalkDir(filepath.Join(o.Dir, "p"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		harmed++
		for i := range data {
			data[i] ^= 1
		}
		return os.WriteFile(path, data, 0o600)
	})
	if err != nil || harmed == 0 {
		t.Fatalf("%d packs: %v", harmed, err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	findings, err = Verify(t.Context(), open(), m, t.TempDir(), nil)
	if err != nil || len(findings) < 3 {
		t.Errorf("of a repository in ruins: %v, %v", findings, err)
	}
	for _, f := range findings {
		if f.Node == "" || f.Volume == "" {
			t.Errorf("%+v does not say where", f)
		}
	}
}
