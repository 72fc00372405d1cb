package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"

	"pivt.io/pivt/pkg/backup"
)

// List returns the backups, newest first, and the attempts that were interrupted.
func (r *Repository) List(ctx context.Context) ([]backup.Summary, error) {
	all, err := r.list(ctx)
	return all, r.fail("listing backups", err)
}

func (r *Repository) list(ctx context.Context) ([]backup.Summary, error) {
	nodes, err := r.nodes(ctx, map[string]string{manifest.TypeLabelKey: typeNode}) // refreshes
	if err != nil {
		return nil, err
	}
	all := map[string]*backup.Summary{}
	// The newest first: of two that were sealed at once, the later one counts.
	found, err := r.find(ctx, map[string]string{manifest.TypeLabelKey: typeBackup})
	if err != nil {
		return nil, err
	}
	for _, e := range found {
		var s sealed
		if err := r.get(ctx, e.ID, &s); err != nil {
			return nil, err
		}
		if all[s.Summary.Key] == nil {
			all[s.Summary.Key] = &s.Summary
		}
	}
	attempts, err := r.attempts(ctx, nodes, all)
	if err != nil {
		return nil, err
	}
	found, err = r.find(ctx, map[string]string{manifest.TypeLabelKey: typeVerified})
	if err != nil {
		return nil, err
	}
	for _, e := range found {
		var v verified
		if err := r.get(ctx, e.ID, &v); err != nil {
			return nil, err
		}
		if s := all[e.Labels[labelKey]]; s != nil && s.Verified == nil {
			s.Verified = &v.At
		}
	}
	list := attempts
	for _, s := range all {
		list = append(list, *s)
	}
	sort.Slice(list, func(i, j int) bool {
		if a, b := list[i].Started, list[j].Started; !a.Equal(b) {
			return a.After(b)
		}
		return list[i].Key > list[j].Key
	})
	return list, nil
}

// attempts are the keys under which something is stored and nothing is sealed.
func (r *Repository) attempts(ctx context.Context, nodes map[string][]backup.Node, done map[string]*backup.Summary) ([]backup.Summary, error) {
	open := map[string]*backup.Summary{}
	at := func(key string, t time.Time) *backup.Summary {
		s := open[key]
		if s == nil {
			s = &backup.Summary{Key: key, Started: t}
			open[key] = s
		}
		if t.Before(s.Started) {
			s.Started = t
		}
		return s
	}
	for key, saved := range nodes {
		if done[key] != nil {
			continue
		}
		for _, n := range saved {
			s := at(key, n.Stopped)
			s.Nodes++
			for _, v := range n.Volumes {
				s.Bytes += v.Bytes
				s.Uploaded += v.Uploaded
			}
		}
	}
	// A copy that was finished and never counted has left a snapshot alone.
	found, err := r.find(ctx, map[string]string{manifest.TypeLabelKey: snapshot.ManifestType})
	if err != nil {
		return nil, err
	}
	for _, e := range found {
		if key := e.Labels[tagBackup]; key != "" && done[key] == nil {
			at(key, e.ModTime)
		}
	}
	var list []backup.Summary
	for _, s := range open {
		list = append(list, *s)
	}
	return list, nil
}

// Delete removes backups and interrupted attempts. What they say goes first, so that no half
// backup is ever listed as one; Maintain frees their space. If a key is not there, all others
// are deleted and the error is ErrNotFound.
func (r *Repository) Delete(ctx context.Context, keys ...string) error {
	doing := "deleting " + strings.Join(keys, ", ")
	found := map[string]bool{}
	for _, types := range [][]string{{typeBackup}, {typeVerified, typeNode, snapshot.ManifestType}} {
		err := r.write(ctx, "delete", func(ctx context.Context, w repo.RepositoryWriter) error {
			for _, key := range keys {
				n, err := remove(ctx, w, key, types)
				if err != nil {
					return err
				}
				found[key] = found[key] || n > 0
			}
			return nil
		})
		if err != nil {
			return r.fail(doing, err)
		}
	}
	missing := slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return found[key] })
	if len(missing) > 0 {
		return r.fail(doing, fmt.Errorf("%w: %s", ErrNotFound, strings.Join(missing, ", ")))
	}
	return nil
}

// remove deletes a key's manifests of some types and returns how many there were.
func remove(ctx context.Context, w repo.RepositoryWriter, key string, types []string) (n int, err error) {
	for _, typ := range types {
		label := labelKey
		if typ == snapshot.ManifestType {
			label = tagBackup
		}
		found, err := w.FindManifests(ctx, map[string]string{manifest.TypeLabelKey: typ, label: key})
		if err != nil {
			return n, damage(err)
		}
		for _, e := range found {
			if err := w.DeleteManifest(ctx, e.ID); err != nil && !errors.Is(err, manifest.ErrNotFound) {
				return n, err
			}
		}
		n += len(found)
	}
	return n, nil
}
