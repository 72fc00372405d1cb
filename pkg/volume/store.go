package volume

import (
	"context"
	"time"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/repository"
)

// Store keeps snapshots of directories.
type Store interface {
	Save(ctx context.Context, s repository.Source, dir string, o repository.SaveOptions) (backup.Volume, error)
	// Restore writes what a snapshot has at a path, "" for all, into dir. A path that is not in
	// the snapshot is repository.ErrNotFound.
	Restore(ctx context.Context, snapshot, path, dir string, o repository.RestoreOptions) error
	// Size is what Restore would write.
	Size(ctx context.Context, snapshot, path string) (int64, error)
}

// Progress is how far the work on one volume has got.
type Progress struct {
	Node   string
	Volume string
	Verb   string // save, restore, verify
	Bytes  int64
	Total  int64
}

// SaveTask says what to save.
type SaveTask struct {
	Key       string
	Namespace string
	Node      backup.Node // Name, Kind, Org, Hostname, Stopped; the rest is the result
	Dir       string      // has a directory per volume
	Volumes   []string
	Parts     backup.Parts
	Now       func() time.Time
	Progress  func(Progress) // may be nil
}

// RestoreTask says what to put back.
type RestoreTask struct {
	Key      string
	Node     backup.Node
	Replace  []backup.Replacement
	Dir      string // has a directory per volume
	Accept   backup.Accept
	Progress func(Progress) // may be nil

	disk disk
}

// meter makes a store's progress that of a volume.
func meter(node, volume, verb string, report func(Progress)) func(done, total int64) {
	if report == nil {
		return nil
	}
	return func(done, total int64) { report(Progress{node, volume, verb, done, total}) }
}
