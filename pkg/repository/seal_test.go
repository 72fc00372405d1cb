package repository

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kopia/kopia/repo"

	"pivt.io/pivt/pkg/backup"
)

func TestBackups(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	r := p.open(t)
	if list, err := r.List(t.Context()); err != nil || len(list) != 0 {
		t.Fatalf("List of a new repository = %v, %v", list, err)
	}
	dir := sample(t)
	day := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	make := func(key string, at time.Time) backup.Manifest {
		m := backup.Manifest{APIVersion: backup.Version, Kind: "Backup", Key: key, Namespace: "fabric", Started: at, Finished: at.Add(time.Minute),
			Files: map[string]string{"network.yaml": "network: {}"}}
		for _, name := range []string{"peer0", "peer1"} {
			n := backup.Node{Name: name, Stopped: at, Volumes: []backup.Volume{save(t, r, source(key, name), dir, SaveOptions{})}}
			if err := r.PutNode(t.Context(), key, n); err != nil {
				t.Fatal(err)
			}
			m.Nodes = append(m.Nodes, n)
		}
		return m
	}
	first, second := make("20260301-020000", day), make("20260302-020000", day.AddDate(0, 0, 1))
	for _, m := range []backup.Manifest{first, second} {
		if err := r.Seal(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	third := make("20260303-020000", day.AddDate(0, 0, 2)) // interrupted
	save(t, r, source("20260304-020000", "peer0"), dir, SaveOptions{})

	other := p.open(t) // another process
	got, err := other.Manifest(t.Context(), first.Key)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&first, got); diff != "" {
		t.Errorf("Manifest: -want, +got:\n%s", diff)
	}
	if _, err := other.Manifest(t.Context(), "20260301-020001"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "20260301-020000") {
		t.Errorf("Manifest of no backup = %v, want ErrNotFound that names the nearest", err)
	}
	if _, err := other.Manifest(t.Context(), third.Key); !errors.Is(err, ErrNotFound) {
		t.Errorf("Manifest of an attempt = %v, want ErrNotFound", err)
	}
	at := day.AddDate(0, 0, 3)
	if err := r.Verified(t.Context(), second.Key, at); err != nil {
		t.Fatal(err)
	}
	if err := r.Verified(t.Context(), third.Key, at); !errors.Is(err, ErrNotFound) {
		t.Errorf("Verified of an attempt = %v, want ErrNotFound", err)
	}
	list, err := other.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 4 || list[0].Key != "20260304-020000" {
		t.Fatalf("List = %+v, want four, the newest first", list)
	}
	want := []backup.Summary{
		{Key: third.Key, Started: third.Started, Nodes: 2, Bytes: third.Bytes(), Uploaded: third.Uploaded()},
		{Key: second.Key, Started: second.Started, Finished: second.Finished, Nodes: 2, Bytes: second.Bytes(), Uploaded: second.Uploaded(), Verified: &at, Complete: true},
		{Key: first.Key, Started: first.Started, Finished: first.Finished, Nodes: 2, Bytes: first.Bytes(), Uploaded: first.Uploaded(), Complete: true},
	}
	if diff := cmp.Diff(want, list[1:]); diff != "" {
		t.Errorf("List: -want, +got:\n%s", diff)
	}

	if err := r.Verified(t.Context(), first.Key, at); err != nil {
		t.Fatal(err)
	}
	if err := r.Unverified(t.Context(), second.Key); err != nil {
		t.Fatal(err)
	}
	want[1].Verified, want[2].Verified = nil, &at
	if list, err = other.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, list[1:]); diff != "" {
		t.Errorf("List after Unverified of one: -want, +got:\n%s", diff)
	}
	if err := r.Unverified(t.Context(), third.Key); err != nil {
		t.Errorf("Unverified of what never was = %v", err)
	}

	if err := r.Delete(t.Context(), second.Key, third.Key, "20260304-020000"); err != nil {
		t.Fatal(err)
	}
	if list, err := other.List(t.Context()); err != nil || len(list) != 1 || list[0].Key != first.Key {
		t.Errorf("List after Delete = %+v, %v, want the first alone", list, err)
	}
	if nodes, err := other.Nodes(t.Context(), second.Key); err != nil || len(nodes) != 0 {
		t.Errorf("Nodes after Delete = %v, %v", nodes, err)
	}
	if _, err := other.Size(t.Context(), second.Nodes[0].Volumes[0].Snapshot, ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("a deleted backup's snapshot: %v, want ErrNotFound", err)
	}
	if err := r.Delete(t.Context(), second.Key); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleting again = %v, want ErrNotFound", err)
	}
	if err := r.Restore(t.Context(), first.Nodes[1].Volumes[0].Snapshot, "", t.TempDir(), RestoreOptions{}); err != nil {
		t.Errorf("the backup that was left: %v", err)
	}
}

func TestSealAgain(t *testing.T) {
	t.Parallel()
	r := newPlace(t).open(t)
	v := save(t, r, source("k", "peer0"), sample(t), SaveOptions{})
	m := backup.Manifest{APIVersion: backup.Version, Key: "k", Namespace: "fabric", Started: time.Now(), Nodes: []backup.Node{{Name: "peer0", Volumes: []backup.Volume{v}}}}
	for _, release := range []string{"3.1.0", "3.1.1"} {
		m.Fabric = release
		if err := r.Seal(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := r.Manifest(t.Context(), "k"); err != nil || got.Fabric != "3.1.1" {
		t.Errorf("Manifest = %v, %v, want the one sealed last", got, err)
	}
	if list, err := r.List(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("List = %v, %v, want one backup", list, err)
	}
	m.Nodes[0].Volumes[0].Snapshot = "0123456789abcdef0123456789abcdef"
	if err := r.Seal(t.Context(), m); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "peer0") {
		t.Errorf("Seal with a snapshot that is not there = %v, want ErrNotFound that names the node", err)
	}
}

// TestManifestGone is a backup that is listed and has lost its manifest: that is damage, and not a key
// that nobody has used.
func TestManifestGone(t *testing.T) {
	t.Parallel()
	r := newPlace(t).open(t)
	if err := r.Seal(t.Context(), backup.Manifest{APIVersion: backup.Version, Key: "k", Namespace: "fabric", Started: time.Now()}); err != nil {
		t.Fatal(err)
	}
	s, err := r.sealed(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.write(t.Context(), "test", func(ctx context.Context, w repo.RepositoryWriter) error { return w.DeleteManifest(ctx, s.Snapshot) }); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Manifest(t.Context(), "k"); !errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotFound) {
		t.Errorf("Manifest = %v, want ErrDamaged", err)
	}
}

func TestPutNode(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	a, b := p.open(t), p.open(t)
	for i, r := range []*Repository{a, b, a} {
		n := backup.Node{Name: "peer0", Channels: []backup.Channel{{Name: "common", Height: uint64(i)}}}
		if err := r.PutNode(t.Context(), "k", n); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.PutNode(t.Context(), "k", backup.Node{Name: "orderer0"}); err != nil {
		t.Fatal(err)
	}
	if err := b.PutNode(t.Context(), "other", backup.Node{Name: "peer9"}); err != nil {
		t.Fatal(err)
	}
	got, err := a.Nodes(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	want := []backup.Node{{Name: "orderer0"}, {Name: "peer0", Channels: []backup.Channel{{Name: "common", Height: 2}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Nodes returns the newest result of each node of the key.\n-want, +got:\n%s", diff)
	}
}
