package volume

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/repository"
)

// target is one volume that is restored.
type target struct {
	*swap
	name   string
	node   string
	saved  backup.Volume // without a snapshot: the volume is emptied
	source string
	want   []backup.Channel // of the new data
	parts  []part
}

// part is one directory of a snapshot and where it goes.
type part struct {
	snapshot string
	path     string // in the snapshot and on the volume
	exclude  []string
	optional bool // it need not be in the snapshot
	// like names what the node's own snapshot must have for the part to be wanted. An orderer
	// that only follows a channel has no log of it, and must not find one when it is made a
	// consenter.
	like  string
	owner string // the node's own snapshot
}

func (v *target) wrap(err error) error { return fmt.Errorf("volume %s: %w", v.name, err) }

// volumes are those of the backup, and those of the node that the backup does not have.
func (t RestoreTask) volumes() ([]*target, error) {
	var all []*target
	add := func(name string, saved backup.Volume) error {
		dir := filepath.Join(t.Dir, name)
		if err := isDir(dir); err != nil {
			return fmt.Errorf("the backup has volume %s, the node has not: %w", name, err)
		}
		s, err := openSwap(dir, t.disk)
		if err != nil {
			return err
		}
		v := &target{swap: s, name: name, node: t.Node.Name, saved: saved}
		if saved.Snapshot != "" {
			v.parts = []part{{snapshot: saved.Snapshot}}
		}
		if name == Data {
			v.want = t.expected()
			v.parts = append(v.parts, t.replace(&v.parts[0])...)
		}
		v.source = fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%s %+v", t.Key, v.parts)))
		all = append(all, v)
		return nil
	}
	for _, saved := range t.Node.Volumes {
		if saved.Snapshot == "" {
			return nil, fmt.Errorf("the backup has no snapshot of volume %s", saved.Name)
		}
		if err := add(saved.Name, saved); err != nil {
			return nil, err
		}
	}
	if _, ok := dataOf(t.Node); !ok {
		return nil, errors.New("the backup has no data of it")
	}
	for _, name := range []string{CouchDB} {
		if slices.ContainsFunc(all, func(v *target) bool { return v.name == name }) {
			continue
		}
		if _, err := os.Stat(filepath.Join(t.Dir, name)); err != nil {
			continue
		}
		if err := add(name, backup.Volume{Name: name}); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// expected are the channels that the node has afterwards.
func (t RestoreTask) expected() []backup.Channel {
	want := slices.Clone(t.Node.Channels)
	for _, r := range t.Replace {
		theirs, ok := r.From.Channel(r.Channel)
		i := slices.IndexFunc(want, func(c backup.Channel) bool { return c.Name == r.Channel })
		if ok && i >= 0 {
			want[i] = theirs
		}
	}
	return want
}

// replace leaves channels out of the node's own data and lists what comes instead. The index
// of block files is one for all channels, so it is left out as a whole; an orderer without it
// makes it from the files.
func (t RestoreTask) replace(own *part) []part {
	if len(t.Replace) == 0 {
		return nil
	}
	own.exclude = []string{ordererDir + "/index"}
	var parts []part
	for _, r := range t.Replace {
		chain, log, snap := path.Join(ordererDir, "chains", r.Channel), path.Join(wal, r.Channel), path.Join(snapshots, r.Channel)
		own.exclude = append(own.exclude, chain, log, snap)
		from, _ := dataOf(r.From)
		parts = append(parts, part{snapshot: from.Snapshot, path: chain})
		if r.Log {
			parts = append(parts, part{snapshot: from.Snapshot, path: log, like: log, owner: own.snapshot},
				part{snapshot: from.Snapshot, path: snap, like: log, owner: own.snapshot, optional: true})
		}
	}
	return parts
}

// wanted tells whether a part comes onto the volume.
func (p part) wanted(ctx context.Context, s Store) (bool, error) {
	if p.like == "" {
		return true, nil
	}
	_, err := s.Size(ctx, p.owner, p.like)
	if errors.Is(err, repository.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
