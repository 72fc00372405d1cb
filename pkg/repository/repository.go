package repository

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/format"

	"pivt.io/pivt/pkg/backup"
)

// Options say where Open finds what the target does not say. The zero value is what a pod of the
// backup flow needs.
type Options struct {
	Credentials string // directory with the Secret's keys; default backup.CredentialsDir
	Dir         string // where the claim of a pvc target is mounted; default backup.RepositoryDir
	Cache       string // for small files without secrets, which Close removes; default backup.CacheDir
	Create      bool   // make the repository if there is none
	ReadOnly    bool   // never write to the storage
	// Patience is how long a storage that does not answer is asked again; default 3 minutes.
	Patience time.Duration
	// Report is told when the storage does not answer and when it does again.
	Report func(string)

	// What tests change.
	wrap  func(blob.Storage) blob.Storage
	now   func() time.Time
	flush time.Duration // see flushEvery
	// attempt is how long one request without data may take.
	attempt time.Duration
}

// Repository is an open repository. Its methods may be called at the same time, by several
// processes as well.
type Repository struct {
	where string
	dir   string // kopia's files: its configuration, without credentials, and a lock
	disk  string // of a pvc target
	st    *storage
	rep   repo.DirectRepository
	flush time.Duration
}

// The names under which all of pivt's processes act in a repository, as kopia sees it.
const (
	user = "pivt"
	host = "pivt"
)

// closeTime is how long the storage gets to end a connection.
const closeTime = 10 * time.Second

// Open opens the repository at t. Close it.
func Open(ctx context.Context, t backup.Target, o Options) (*Repository, error) {
	o = o.withDefaults()
	where := describe(t, o.Dir)
	r, err := open(ctx, t, where, o)
	if err != nil {
		return nil, fail(where, "opening the repository", err)
	}
	return r, nil
}

func (o Options) withDefaults() Options {
	for p, def := range map[*string]string{&o.Credentials: backup.CredentialsDir, &o.Dir: backup.RepositoryDir, &o.Cache: backup.CacheDir} {
		if *p == "" {
			*p = def
		}
	}
	if o.Patience == 0 {
		o.Patience = 3 * time.Minute
	}
	if o.Report == nil {
		o.Report = func(string) {}
	}
	if o.wrap == nil {
		o.wrap = func(st blob.Storage) blob.Storage { return st }
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.attempt == 0 {
		o.attempt = attemptTime
	}
	if o.flush == 0 {
		o.flush = flushEvery
	}
	return o
}

func open(ctx context.Context, t backup.Target, where string, o Options) (*Repository, error) {
	creds, err := readCredentials(o.Credentials)
	if err != nil {
		return nil, err
	}
	if err := creds.need(backup.CredentialPassword); err != nil {
		return nil, err
	}
	password := creds.get(backup.CredentialPassword)
	st, err := reach(ctx, t, creds, o)
	if err != nil {
		return nil, err
	}
	r := &Repository{where: where, st: st, flush: o.flush}
	if t.Type == backup.PVC {
		r.disk = filepath.Join(o.Dir, filepath.FromSlash(t.Prefix))
	}
	ok, err := st.exists(ctx)
	if err == nil && !ok {
		if !o.Create || o.ReadOnly {
			err = ErrNoRepository
		} else {
			err = st.create(ctx, password)
		}
	}
	if err == nil {
		err = r.attach(ctx, password, o)
	}
	if err != nil {
		st.Storage.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return r, nil
}

// reach connects to the storage of a target, as patiently as it is asked later.
func reach(ctx context.Context, t backup.Target, creds *credentials, o Options) (*storage, error) {
	s := newStorage(nil, creds.scrubber(), o)
	s.empty = t.Type == backup.WebDAV // the first blob makes it
	err := s.try(ctx, 0, func(attempt context.Context) error {
		// The connection outlives the attempt: some storages keep the context they are made with.
		ctx, cancel := context.WithCancel(ctx)
		stop := context.AfterFunc(attempt, cancel)
		st, err := connect(ctx, t, creds, o)
		if !stop() || err != nil {
			cancel()
		}
		if errors.Is(err, os.ErrNotExist) && t.Type == backup.PVC && !o.Create {
			return &storageError{ErrNoRepository, ErrNoRepository.Error()}
		}
		if err != nil {
			return err
		}
		s.Storage = o.wrap(bare(st))
		if t.Type != backup.PVC {
			s.Storage = readAhead(s.Storage)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// attach has kopia open the repository. It insists on a configuration file; ours names a storage
// that only the context of this call holds.
func (r *Repository) attach(ctx context.Context, password string, o Options) error {
	register()
	if err := os.MkdirAll(o.Cache, 0o700); err != nil {
		return fmt.Errorf("making the cache: %w", err)
	}
	dir, err := os.MkdirTemp(o.Cache, "kopia-")
	if err != nil {
		return fmt.Errorf("making the cache: %w", err)
	}
	r.dir = dir
	info := r.st.ConnectionInfo()
	config, err := json.Marshal(repo.LocalConfig{
		// No caches: data are read once, and directories come with what is read ahead.
		Storage: &info,
		ClientOptions: repo.ClientOptions{
			Hostname: host, Username: user, ReadOnly: o.ReadOnly, Description: "pivt",
			FormatBlobCacheDuration: format.DefaultRepositoryBlobCacheDuration,
		},
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "kopia.config"), config, 0o600)
	}
	if err == nil {
		err = r.openWith(ctx, filepath.Join(dir, "kopia.config"), password, o)
	}
	if err == nil && !o.ReadOnly {
		err = r.st.keepCopy(ctx)
		if err != nil {
			r.rep.Close(ctx)
		}
	}
	if err != nil {
		os.RemoveAll(dir)
	}
	return err
}

func (r *Repository) openWith(ctx context.Context, config, password string, o Options) error {
	rep, err := repo.Open(context.WithValue(ctx, storageKey{}, r.st), config, password, &repo.Options{
		DisableInternalLog:  true, // it would write its log into the repository
		DoNotWaitForUpgrade: true,
		OnFatalError:        func(error) {}, // the default ends the process; the error is returned too
		TimeNowFunc:         o.now,
	})
	switch {
	case errors.Is(err, repo.ErrRepositoryUnavailableDueToUpgradeInProgress):
		return &storageError{nil, err.Error()}
	case err != nil && r.st.keysDamaged(ctx, password):
		return keysError()
	case errors.Is(err, repo.ErrInvalidPassword):
		return ErrWrongKey
	case err != nil:
		return damage(err)
	}
	direct, ok := rep.(repo.DirectRepository)
	if !ok {
		rep.Close(ctx)
		return fmt.Errorf("kopia opened a %T", rep)
	}
	r.rep = direct
	return nil
}

// refresh makes what other processes have written visible.
func (r *Repository) refresh(ctx context.Context) error { return damage(r.rep.Refresh(ctx)) }

// Close ends the connection and removes what Open put into the cache. A repository that was
// closed may be closed again.
func (r *Repository) Close(ctx context.Context) error {
	if r.rep == nil {
		return nil
	}
	// SSH waits for the server to agree, and nothing is left to be lost.
	closed := make(chan error, 1)
	go func(rep repo.DirectRepository) { closed <- rep.Close(ctx) }(r.rep)
	var err error
	select {
	case err = <-closed:
	case <-time.After(closeTime):
	}
	r.rep = nil
	if e := os.RemoveAll(r.dir); err == nil {
		err = e
	}
	return r.fail("closing the repository", err)
}
