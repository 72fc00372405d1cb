package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	kfs "github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"
	"github.com/kopia/kopia/snapshot/snapshotfs"
	"golang.org/x/sync/errgroup"
)

// RestoreOptions are the optional part of a restore.
type RestoreOptions struct {
	// Exclude are paths relative to the restored directory, slash-separated.
	Exclude []string
	// Progress is called now and then with the bytes that are done.
	Progress func(done, total int64)
	// Resume leaves files alone that have the right size and modification time already: a
	// restore sets that last. Use it where nothing but an earlier restore has written.
	Resume bool
}

// restoreParallel files are read at a time: a storage far away answers each read late.
const restoreParallel = 4

// Restore makes dir what path was in the snapshot: a directory with all that is in it, or a
// file. Files that exist are overwritten, others are left alone. Modes and modification times
// are restored, owners are not; everything is on disk when Restore returns.
func (r *Repository) Restore(ctx context.Context, snap, at, dir string, o RestoreOptions) error {
	e, err := r.entry(ctx, snap, at)
	if err != nil {
		return r.fail("restoring "+subject(snap, at), err)
	}
	x := &extraction{skip: newRules(o.Exclude), resume: o.Resume, meter: meter{total: size(e), tell: o.Progress}}
	x.group, ctx = errgroup.WithContext(ctx)
	x.group.SetLimit(restoreParallel)
	err = x.extract(ctx, e, "", dir)
	if e := x.group.Wait(); e != nil {
		err = e // the first error; the walk may only have been told of it
	}
	if err == nil {
		err = x.finish()
	}
	if err == nil {
		err = syncDir(filepath.Dir(dir))
	}
	if err != nil {
		return r.fail("restoring "+subject(snap, at), err)
	}
	x.meter.finish()
	return nil
}

func subject(snap, at string) string {
	if at = strings.Trim(at, "/"); at == "" {
		return "snapshot " + snap
	}
	return at + " of snapshot " + snap
}

// Size is what path measures when it is restored.
func (r *Repository) Size(ctx context.Context, snap, at string) (int64, error) {
	e, err := r.entry(ctx, snap, at)
	if err != nil {
		return 0, r.fail("measuring "+subject(snap, at), err)
	}
	return size(e), nil
}

// entry finds a file or directory of a snapshot.
func (r *Repository) entry(ctx context.Context, snap, at string) (kfs.Entry, error) {
	if err := r.refresh(ctx); err != nil {
		return nil, err
	}
	m, err := snapshot.LoadSnapshot(ctx, r.rep, manifest.ID(snap))
	if errors.Is(err, snapshot.ErrSnapshotNotFound) {
		return nil, fmt.Errorf("%w: it was deleted, or this is another repository", ErrNotFound)
	}
	if err != nil {
		return nil, damage(err)
	}
	e, err := snapshotfs.SnapshotRoot(r.rep, m)
	if err != nil {
		return nil, damage(err)
	}
	for _, name := range strings.Split(strings.Trim(path.Clean("/"+at), "/"), "/") {
		if name == "" {
			break
		}
		d, ok := e.(kfs.Directory)
		if !ok {
			return nil, fmt.Errorf("%w: %s is no directory", ErrNotFound, e.Name())
		}
		e, err = d.Child(ctx, name)
		if errors.Is(err, kfs.ErrEntryNotFound) {
			return nil, fmt.Errorf("%w: there is no %s", ErrNotFound, name)
		}
		if err != nil {
			return nil, damage(err)
		}
	}
	return e, nil
}

func size(e kfs.Entry) int64 {
	if d, ok := e.(kfs.DirectoryWithSummary); ok {
		if s, err := d.Summary(context.Background()); err == nil && s != nil {
			return s.TotalFileSize
		}
	}
	return e.Size()
}

// extraction is a restore under way.
type extraction struct {
	skip   rules
	resume bool
	group  *errgroup.Group
	meter  meter
	dirs   []restored // parents before children
}

type restored struct {
	name string
	e    kfs.Entry
}

// extract restores an entry at a path relative to the whole into the file or directory to.
// Files are left to the group.
func (x *extraction) extract(ctx context.Context, e kfs.Entry, at, to string) error {
	switch e := e.(type) {
	case kfs.Directory:
		if err := os.MkdirAll(to, 0o700); err != nil {
			return err
		}
		x.dirs = append(x.dirs, restored{to, e})
		children, err := kfs.GetAllEntries(ctx, e)
		if err != nil {
			return x.reading(at, err)
		}
		for _, c := range children {
			name := path.Join(at, c.Name())
			if x.skip[name] {
				continue
			}
			// A repository is not to be trusted further than its password: no way out of dir.
			if c.Name() != filepath.Base(c.Name()) || c.Name() == ".." {
				return fmt.Errorf("%w: %q is no file name", ErrDamaged, c.Name())
			}
			if err := x.extract(ctx, c, name, filepath.Join(to, c.Name())); err != nil {
				return err
			}
		}
		return nil
	case kfs.Symlink:
		target, err := e.Readlink(ctx)
		if err != nil {
			return x.reading(at, err)
		}
		if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return os.Symlink(target, to)
	case kfs.File:
		if ctx.Err() != nil {
			return ctx.Err()
		}
		x.group.Go(func() error { return x.file(ctx, e, at, to) })
		return nil
	}
	return fmt.Errorf("%w: %s is neither file, directory nor link", ErrDamaged, at)
}

// reading says of an error which file was being read.
func (x *extraction) reading(at string, err error) error {
	if err = damage(err); err == nil || at == "" {
		return err
	}
	return fmt.Errorf("%s: %w", at, err)
}

func (x *extraction) file(ctx context.Context, e kfs.File, at, to string) error {
	if x.resume {
		if st, err := os.Lstat(to); err == nil && st.Mode().IsRegular() && st.Size() == e.Size() && st.ModTime().Equal(e.ModTime()) {
			x.meter.add(st.Size())
			return nil
		}
	}
	in, err := e.Open(ctx)
	if err != nil {
		return x.reading(at, err)
	}
	defer in.Close()
	// Never through a link that lies where the file belongs.
	if st, err := os.Lstat(to); err == nil && !st.Mode().IsRegular() {
		if err := os.Remove(to); err != nil {
			return err
		}
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	n, err := x.copy(ctx, out, in, at)
	if err == nil && n != e.Size() {
		err = fmt.Errorf("%s: %w: it has %d bytes of %d", at, ErrDamaged, n, e.Size())
	}
	if err == nil {
		err = out.Sync()
	}
	if err == nil {
		err = out.Close()
	}
	if err == nil {
		err = os.Chmod(to, e.Mode().Perm())
	}
	if err == nil {
		err = os.Chtimes(to, e.ModTime(), e.ModTime())
	}
	return err
}

func (x *extraction) copy(ctx context.Context, out io.Writer, in io.Reader, at string) (int64, error) {
	buf := make([]byte, 256<<10)
	var sum int64
	for {
		if ctx.Err() != nil {
			return sum, ctx.Err()
		}
		n, err := in.Read(buf)
		if n > 0 {
			if _, err := out.Write(buf[:n]); err != nil {
				return sum, err
			}
			sum += int64(n)
			x.meter.add(int64(n))
		}
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return sum, x.reading(at, err)
		}
	}
}

// finish gives the directories, children first, their modes and puts them on disk.
func (x *extraction) finish() error {
	for i := len(x.dirs) - 1; i >= 0; i-- {
		d := x.dirs[i]
		if err := syncDir(d.name); err != nil {
			return err
		}
		if err := os.Chmod(d.name, d.e.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}

// syncDir puts a directory's entries on disk.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
