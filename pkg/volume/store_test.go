package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/repository"
)

// dirStore keeps snapshots as directories. It is on disk so that a killed child's is there for
// its parent.
type dirStore struct {
	dir     string
	errs    map[string]error // by snapshot
	saving  func()           // called in the middle of a save
	written int              // files
}

var _ Store = (*dirStore)(nil)
var _ Store = (*repository.Repository)(nil)

func newStore(t *testing.T) *dirStore {
	t.Helper()
	return &dirStore{dir: t.TempDir(), errs: map[string]error{}}
}

func (d *dirStore) Save(_ context.Context, s repository.Source, dir string, o repository.SaveOptions) (backup.Volume, error) {
	id := fmt.Sprintf("%s-%s-%s", s.Key, s.Node, s.Volume)
	to := filepath.Join(d.dir, id)
	if err := os.RemoveAll(to); err != nil {
		return backup.Volume{}, err
	}
	if d.saving != nil {
		d.saving()
	}
	if err := d.copy(dir, to, repository.RestoreOptions{Exclude: o.Exclude, Progress: o.Progress}); err != nil {
		return backup.Volume{}, err
	}
	files, size, err := count(to)
	return backup.Volume{Name: s.Volume, Snapshot: id, Files: files, Bytes: size, Uploaded: size}, err
}

func (d *dirStore) find(snapshot, at string) (string, error) {
	if err := d.errs[snapshot]; err != nil {
		return "", err
	}
	from := filepath.Join(d.dir, snapshot, filepath.FromSlash(at))
	if _, err := os.Lstat(from); snapshot == "" || errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: %s of %q", repository.ErrNotFound, at, snapshot)
	}
	return from, nil
}

func (d *dirStore) Restore(ctx context.Context, snapshot, at, dir string, o repository.RestoreOptions) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	from, err := d.find(snapshot, at)
	if err != nil {
		return err
	}
	return d.copy(from, dir, o)
}

func (d *dirStore) Size(_ context.Context, snapshot, at string) (int64, error) {
	from, err := d.find(snapshot, at)
	if err != nil {
		return 0, err
	}
	return sizeOf(from)
}

func (d *dirStore) copy(from, to string, o repository.RestoreOptions) error {
	var done int64
	err := filepath.WalkDir(from, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		if slices.Contains(o.Exclude, filepath.ToSlash(rel)) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case e.IsDir():
			return os.MkdirAll(target, info.Mode().Perm())
		case e.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		}
		if is, err := os.Stat(target); o.Resume && err == nil && is.Size() == info.Size() && is.ModTime().Equal(info.ModTime()) {
			return nil
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if err := os.WriteFile(target, data, info.Mode().Perm()); err != nil {
			return err
		}
		d.written++
		done += info.Size()
		if o.Progress != nil {
			o.Progress(done, done)
		}
		return os.Chtimes(target, info.ModTime(), info.ModTime())
	})
	return err
}

// tree is what is in a directory: files with their content, directories, links.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		switch {
		case e.IsDir():
			all[rel] = "directory"
		case e.Type()&fs.ModeSymlink != 0:
			all[rel] = "link"
		default:
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			all[rel] = "file " + string(data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// put writes files below a directory; a path that ends with a slash is a directory.
func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, data := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if path.Clean(name) != name {
			if err := os.MkdirAll(file, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
