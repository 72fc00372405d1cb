package repository

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
)

// calendar is a clock that is set, and a storage whose blobs are as old as that clock says.
type calendar struct {
	blob.Storage
	mu   *sync.Mutex
	now  *time.Time
	puts map[blob.ID]time.Time
}

func (c *calendar) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	*c.now = c.now.Add(time.Millisecond) // clocks do not stand still
	return *c.now
}

func (c *calendar) dated(md blob.Metadata) blob.Metadata {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t, ok := c.puts[md.BlobID]; ok {
		md.Timestamp = t
	}
	return md
}

func (c *calendar) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, o blob.PutOptions) error {
	t := c.time()
	if o.GetModTime != nil {
		defer func() { *o.GetModTime = t }()
	}
	c.mu.Lock()
	c.puts[id] = t
	c.mu.Unlock()
	return c.Storage.PutBlob(ctx, id, data, o)
}

func (c *calendar) GetMetadata(ctx context.Context, id blob.ID) (blob.Metadata, error) {
	md, err := c.Storage.GetMetadata(ctx, id)
	md.BlobID = id
	return c.dated(md), err
}

func (c *calendar) ListBlobs(ctx context.Context, prefix blob.ID, visit func(blob.Metadata) error) error {
	return c.Storage.ListBlobs(ctx, prefix, func(md blob.Metadata) error { return visit(c.dated(md)) })
}

func occupied(t *testing.T, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		sum += info.Size()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// TestMaintain lives through some days in which a backup is deleted and maintenance runs daily.
func TestMaintain(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	c := &calendar{mu: &sync.Mutex{}, now: &now, puts: map[blob.ID]time.Time{}}
	p := newPlace(t)
	p.options.now = c.time
	p.options.wrap = func(st blob.Storage) blob.Storage { c.Storage = st; return c }
	const size = 3 * packSize
	kept, deleted := t.TempDir(), t.TempDir()
	write(t, filepath.Join(kept, "a"), noise(1, size))
	write(t, filepath.Join(deleted, "a"), noise(2, size))
	session := func(f func(*Repository) error) {
		t.Helper()
		r, err := Open(t.Context(), p.target, p.options)
		if err != nil {
			t.Fatal(err)
		}
		if err := f(r); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var snap string
	session(func(r *Repository) error {
		snap = save(t, r, source("k1", "peer0"), kept, SaveOptions{}).Snapshot
		save(t, r, source("k2", "peer1"), deleted, SaveOptions{})
		return nil
	})
	now = now.AddDate(0, 0, 10)
	session(func(r *Repository) error { return r.Delete(t.Context(), "k2") })
	freed := 0
	for day := 1; day <= 7; day++ {
		session((*Repository).maintainForTest)
		if freed == 0 && occupied(t, p.disk()) < size*3/2 {
			freed = day
		}
		now = now.Add(24 * time.Hour)
	}
	if freed != 4 {
		t.Errorf("freed by maintenance %d, 0 for never; the comment of Maintain says by the fourth", freed)
	}
	session(func(r *Repository) error {
		if err := r.Restore(t.Context(), snap, "", t.TempDir(), RestoreOptions{}); err != nil {
			return fmt.Errorf("the backup that was kept: %w", err)
		}
		return nil
	})
}

func (r *Repository) maintainForTest() error { return r.Maintain(context.Background()) }

// TestManyBackups has backups made every day and never any maintenance.
func TestManyBackups(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	c := &calendar{mu: &sync.Mutex{}, now: &now, puts: map[blob.ID]time.Time{}}
	p := newPlace(t)
	p.options.now = c.time
	p.options.wrap = func(st blob.Storage) blob.Storage { c.Storage = st; return c }
	const days, sessions = 10, 25
	for range days {
		r, err := Open(t.Context(), p.target, p.options)
		if err != nil {
			t.Fatal(err)
		}
		key := now.Format("20060102-150405")
		for i := range sessions {
			if err := r.PutNode(t.Context(), key, backup.Node{Name: fmt.Sprint("peer", i)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Seal(t.Context(), backup.Manifest{APIVersion: backup.Version, Key: key, Namespace: "fabric", Started: now}); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		now = now.Add(24 * time.Hour)
	}
	if n := len(blobs(t, p.disk())["x"]); n > 6*sessions {
		t.Errorf("%d index blobs after %d days with %d sessions: every Open reads them all", n, days, sessions)
	} else {
		t.Logf("%d index blobs", n)
	}
	r := p.open(t)
	if list, err := r.List(t.Context()); err != nil || len(list) != days {
		t.Errorf("List = %d backups, %v, want %d", len(list), err, days)
	}
}

// TestMaintainedElsewhere leaves the repository to who is at it already.
func TestMaintainedElsewhere(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	r := p.open(t)
	claim := filepath.Join(p.disk(), string(claimMaintain)+"X.f")
	write(t, claim, "")
	schedule := filepath.Join(p.disk(), "kopia.maintenance.f")
	for _, tc := range []struct {
		age  time.Duration
		runs bool
	}{{0, false}, {2 * maintainTime, true}} {
		at := time.Now().Add(-tc.age)
		if err := os.Chtimes(claim, at, at); err != nil {
			t.Fatal(err)
		}
		if err := r.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(schedule); (err == nil) != tc.runs {
			t.Errorf("beside a claim that is %s old: maintained = %t, want %t", tc.age, err == nil, tc.runs)
		}
	}
}

func TestMaintainClock(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.options.now = func() time.Time { return time.Now().Add(time.Hour) }
	err := p.open(t).Maintain(t.Context())
	if err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(exit.HintOf(err), "clock") {
		t.Errorf("Maintain with a clock that is wrong = %v, want a hint about clocks", err)
	}
}
