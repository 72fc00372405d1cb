package backuppod

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/repository"
	"pivt.io/pivt/pkg/step"
)

// seal writes the manifest, if all that belongs to the backup is there.
func (t *task) seal(ctx context.Context) error {
	observer, err := step.NewObserver(step.Env{Root: t.p.Root, Log: t.log})
	if err != nil {
		return err
	}
	n := observer.Network()
	observer.Close()
	m, err := t.manifest(n)
	if err != nil {
		return err
	}
	err = t.p.withRepository(ctx, toWrite, func(ctx context.Context, _ backup.Settings, r *repository.Repository) error {
		if m.Nodes, err = r.Nodes(ctx, t.key); err != nil {
			return err
		}
		slices.SortFunc(m.Nodes, func(a, b backup.Node) int { return cmp.Or(a.Copied.Compare(b.Copied), cmp.Compare(a.Name, b.Name)) })
		if len(m.Nodes) > 0 {
			m.Started, m.Finished = m.Nodes[0].Stopped, m.Nodes[len(m.Nodes)-1].Copied
		}
		for _, node := range m.Nodes {
			if node.Stopped.Before(m.Started) {
				m.Started = node.Stopped
			}
		}
		if err := m.Check(n); err != nil {
			return err
		}
		if err := r.Seal(ctx, m); err != nil {
			return err
		}
		// Frees what deleted backups have left, of which nobody else thinks where nothing is ever pruned.
		if err := r.Maintain(ctx); err != nil {
			t.log.Warn("maintenance failed", "error", err.Error())
		}
		return nil
	})
	if err != nil {
		return err
	}
	t.log.Info("sealed", "nodes", len(m.Nodes), "bytes", m.Bytes(), "uploaded", m.Uploaded())
	return t.record(ctx, backup.Status{Last: &backup.Event{Key: t.key, Time: m.Finished}})
}

// manifest is all of it that does not come from the nodes.
func (t *task) manifest(n *network.Network) (backup.Manifest, error) {
	m := backup.Manifest{APIVersion: backup.Version, Kind: "Backup", Key: t.key, Namespace: t.p.Env("PIVT_NAMESPACE"),
		Fabric: n.Version, Parts: t.settings.Parts, Consensus: map[string]network.Consensus{}}
	for _, ch := range n.Channels {
		m.Consensus[ch.Name] = ch.Consensus
	}
	public, raw, err := t.p.public(n)
	if err != nil {
		return m, err
	}
	if m.Identity, err = backup.IdentityOf(n, public); err != nil {
		return m, err
	}
	if t.settings.Parts.MSPs {
		m.MSPs = raw
	}
	if t.settings.Parts.Files {
		data, err := t.optional("files/files.json")
		if err != nil {
			return m, err
		}
		if len(data) > 0 {
			if err := json.Unmarshal(data, &m.Files); err != nil {
				return m, fmt.Errorf("reading the input files: %w", err)
			}
		}
	}
	m.CryptoConfig, err = t.optional("crypto-config/crypto-config.age")
	return m, err
}

// optional reads an input that not every workflow has.
func (t *task) optional(name string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(t.p.Root, filepath.FromSlash(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return data, nil
}

// record tells the cluster what "pivt status" shows.
func (t *task) record(ctx context.Context, s backup.Status) error {
	k, err := t.p.starter(t.settings, t.log)
	if err != nil {
		return err
	}
	return k.Record(ctx, s)
}

// selection is what a restore is about, and what it was told to accept.
func (t *task) selection() (backup.Selection, backup.Accept, error) {
	accept, err := backup.ParseAccept(t.f.accept)
	return backup.Selection{Orgs: t.f.orgs, Nodes: t.f.nodes}, accept, err
}

// check refuses a restore that would do harm, before anything is stopped.
func (t *task) check(ctx context.Context) error {
	if t.f.cancel {
		return nil
	}
	selection, accept, err := t.selection()
	if err != nil {
		return err
	}
	m, verified, err := t.saved(ctx)
	if err != nil {
		return err
	}
	k, closer, err := t.p.keeper(t.settings, t.log)
	if err != nil {
		return err
	}
	defer closer()
	public, _, err := t.p.public(k.Network)
	if err != nil {
		return err
	}
	identity, err := backup.IdentityOf(k.Network, public)
	if err != nil {
		return err
	}
	return k.Check(ctx, *m, verified, identity, selection, accept)
}

// restore puts the data back and starts the nodes, or with cancel undoes what was done so far.
func (t *task) restore(ctx context.Context) error {
	selection, accept, err := t.selection()
	if err != nil {
		return err
	}
	k, closer, err := t.p.keeper(t.settings, t.log)
	if err != nil {
		return err
	}
	defer closer()
	if t.f.cancel {
		return k.Cancel(ctx, t.key)
	}
	var m *backup.Manifest
	err = t.p.withRepository(ctx, toRead, func(ctx context.Context, _ backup.Settings, r *repository.Repository) error {
		m, err = r.Manifest(ctx, t.key)
		return err
	})
	if err != nil {
		return err
	}
	return k.Restore(ctx, *m, selection, accept)
}

func (t *task) saved(ctx context.Context) (m *backup.Manifest, verified *time.Time, err error) {
	err = t.p.withRepository(ctx, toRead, func(ctx context.Context, _ backup.Settings, r *repository.Repository) error {
		m, verified, err = manifest(ctx, r, t.key)
		return err
	})
	return m, verified, err
}
