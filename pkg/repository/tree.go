package repository

import (
	"context"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	kfs "github.com/kopia/kopia/fs"
)

// without is a directory without some of its entries; kopia's own rules for that are patterns,
// and files named .kopiaignore in the data would add to them.
type without struct {
	kfs.Directory
	rules rules
	path  string // of the directory; "" for the root
}

// rules are cleaned, slash-separated paths that are left out.
type rules map[string]bool

func newRules(paths []string) rules {
	r := rules{}
	for _, p := range paths {
		if p = strings.Trim(path.Clean("/"+filepath.ToSlash(p)), "/"); p != "" {
			r[p] = true
		}
	}
	return r
}

// below tells whether a rule concerns something inside dir.
func (r rules) below(dir string) bool {
	for p := range r {
		if dir == "" || strings.HasPrefix(p, dir+"/") {
			return true
		}
	}
	return false
}

// apply returns an entry as the rules leave it: as it is if none concerns it.
func (r rules) apply(e kfs.Entry, at string) kfs.Entry {
	if d, ok := e.(kfs.Directory); ok && r.below(at) {
		return &without{d, r, at}
	}
	return e
}

func (w *without) Child(ctx context.Context, name string) (kfs.Entry, error) {
	at := path.Join(w.path, name)
	if w.rules[at] {
		return nil, kfs.ErrEntryNotFound
	}
	e, err := w.Directory.Child(ctx, name)
	if err != nil {
		return nil, err
	}
	return w.rules.apply(e, at), nil
}

func (w *without) Iterate(ctx context.Context) (kfs.DirectoryIterator, error) {
	it, err := w.Directory.Iterate(ctx)
	if err != nil {
		return nil, err
	}
	return &remaining{it, w}, nil
}

type remaining struct {
	kfs.DirectoryIterator
	of *without
}

func (r *remaining) Next(ctx context.Context) (kfs.Entry, error) {
	for {
		e, err := r.DirectoryIterator.Next(ctx)
		if e == nil || err != nil {
			return nil, err
		}
		at := path.Join(r.of.path, e.Name())
		if !r.of.rules[at] {
			return r.of.rules.apply(e, at), nil
		}
		e.Close()
	}
}

// measure sums the sizes of the files that the rules leave of a directory on disk.
func (r rules) measure(dir string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		switch {
		case r[filepath.ToSlash(rel)] && d.IsDir():
			return fs.SkipDir
		case r[filepath.ToSlash(rel)] || !d.Type().IsRegular():
			return nil
		}
		info, err := d.Info()
		if os.IsNotExist(err) {
			return nil
		}
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	return bytes, err
}

// meter counts bytes and calls back now and then, never twice at once.
type meter struct {
	mu    sync.Mutex
	done  int64
	total int64
	last  time.Time
	tell  func(done, total int64)
}

func (m *meter) add(n int64) {
	if m.tell == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	if now := time.Now(); now.Sub(m.last) >= 200*time.Millisecond {
		m.last = now
		m.tell(m.done, max(m.done, m.total))
	}
}

// finish reports the whole.
func (m *meter) finish() {
	if m.tell == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tell(m.done, m.done)
}
