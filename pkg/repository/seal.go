package repository

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	kfs "github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"

	"pivt.io/pivt/pkg/backup"
)

// Types of our manifests beside kopia's snapshots, and the label that holds the backup's key.
// kopia reads all manifests into memory whenever it lists one, so the large one of a backup is
// a file of a snapshot and only a line of it is a manifest.
const (
	typeNode     = "pivt-node"
	typeBackup   = "pivt-backup"
	typeVerified = "pivt-verified"
	labelKey     = "backup"
	labelNode    = "node"
	manifestFile = "backup.json"
)

// sealed is the manifest of a sealed backup: its line in the list, and the rest.
type sealed struct {
	Summary  backup.Summary `json:"summary"`
	Snapshot manifest.ID    `json:"snapshot"` // of manifestFile
}

// verified says when a backup was verified.
type verified struct {
	At time.Time `json:"at"`
}

// PutNode stores what was saved of a node. A later result replaces it.
func (r *Repository) PutNode(ctx context.Context, key string, n backup.Node) error {
	return r.fail("storing the result of "+n.Name, r.write(ctx, "node", func(ctx context.Context, w repo.RepositoryWriter) error {
		return replace(ctx, w, map[string]string{manifest.TypeLabelKey: typeNode, labelKey: key, labelNode: n.Name}, n)
	}))
}

// Nodes returns what was saved of each node under a key, by name. A key that nobody has used
// has none.
func (r *Repository) Nodes(ctx context.Context, key string) ([]backup.Node, error) {
	nodes, err := r.nodes(ctx, map[string]string{manifest.TypeLabelKey: typeNode, labelKey: key})
	return nodes[key], r.fail("listing the nodes of backup "+key, err)
}

// nodes returns the newest result per node, by key and sorted by name.
func (r *Repository) nodes(ctx context.Context, labels map[string]string) (map[string][]backup.Node, error) {
	if err := r.refresh(ctx); err != nil {
		return nil, err
	}
	found, err := r.find(ctx, labels)
	if err != nil {
		return nil, err
	}
	all := map[string][]backup.Node{}
	seen := map[[2]string]bool{}
	for _, e := range found {
		id := [2]string{e.Labels[labelKey], e.Labels[labelNode]}
		if seen[id] {
			continue
		}
		seen[id] = true
		var n backup.Node
		if err := r.get(ctx, e.ID, &n); err != nil {
			return nil, err
		}
		all[id[0]] = append(all[id[0]], n)
	}
	for _, nodes := range all {
		sort.Slice(nodes, func(i, j int) bool { return nodes[i].Name < nodes[j].Name })
	}
	return all, nil
}

// Seal makes a backup of what has been saved under the manifest's key: from now on it is
// listed as one. Sealing again replaces the manifest.
func (r *Repository) Seal(ctx context.Context, m backup.Manifest) error {
	if err := r.seal(ctx, m); err != nil {
		return r.fail("sealing backup "+m.Key, err)
	}
	if err := r.tidy(ctx); err != nil && ctx.Err() == nil {
		// The backup is as good as it would be; the next one tries again.
		r.st.report("indexes could not be merged: " + r.st.clean(err))
	}
	return nil
}

func (r *Repository) seal(ctx context.Context, m backup.Manifest) error {
	return r.write(ctx, "seal", func(ctx context.Context, w repo.RepositoryWriter) error {
		for _, n := range m.Nodes {
			for _, v := range n.Volumes {
				if _, err := snapshot.LoadSnapshot(ctx, w, manifest.ID(v.Snapshot)); errors.Is(err, snapshot.ErrSnapshotNotFound) {
					return fmt.Errorf("%w: snapshot %s of %s, volume %s", ErrNotFound, v.Snapshot, n.Name, v.Name)
				} else if err != nil {
					return damage(err)
				}
			}
		}
		labels := map[string]string{manifest.TypeLabelKey: typeBackup, labelKey: m.Key}
		old, err := w.FindManifests(ctx, labels)
		if err != nil {
			return damage(err)
		}
		for _, e := range old {
			var s sealed
			if _, err := w.GetManifest(ctx, e.ID, &s); err != nil {
				return damage(err)
			}
			if err := w.DeleteManifest(ctx, s.Snapshot); err != nil && !errors.Is(err, manifest.ErrNotFound) {
				return err
			}
		}
		id, err := putFile(ctx, w, m)
		if err != nil {
			return err
		}
		return replace(ctx, w, labels, sealed{Snapshot: id, Summary: backup.Summary{
			Key: m.Key, Started: m.Started, Finished: m.Finished, Nodes: len(m.Nodes), Bytes: m.Bytes(), Uploaded: m.Uploaded(), Complete: true,
		}})
	})
}

// putFile stores a backup's manifest as a snapshot of one file.
func putFile(ctx context.Context, w repo.RepositoryWriter, m backup.Manifest) (manifest.ID, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return "", err
	}
	out := w.NewObjectWriter(ctx, object.WriterOptions{Description: manifestFile, Compressor: compressor})
	defer out.Close()
	if _, err := out.Write(b); err != nil {
		return "", err
	}
	id, err := out.Result()
	if err != nil {
		return "", err
	}
	s := Source{Network: m.Namespace, Node: "backup", Volume: "manifest", Key: m.Key}
	return snapshot.SaveSnapshot(ctx, w, &snapshot.Manifest{
		Source: s.info(), Description: "pivt backup " + m.Key, Tags: s.tags(), Pins: []string{user},
		StartTime: kfs.UTCTimestampFromTime(m.Started), EndTime: kfs.UTCTimestampFromTime(m.Finished),
		RootEntry: &snapshot.DirEntry{
			Name: manifestFile, Type: snapshot.EntryTypeFile, Permissions: 0o600, FileSize: int64(len(b)),
			ModTime: kfs.UTCTimestampFromTime(m.Finished), ObjectID: id,
		},
	})
}

// Manifest returns a sealed backup's manifest, or ErrNotFound.
func (r *Repository) Manifest(ctx context.Context, key string) (*backup.Manifest, error) {
	m, err := r.manifest(ctx, key)
	if err != nil {
		return nil, r.fail("reading backup "+key, err)
	}
	return m, nil
}

func (r *Repository) manifest(ctx context.Context, key string) (*backup.Manifest, error) {
	s, err := r.sealed(ctx, key)
	if err != nil {
		return nil, err
	}
	e, err := r.entry(ctx, string(s.Snapshot), "")
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("%w: the backup is listed, and its manifest is gone", ErrDamaged)
	}
	if err != nil {
		return nil, err
	}
	f, ok := e.(kfs.File)
	if !ok {
		return nil, fmt.Errorf("%w: the manifest is no file", ErrDamaged)
	}
	in, err := f.Open(ctx)
	if err != nil {
		return nil, damage(err)
	}
	defer in.Close()
	b, err := io.ReadAll(in)
	if err != nil {
		return nil, damage(err)
	}
	var m backup.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if m.APIVersion != "" && m.APIVersion != backup.Version {
		return nil, fmt.Errorf("its manifest has version %s, this program reads %s", m.APIVersion, backup.Version)
	}
	return &m, nil
}

// sealed finds the entry of a sealed backup.
func (r *Repository) sealed(ctx context.Context, key string) (sealed, error) {
	var s sealed
	if err := r.refresh(ctx); err != nil {
		return s, err
	}
	found, err := r.find(ctx, map[string]string{manifest.TypeLabelKey: typeBackup})
	if err != nil {
		return s, err
	}
	var keys []string
	for _, e := range found {
		if e.Labels[labelKey] == key {
			return s, r.get(ctx, e.ID, &s)
		}
		keys = append(keys, e.Labels[labelKey])
	}
	return s, fmt.Errorf("%w: %s", ErrNotFound, near(key, keys))
}

// near names the keys most like one that does not exist. Keys are times as a rule: those that
// begin alike are near in time.
func near(key string, keys []string) string {
	if len(keys) == 0 {
		return "there is no backup yet"
	}
	alike := func(s string) int {
		n := 0
		for n < len(s) && n < len(key) && s[n] == key[n] {
			n++
		}
		return n
	}
	sort.SliceStable(keys, func(i, j int) bool { return alike(keys[i]) > alike(keys[j]) })
	return "there are " + strings.Join(keys[:min(3, len(keys))], ", ") + map[bool]string{true: " and others"}[len(keys) > 3]
}

// Verified notes that a sealed backup was verified.
func (r *Repository) Verified(ctx context.Context, key string, at time.Time) error {
	_, err := r.sealed(ctx, key)
	if err == nil {
		err = r.write(ctx, "verified", func(ctx context.Context, w repo.RepositoryWriter) error {
			return replace(ctx, w, map[string]string{manifest.TypeLabelKey: typeVerified, labelKey: key}, verified{at.UTC()})
		})
	}
	return r.fail("noting that backup "+key+" was verified", err)
}

// Unverified takes back that a backup was verified. One that never was is no error.
func (r *Repository) Unverified(ctx context.Context, key string) error {
	return r.fail("noting that backup "+key+" is not good", r.write(ctx, "unverified", func(ctx context.Context, w repo.RepositoryWriter) error {
		_, err := remove(ctx, w, key, []string{typeVerified})
		return err
	}))
}

// write runs f in a session and commits what it wrote, all of it or nothing.
func (r *Repository) write(ctx context.Context, purpose string, f func(context.Context, repo.RepositoryWriter) error) error {
	if err := r.refresh(ctx); err != nil {
		return err
	}
	_, w, err := r.rep.NewWriter(ctx, repo.WriteSessionOptions{Purpose: purpose})
	if err != nil {
		return damage(err)
	}
	defer w.Close(context.WithoutCancel(ctx))
	if err := f(ctx, w); err != nil {
		return err
	}
	return r.commit(ctx, w)
}

// replace puts a manifest and deletes those with the same labels.
func replace(ctx context.Context, w repo.RepositoryWriter, labels map[string]string, v any) error {
	old, err := w.FindManifests(ctx, labels)
	if err != nil {
		return damage(err)
	}
	for _, e := range old {
		if err := w.DeleteManifest(ctx, e.ID); err != nil && !errors.Is(err, manifest.ErrNotFound) {
			return err
		}
	}
	_, err = w.PutManifest(ctx, labels, v)
	return err
}

// find returns manifests by labels, newest first.
func (r *Repository) find(ctx context.Context, labels map[string]string) ([]*manifest.EntryMetadata, error) {
	found, err := r.rep.FindManifests(ctx, labels)
	if err != nil {
		return nil, damage(err)
	}
	sort.SliceStable(found, func(i, j int) bool { return found[i].ModTime.After(found[j].ModTime) })
	return found, nil
}

func (r *Repository) get(ctx context.Context, id manifest.ID, v any) error {
	_, err := r.rep.GetManifest(ctx, id, v)
	return damage(err)
}
