package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/ledger"
	"pivt.io/pivt/pkg/repository"
)

// ErrNewer is a volume with blocks that the backup has not.
var ErrNewer = errors.New("newer data")

// Restore puts the data of a backup onto the volumes of a node. What was there stays beside
// them until Finish, or comes back with Undo. It may be repeated until it succeeds, and does
// nothing if it already has and the node has not run since.
//
// Volumes that the backup does not have but a node of its kind may, the state database above
// all, are emptied: what they hold would not match the ledger.
func Restore(ctx context.Context, s Store, t RestoreTask) error {
	if err := t.restore(ctx, s); err != nil {
		return fmt.Errorf("restoring %s: %w", t.Node.Name, err)
	}
	return nil
}

func (t RestoreTask) restore(ctx context.Context, s Store) error {
	if err := t.check(); err != nil {
		return err
	}
	volumes, err := t.volumes()
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if _, err := look(v.dir, []string{stateDir, "lost+found"}); err != nil {
			return v.wrap(err)
		}
	}
	ran, err := t.ran(volumes)
	if err != nil {
		return err
	}
	done := 0
	for _, v := range volumes {
		if err := v.settle(ran); err != nil {
			return v.wrap(err)
		}
		if v.found && v.marker.Phase == restored {
			done++
		}
	}
	if done == len(volumes) {
		return nil
	}
	if err := t.admit(volumes); err != nil {
		return err
	}
	// No volume is touched before all that comes onto any of them is there.
	for _, v := range volumes {
		if err := v.fill(ctx, s, t); err != nil {
			return v.wrap(err)
		}
	}
	for _, v := range volumes {
		if err := v.forward(); err != nil {
			return v.wrap(err)
		}
	}
	return nil
}

// check refuses a task that would write outside of the volumes.
func (t RestoreTask) check() error {
	for _, r := range t.Replace {
		if !plainName(r.Channel) {
			return fmt.Errorf("channel %q: no channel has such a name", r.Channel)
		}
		if _, ok := dataOf(r.From); !ok {
			return fmt.Errorf("channel %q: the backup has no data of %s", r.Channel, r.From.Name)
		}
	}
	for _, v := range t.Node.Volumes {
		if !plainName(v.Name) {
			return fmt.Errorf("volume %q: no volume has such a name", v.Name)
		}
	}
	return nil
}

func plainName(name string) bool {
	return filepath.IsLocal(name) && filepath.Base(name) == name && name != "."
}

func dataOf(n backup.Node) (backup.Volume, bool) {
	i := slices.IndexFunc(n.Volumes, func(v backup.Volume) bool { return v.Name == Data })
	if i < 0 {
		return backup.Volume{}, false
	}
	return n.Volumes[i], true
}

// ran tells whether the node has run with what was restored, or somebody has found that there
// is no way back.
func (t RestoreTask) ran(volumes []*target) (bool, error) {
	for _, v := range volumes {
		if v.found && v.marker.Phase == finishing {
			return true, nil
		}
		if v.name != Data || !v.found || v.marker.Phase != restored {
			continue
		}
		now, err := Inspect(t.Dir)
		if errors.Is(err, ledger.ErrDamaged) {
			return true, nil
		}
		return !slices.Equal(now, v.marker.Channels), err
	}
	return false, nil
}

// settle ends what another restore has begun on the volume. Afterwards it has no marker, or
// one of this restore that can go on, or it is restored.
func (v *target) settle(ran bool) error {
	if !v.found {
		return nil
	}
	switch v.marker.Phase {
	case leaving, returning:
		return v.back()
	case finishing:
		return v.finish()
	case restored:
		if ran {
			// What the node has now is what it had last.
			return v.finish()
		}
	}
	if v.marker.Source == v.source {
		return nil
	}
	if v.marker.Gone {
		// There is nothing to go back to.
		if v.marker.Phase == placing || v.marker.Phase == restored {
			return v.restart()
		}
		return nil
	}
	return v.back()
}

// restart makes a volume whose old data are gone one whose new data are to be written.
func (v *target) restart() error {
	m := marker{Key: v.marker.Key, Phase: filling, Gone: true}
	if err := v.mark(m); err != nil {
		return err
	}
	return v.clear()
}

// admit refuses to put older data over newer ones.
func (t RestoreTask) admit(volumes []*target) error {
	if t.Accept.Has(backup.NewerData) {
		return nil
	}
	for _, v := range volumes {
		if v.name != Data || v.found && (v.marker.Gone || v.marker.Phase.moving() || v.marker.Phase == restored) {
			continue
		}
		present, err := Inspect(t.Dir)
		if errors.Is(err, ledger.ErrDamaged) {
			return nil // damage is a reason to restore
		}
		if err != nil {
			return v.wrap(err)
		}
		for _, p := range present {
			saved := backup.Channel{}
			if i := slices.IndexFunc(v.want, func(c backup.Channel) bool { return c.Name == p.Name }); i >= 0 {
				saved = v.want[i]
			}
			if p.Height > saved.Height {
				err := fmt.Errorf("%w: channel %q has %d blocks on the volume, %d in the backup; nothing was changed", ErrNewer, p.Name, p.Height, saved.Height)
				return exit.With(exit.WithHint(v.wrap(err), "if that is what you want: --accept "+string(backup.NewerData)), exit.NotReady)
			}
		}
	}
	return nil
}

// fill writes the new data beside the old ones.
func (v *target) fill(ctx context.Context, s Store, t RestoreTask) error {
	if v.found && v.marker.Source == v.source && v.marker.Phase != filling {
		return nil
	}
	m := marker{Key: t.Key, Phase: filling, Source: v.source, Gone: v.found && v.marker.Gone, Channels: v.want}
	// What an interrupted run of this restore has written need not be written again.
	resume := v.found && v.marker.Source == v.source
	if !resume {
		if err := v.remove(v.restoredDir()); err != nil {
			return err
		}
	}
	gone, err := v.room(ctx, s, t.Accept.Has(backup.Overwrite))
	if err != nil {
		return err
	}
	m.Gone = m.Gone || gone
	if err := v.mark(m); err != nil {
		return err
	}
	if m.Gone {
		if err := v.clear(); err != nil {
			return err
		}
	}
	if err := v.mkdir(v.restoredDir()); err != nil {
		return err
	}
	if err := v.write(ctx, s, t, resume); err != nil {
		return err
	}
	return v.to(filled)
}

// write restores all parts and compares what they amount to with what was recorded.
func (v *target) write(ctx context.Context, s Store, t RestoreTask, resume bool) error {
	var base int64
	for i, p := range v.parts {
		if wanted, err := p.wanted(ctx, s); err != nil {
			return err
		} else if !wanted {
			continue
		}
		if err := v.disk.before("restore " + path.Base(p.path)); err != nil {
			return err
		}
		dir, err := v.inside(p.path)
		if err != nil {
			return err
		}
		report, last := meter(v.node, v.name, "restore", t.Progress), int64(0)
		err = s.Restore(ctx, p.snapshot, p.path, dir, repository.RestoreOptions{Exclude: p.exclude, Resume: resume, Progress: func(done, total int64) {
			last = done
			if report != nil {
				report(base+done, max(v.saved.Bytes, base+total))
			}
		}})
		base += last
		if p.optional && errors.Is(err, repository.ErrNotFound) {
			continue
		}
		if err != nil && i > 0 {
			return fmt.Errorf("%s: %w", p.path, err)
		}
		if err != nil {
			return err
		}
	}
	if v.name != Data {
		return nil
	}
	got, err := inspectRoot(filepath.Join(v.restoredDir(), production))
	if err != nil {
		return fmt.Errorf("in the backup: %w", err)
	}
	if !slices.Equal(got.heads, v.want) {
		return fmt.Errorf("the snapshot does not hold what the backup says: it has %+v, it should have %+v", got.heads, v.want)
	}
	return nil
}

// inside makes a directory below that of the new data. A snapshot may hold anything; nothing
// is written through a link in it.
func (v *target) inside(rel string) (string, error) {
	dir := v.restoredDir()
	if rel == "" {
		return dir, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }()
	if err := root.MkdirAll(filepath.FromSlash(rel), 0o755); err != nil {
		return "", err
	}
	for at := filepath.FromSlash(rel); at != "."; at = filepath.Dir(at) {
		info, err := root.Lstat(at)
		if err != nil {
			return "", err
		}
		if !info.IsDir() {
			return "", fmt.Errorf("%s is not a directory in the backup", at)
		}
	}
	return filepath.Join(dir, filepath.FromSlash(rel)), nil
}
