package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/repository"
)

// ErrNoRoom is a volume that is too small for what is to be restored.
var ErrNoRoom = errors.New("not enough space")

// spare is what a file system needs beyond the bytes of its files, as a part of them, and at
// least.
const (
	sparePart  = 50
	spareLeast = 4 << 20
)

// room makes sure that the new data fit beside the old ones. If they do not, but would instead
// of them and that is accepted, it says that the old ones have to go.
func (v *target) room(ctx context.Context, s Store, overwrite bool) (gone bool, err error) {
	need, err := v.need(ctx, s)
	if err != nil {
		return false, err
	}
	need += max(need/sparePart, spareLeast)
	available, err := v.disk.free(v.dir)
	if err != nil {
		return false, err
	}
	already, err := sizeOf(v.restoredDir())
	if err != nil {
		return false, err
	}
	if need -= already; need <= available {
		return false, nil
	}
	if v.found && v.marker.Gone {
		return true, nil // all that could be removed has been
	}
	old, err := size(v.dir)
	if err != nil {
		return false, err
	}
	if need > available+old {
		return false, exit.With(exit.WithHint(fmt.Errorf("%w: %d bytes are needed, the volume has %d free and %d in use by what would be replaced", ErrNoRoom, need, available, old),
			"make the volume larger, then repeat the restore; nothing was changed"), exit.NotReady)
	}
	if !overwrite {
		return false, exit.With(exit.WithHint(fmt.Errorf("%w: %d bytes are needed beside what is there, %d are free", ErrNoRoom, need, available),
			"make the volume larger, or remove the old data before the new ones are there with --accept "+string(backup.Overwrite)), exit.NotReady)
	}
	return true, nil
}

// need is the number of bytes that come onto the volume.
func (v *target) need(ctx context.Context, s Store) (int64, error) {
	var sum int64
	for _, p := range v.parts {
		if wanted, err := p.wanted(ctx, s); err != nil {
			return 0, err
		} else if !wanted {
			continue
		}
		n, err := s.Size(ctx, p.snapshot, p.path)
		if p.optional && errors.Is(err, repository.ErrNotFound) {
			continue
		}
		if err != nil {
			return 0, err
		}
		sum += n
		for _, out := range p.exclude {
			n, err := s.Size(ctx, p.snapshot, out)
			if errors.Is(err, repository.ErrNotFound) {
				continue
			}
			if err != nil {
				return 0, err
			}
			sum -= n
		}
	}
	return sum, nil
}

// free is what an unprivileged process may still write to the file system of dir.
func free(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("asking for the free space of %s: %w", dir, err)
	}
	return int64(s.Bavail) * s.Bsize, nil //nolint:gosec // no disk is that large
}

// size is what the node's files on a volume measure.
func size(volume string) (int64, error) {
	names, err := list(volume)
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, name := range names {
		n, err := sizeOf(filepath.Join(volume, name))
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// sizeOf is what the files of a tree measure; one that is missing, nothing.
func sizeOf(root string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == root {
			return nil
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		sum += info.Size()
		return nil
	})
	return sum, err
}
