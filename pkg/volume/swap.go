package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"pivt.io/pivt/pkg/exit"
)

// swap exchanges what lies on one volume.
type swap struct {
	dir    string
	marker marker
	found  bool // there is a marker
	disk   disk
}

func openSwap(dir string, d disk) (*swap, error) {
	m, found, err := readMarker(dir)
	if err != nil {
		return nil, err
	}
	return &swap{dir: dir, marker: m, found: found, disk: d}, nil
}

func (v *swap) path(parts ...string) string {
	return filepath.Join(append([]string{v.dir}, parts...)...)
}

func (v *swap) restoredDir() string { return v.path(stateDir, restoredDir) }
func (v *swap) replacedDir() string { return v.path(stateDir, replacedDir) }

// to goes on to the next phase.
func (v *swap) to(p phase) error {
	m := v.marker
	m.Phase = p
	return v.mark(m)
}

// forward puts new data, which are complete, into place.
func (v *swap) forward() error {
	if v.marker.Phase == filled {
		if err := v.to(parting); err != nil {
			return err
		}
	}
	if v.marker.Phase == parting {
		if err := v.move(v.dir, v.replacedDir()); err != nil {
			return err
		}
		if err := v.to(placing); err != nil {
			return err
		}
	}
	if v.marker.Phase == placing {
		if err := v.move(v.restoredDir(), v.dir); err != nil {
			return err
		}
		if err := v.to(restored); err != nil {
			return err
		}
	}
	return nil
}

// canBack says why the old data cannot come back.
func (v *swap) canBack() error {
	if v.found && (v.marker.Gone || v.marker.Phase == finishing) {
		return exit.WithHint(fmt.Errorf("volume %s: what was there before the restore of backup %s has been removed", filepath.Base(v.dir), v.marker.Key),
			"repeat pivt restore "+v.marker.Key)
	}
	return nil
}

// back puts the old data into place again and forgets the new ones.
func (v *swap) back() error {
	if !v.found {
		return v.forget()
	}
	if err := v.canBack(); err != nil {
		return err
	}
	switch v.marker.Phase {
	case placing, restored:
		if err := v.to(leaving); err != nil {
			return err
		}
	case parting:
		if err := v.to(returning); err != nil {
			return err
		}
	}
	if v.marker.Phase == leaving {
		if err := v.move(v.dir, v.restoredDir()); err != nil {
			return err
		}
		if err := v.to(returning); err != nil {
			return err
		}
	}
	if v.marker.Phase == returning {
		if err := v.move(v.replacedDir(), v.dir); err != nil {
			return err
		}
		// From here on it is a restore that has not begun.
		if err := v.to(filling); err != nil {
			return err
		}
	}
	return v.forget()
}

// canFinish says why the old data must stay.
func (v *swap) canFinish() error {
	if v.found && v.marker.Phase != restored && v.marker.Phase != finishing {
		return exit.WithHint(fmt.Errorf("volume %s: the restore of backup %s is not complete", filepath.Base(v.dir), v.marker.Key),
			"repeat pivt restore "+v.marker.Key)
	}
	return nil
}

// end says that the old data are not wanted any more.
func (v *swap) end() error {
	if err := v.canFinish(); err != nil || !v.found {
		return err
	}
	return v.to(finishing)
}

// finish removes what was replaced.
func (v *swap) finish() error {
	if err := v.end(); err != nil {
		return err
	}
	return v.forget()
}

// forget removes all that is ours, the marker last.
func (v *swap) forget() error {
	if _, err := os.Lstat(v.path(stateDir)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, dir := range []string{v.replacedDir(), v.restoredDir()} {
		if err := v.remove(dir); err != nil {
			return err
		}
	}
	if err := v.disk.syncDir(v.path(stateDir)); err != nil {
		return err
	}
	if err := v.remove(v.path(stateDir)); err != nil {
		return err
	}
	v.found, v.marker = false, marker{}
	return v.disk.syncDir(v.dir)
}

// move moves everything but what is ours from one directory into another.
func (v *swap) move(from, to string) error {
	if err := v.mkdir(to); err != nil {
		return err
	}
	names, err := list(from)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := v.disk.before("move " + filepath.Join(filepath.Base(from), name)); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	if err := v.disk.syncDir(to); err != nil {
		return err
	}
	if len(names) == 0 {
		return nil
	}
	return v.disk.syncDir(from)
}

// list names what is in a directory, without what is ours. A directory that is missing is
// empty.
func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !ours(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// clear removes what lies on the volume itself.
func (v *swap) clear() error {
	names, err := list(v.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := v.remove(v.path(name)); err != nil {
			return err
		}
	}
	return v.disk.syncDir(v.dir)
}

func (v *swap) mkdir(dir string) error {
	if info, err := os.Lstat(dir); err == nil && info.IsDir() {
		return nil
	}
	if err := v.disk.before("mkdir " + filepath.Base(dir)); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return v.disk.syncDir(filepath.Dir(dir))
}

func (v *swap) remove(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := v.disk.before("remove " + filepath.Base(path)); err != nil {
		return err
	}
	return removeAll(path)
}

// removeAll removes a tree, also one with directories that nobody may write to.
func removeAll(path string) error {
	err := os.RemoveAll(path)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			_ = os.Chmod(p, 0o700) //nolint:gosec // a directory has to be entered to be emptied
		}
		return nil
	})
	return os.RemoveAll(path)
}

// Finish removes what Restore has replaced; dir has a directory per volume. Of a restore that
// is not complete it removes nothing. No volume loses anything before all say that they will: what one had
// before is worth nothing without the others'.
func Finish(dir string) error { return finish(dir, disk{}) }

func finish(dir string, d disk) error {
	return each(dir, d, (*swap).canFinish, (*swap).end, (*swap).forget)
}

// Undo puts back what Restore has replaced; dir has a directory per volume. Where nothing was
// restored it does nothing. If one volume cannot go back, none does.
func Undo(dir string) error { return undo(dir, disk{}) }

func undo(dir string, d disk) error { return each(dir, d, (*swap).canBack, (*swap).back) }

// each does something with all volumes, one step after the other, if it can be done with all of them.
func each(dir string, d disk, can func(*swap) error, steps ...func(*swap) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var volumes []*swap
	var errs []error
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		v, err := openSwap(filepath.Join(dir, e.Name()), d)
		if err == nil {
			err = can(v)
		}
		errs = append(errs, err)
		volumes = append(volumes, v)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, do := range steps {
		for _, v := range volumes {
			if err := do(v); err != nil {
				return fmt.Errorf("volume %s: %w", filepath.Base(v.dir), err)
			}
		}
	}
	return nil
}
