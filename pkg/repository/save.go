package repository

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/fs/localfs"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"
	"github.com/kopia/kopia/snapshot/policy"
	"github.com/kopia/kopia/snapshot/upload"

	"pivt.io/pivt/pkg/backup"
)

// Source says what a snapshot is of. Snapshots of the same network, node and volume follow each
// other: each stores what is new since the one before.
type Source struct {
	Network string // namespace
	Node    string
	Volume  string
	Key     string // of the backup
}

// SaveOptions are the optional part of a save.
type SaveOptions struct {
	// Exclude are paths relative to the directory, slash-separated, that are left out with all
	// that is in them.
	Exclude []string
	// Progress is called now and then with the bytes that are done.
	Progress func(done, total int64)
}

const (
	// saveParallel files are read, compressed and encrypted at a time; each costs memory.
	saveParallel = 2
	// compressor: zstd-fastest stores a tenth less of what is like blocks, at half the speed, and
	// the node that is being copied does not run.
	compressor = "s2-default"
	// flushEvery is how much work an interrupted save may lose: what has been stored is found
	// again only through an index, which a flush writes.
	flushEvery = 30 * time.Second
)

// Labels under which kopia's command line finds snapshots ("--tags backup:KEY"), and ours.
const (
	tagBackup = "tag:backup"
	tagNode   = "tag:node"
	tagVolume = "tag:volume"
)

func (s Source) info() snapshot.SourceInfo {
	return snapshot.SourceInfo{Host: s.Network, UserName: user, Path: "/" + s.Node + "/" + s.Volume}
}

func (s Source) tags() map[string]string {
	return map[string]string{tagBackup: s.Key, tagNode: s.Node, tagVolume: s.Volume}
}

// Save stores the directory as a snapshot. Nothing is listed unless it succeeds; what an
// interrupted save has stored is not sent again by the next.
func (r *Repository) Save(ctx context.Context, s Source, dir string, o SaveOptions) (backup.Volume, error) {
	v, err := r.save(ctx, s, dir, o)
	if err != nil {
		return backup.Volume{}, r.fail(fmt.Sprintf("saving volume %s of %s", s.Volume, s.Node), err)
	}
	return v, nil
}

func (r *Repository) save(ctx context.Context, s Source, dir string, o SaveOptions) (backup.Volume, error) {
	ctx = context.WithValue(ctx, brokenKey{}, &broken{})
	// Made by mkfs in the root of some volumes, readable by root alone, and never a node's.
	skip := newRules(append(o.Exclude, "lost+found"))
	total, err := skip.measure(dir)
	if err != nil {
		return backup.Volume{}, err
	}
	if err := r.refresh(ctx); err != nil {
		return backup.Volume{}, err
	}
	before, err := snapshot.FindPreviousManifests(ctx, r.rep, s.info(), nil)
	if err != nil {
		return backup.Volume{}, damage(err)
	}
	var stored atomic.Int64
	_, w, err := r.rep.NewWriter(ctx, repo.WriteSessionOptions{Purpose: "save", OnUpload: func(n int64) { stored.Add(n) }})
	if err != nil {
		return backup.Volume{}, damage(err)
	}
	defer w.Close(context.WithoutCancel(ctx))
	p := &progress{meter: meter{total: total, tell: o.Progress}, every: r.flush}
	man, err := send(ctx, w, p, skip, s, dir, before)
	if err != nil {
		return backup.Volume{}, err
	}
	man.Tags = s.tags()
	man.Pins = []string{user} // kopia's retention must not expire what a backup refers to
	man.Description = "pivt backup " + s.Key
	id, err := snapshot.SaveSnapshot(ctx, w, man)
	if err != nil {
		return backup.Volume{}, err
	}
	for _, m := range before {
		if m.IncompleteReason != "" {
			if err := w.DeleteManifest(ctx, m.ID); err != nil && !errors.Is(err, manifest.ErrNotFound) {
				return backup.Volume{}, err
			}
		}
	}
	if err := r.commit(ctx, w); err != nil {
		return backup.Volume{}, err
	}
	p.finish()
	sum := man.RootEntry.DirSummary
	return backup.Volume{Name: s.Volume, Snapshot: string(id), Files: int(sum.TotalFileCount), Bytes: sum.TotalFileSize, Uploaded: stored.Load()}, nil
}

// send stores the files and returns the manifest of the snapshot, not stored yet.
func send(ctx context.Context, w repo.RepositoryWriter, p *progress, skip rules, s Source, dir string, before []*snapshot.Manifest) (*snapshot.Manifest, error) {
	root, err := localfs.Directory(dir)
	if err != nil {
		return nil, err
	}
	up := upload.NewUploader(w)
	up.Progress = p
	up.ParallelUploads = saveParallel
	up.FailFast = true
	up.DisableIgnoreRules = true // by default it obeys files named .kopiaignore and CACHEDIR.TAG
	up.CheckpointLabels = s.tags()
	p.cancel = up.Cancel
	defer context.AfterFunc(ctx, up.Cancel)()
	flushed := p.flush(ctx, w)
	man, err := up.Upload(ctx, skip.apply(root, ""), tree(), s.info(), before...)
	flushed()
	switch {
	case p.failed() != nil:
		err = p.failed()
	case ctx.Err() != nil:
		err = ctx.Err()
	case err == nil && man.IncompleteReason != "":
		err = errors.New(man.IncompleteReason)
	case err == nil && (man.Stats.ErrorCount > 0 || man.RootEntry.DirSummary.FatalErrorCount > 0):
		err = errors.New("files could not be read")
	}
	if err == nil {
		return man, nil
	}
	var marked *storageError
	if !errors.As(err, &marked) {
		// It was not the storage: let the next attempt find what this one has stored.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		_ = w.Flush(last) // it has failed already, with a better reason
	}
	return nil, err
}

// commit makes what a session wrote visible, and durable where it is a disk of ours.
func (r *Repository) commit(ctx context.Context, w repo.RepositoryWriter) error {
	if err := w.Flush(ctx); err != nil {
		return err
	}
	return r.sync()
}

func (r *Repository) sync() error {
	if r.disk == "" {
		return nil
	}
	return syncDisk(r.disk)
}

// tree is kopia's policy for a save.
func tree() *policy.Tree {
	p := *policy.DefaultPolicy
	p.CompressionPolicy.CompressorName = compressor
	p.ErrorHandlingPolicy.IgnoreUnknownTypes = policy.NewOptionalBool(true) // sockets, pipes
	return policy.BuildTree(nil, &p)
}

// progress is what kopia tells while it uploads. It keeps the first error and ends the upload.
type progress struct {
	upload.NullUploadProgress
	meter
	every  time.Duration
	cancel func()

	errMu sync.Mutex
	err   error
}

func (p *progress) HashedBytes(n int64)             { p.add(n) }
func (p *progress) CachedFile(_ string, size int64) { p.add(size) }

func (p *progress) Error(path string, err error, ignored bool) {
	if !ignored {
		p.fail(fmt.Errorf("%s: %w", path, err))
	}
}

func (p *progress) fail(err error) {
	p.errMu.Lock()
	if p.err == nil {
		p.err = err
	}
	p.errMu.Unlock()
	p.cancel()
}

func (p *progress) failed() error {
	p.errMu.Lock()
	defer p.errMu.Unlock()
	return p.err
}

// flush writes the session's indexes now and then; call what it returns to end that.
func (p *progress) flush(ctx context.Context, w repo.RepositoryWriter) (end func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(p.every)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-ctx.Done():
				return
			case <-t.C:
				if err := w.Flush(ctx); err != nil {
					p.fail(err)
					return
				}
			}
		}
	})
	return func() { close(done); wg.Wait() }
}
