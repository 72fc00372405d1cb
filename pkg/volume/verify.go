package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/ledger"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/repository"
)

// Finding is one thing that is wrong with a backup.
type Finding struct {
	Node    string `json:"node"`
	Volume  string `json:"volume,omitempty"`
	Channel string `json:"channel,omitempty"`
	File    string `json:"file,omitempty"`  // on the volume
	Block   string `json:"block,omitempty"` // number
	Reason  string `json:"reason"`
}

func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(f.Node)
	for _, p := range []struct{ what, is string }{{"volume", f.Volume}, {"channel", f.Channel}, {"", f.File}, {"block", f.Block}} {
		if p.is != "" {
			fmt.Fprintf(&b, ": %s", strings.TrimSpace(p.what+" "+p.is))
		}
	}
	return b.String() + ": " + f.Reason
}

// Verify restores what a backup holds into scratch, one volume at a time, and lists what is
// wrong: snapshots that cannot be read or are not complete, chains that are broken, heights or
// hashes that are not those of the manifest, nodes that disagree. An error means that it could
// not find out; the findings up to there hold nevertheless.
//
// CouchDB's volume, and those of CAs, are read and counted, no more.
func Verify(ctx context.Context, s Store, m backup.Manifest, scratch string, report func(Progress)) ([]Finding, error) {
	v := &verification{store: s, scratch: scratch, report: report, votes: newVotes(m)}
	for _, n := range m.Nodes {
		if err := v.node(ctx, n); err != nil {
			return v.findings, fmt.Errorf("verifying %s: %w", n.Name, err)
		}
	}
	return append(v.findings, v.votes.findings()...), nil
}

type verification struct {
	store    Store
	scratch  string
	report   func(Progress)
	votes    *votes
	findings []Finding
}

func (v *verification) find(f Finding) { v.findings = append(v.findings, f) }

func (v *verification) node(ctx context.Context, n backup.Node) error {
	if _, ok := dataOf(n); !ok {
		v.find(Finding{Node: n.Name, Reason: "there is no snapshot of its data"})
	}
	for _, saved := range n.Volumes {
		if err := v.volume(ctx, n, saved); err != nil {
			return err
		}
	}
	return nil
}

func (v *verification) volume(ctx context.Context, n backup.Node, saved backup.Volume) (err error) {
	dir := filepath.Join(v.scratch, "volume")
	if err := removeAll(dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeAll(dir)) }()
	err = v.store.Restore(ctx, saved.Snapshot, "", dir, repository.RestoreOptions{Progress: meter(n.Name, saved.Name, "verify", v.report)})
	if errors.Is(err, repository.ErrDamaged) || errors.Is(err, repository.ErrNotFound) {
		v.find(Finding{Node: n.Name, Volume: saved.Name, Reason: err.Error()})
		return nil
	}
	if err != nil {
		return fmt.Errorf("volume %s: %w", saved.Name, v.small(ctx, saved, err))
	}
	files, size, err := count(dir)
	if err != nil {
		return err
	}
	if files != saved.Files || size != saved.Bytes {
		v.find(Finding{Node: n.Name, Volume: saved.Name, Reason: fmt.Sprintf("the snapshot has %d files and %d bytes, the manifest says %d and %d", files, size, saved.Files, saved.Bytes)})
	}
	if saved.Name != Data || n.Kind != string(network.Peer) && n.Kind != string(network.Orderer) {
		return nil
	}
	return v.chains(ctx, n, filepath.Join(dir, production))
}

// small adds the cure if scratch was too small.
func (v *verification) small(ctx context.Context, saved backup.Volume, err error) error {
	need, sizeErr := v.store.Size(ctx, saved.Snapshot, "")
	available, freeErr := free(v.scratch)
	if sizeErr != nil || freeErr != nil || need <= available {
		return err
	}
	return exit.WithHint(fmt.Errorf("%w: %d bytes are needed in %s, %d are free: %w", ErrNoRoom, need, v.scratch, available, err),
		"set backup.verify.scratch.size to more than the largest volume")
}

func (v *verification) chains(ctx context.Context, n backup.Node, root string) error {
	channels, err := ledger.Channels(root)
	if local(err) {
		return err
	}
	if err != nil {
		v.find(Finding{Node: n.Name, Volume: Data, Reason: err.Error()})
		return nil
	}
	for _, c := range channels {
		recorded, ok := n.Channel(c.Name)
		rel, err := filepath.Rel(filepath.Dir(root), c.Dir)
		if err != nil {
			return err
		}
		ballot := v.votes.ballot(n, c.Name)
		got, err := ledger.Walk(ctx, c, ballot.block)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if local(err) {
			return err
		}
		var damage *ledger.Damage
		switch {
		case errors.As(err, &damage):
			f := Finding{Node: n.Name, Volume: Data, Channel: c.Name, File: path.Join(filepath.ToSlash(rel), damage.File), Reason: damage.Reason}
			if damage.InBlock {
				f.Block = fmt.Sprint(damage.Block)
				f.Reason = fmt.Sprintf("at offset %d: %s", damage.Offset, damage.Reason)
			}
			v.find(f)
		case err != nil:
			v.find(Finding{Node: n.Name, Volume: Data, Channel: c.Name, Reason: err.Error()})
		case !ok && got.Height > 0:
			v.find(Finding{Node: n.Name, Volume: Data, Channel: c.Name, Reason: "it is not in the manifest"})
		case ok && got.First != recorded.First:
			v.find(Finding{Node: n.Name, Volume: Data, Channel: c.Name, Reason: fmt.Sprintf("it begins with block %d, the manifest says %d", got.First, recorded.First)})
		case ok && got.Height != recorded.Height:
			v.find(Finding{Node: n.Name, Volume: Data, Channel: c.Name, Reason: fmt.Sprintf("it has height %d, the manifest says %d", got.Height, recorded.Height)})
		case ok && got.Hash != recorded.Hash:
			v.find(Finding{Node: n.Name, Volume: Data, Channel: c.Name, Block: fmt.Sprint(got.Height - 1), Reason: fmt.Sprintf("it has hash %s, the manifest says %s", got.Hash, recorded.Hash)})
		}
	}
	for _, c := range n.Channels {
		if !slices.ContainsFunc(channels, func(is ledger.Channel) bool { return is.Name == c.Name }) {
			v.find(Finding{Node: n.Name, Volume: Data, Channel: c.Name, Reason: "the snapshot does not have it"})
		}
	}
	return nil
}

// local reports whether an error is this machine's and says nothing about what is read: a backup
// must not lose its mark because of it.
func local(err error) bool {
	for _, kind := range []error{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EROFS, fs.ErrPermission} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// count counts plain files, as a repository does.
func count(dir string) (files int, size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		files++
		size += info.Size()
		return nil
	})
	return files, size, err
}
