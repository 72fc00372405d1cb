package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kopia/kopia/repo/blob"

	"pivt.io/pivt/pkg/exit"
)

// A blob has this long to be transferred, and some more by its length: a storage that has
// stopped answering does not close its connections.
const (
	attemptTime  = time.Minute
	attemptSpeed = 64 << 10 // bytes a second
	wholeBlob    = 32 << 20 // assumed where the length is not known
)

// storage stands between kopia and its storage: it asks again while the storage does not answer,
// and sorts the errors that remain.
type storage struct {
	blob.Storage
	scrub    func(string) string
	patience time.Duration
	attempt  time.Duration
	report   func(string)
	empty    bool // a directory that is not there is an empty one

	mu   sync.Mutex
	down time.Time // since when it does not answer; zero if it does
}

func newStorage(st blob.Storage, scrub func(string) string, o Options) *storage {
	return &storage{Storage: st, scrub: scrub, patience: o.Patience, attempt: o.attempt, report: o.Report}
}

// bare takes off the wrapper by which kopia's storages try everything ten times, what cannot
// succeed as well. Ours knows what is worth another try, for how long, and when to stop.
func bare(st blob.Storage) blob.Storage {
	v := reflect.Indirect(reflect.ValueOf(st))
	if v.Kind() != reflect.Struct || !strings.HasSuffix(v.Type().PkgPath(), "/repo/blob/retrying") {
		return st
	}
	if f := v.FieldByName("Storage"); f.IsValid() && f.CanInterface() {
		if inner, ok := f.Interface().(blob.Storage); ok {
			return inner
		}
	}
	return st
}

// try calls f until it succeeds, fails for good, or patience is over.
func (s *storage) try(ctx context.Context, size int64, f func(context.Context) error) error {
	limit := s.attempt + time.Duration(size/attemptSpeed)*time.Second
	pause := 200 * time.Millisecond
	var since time.Time
	for {
		began := time.Now()
		attempt, cancel := context.WithTimeout(ctx, limit)
		err := f(attempt)
		late := attempt.Err() != nil && ctx.Err() == nil
		cancel()
		if late && errors.Is(err, context.Canceled) {
			// Of the attempt, by whoever watched its time, and not of the caller.
			err = fmt.Errorf("no answer for %s: %w", limit, context.DeadlineExceeded)
		}
		if err == nil {
			s.up()
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if passes(err) || ours(err) {
			return err
		}
		if contains(err, "invalid length") {
			return blob.ErrInvalidRange // as the others say it of a blob that is too short
		}
		kind := kindOf(err)
		text := s.clean(err)
		if kind != ErrUnreachable {
			if kind == nil {
				return &storageError{nil, text}
			}
			return &storageError{kind, fmt.Sprintf("%s (%s)", kind, text)}
		}
		if since.IsZero() {
			since = began
		}
		if gone := time.Since(since); gone >= s.patience {
			return &storageError{kind, fmt.Sprintf("%s for %s (%s)", kind, gone.Round(time.Second), text)}
		}
		s.silent(began, text)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, 5*time.Second)
	}
}

// silent notes that the storage does not answer and reports it once.
func (s *storage) silent(since time.Time, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down.IsZero() {
		s.down = since
		s.report(fmt.Sprintf("storage does not answer, asking again for %s: %s", s.patience, why))
	}
}

// up notes that the storage answers.
func (s *storage) up() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.down.IsZero() {
		s.report(fmt.Sprintf("storage answers again after %s", time.Since(s.down).Round(time.Second)))
		s.down = time.Time{}
	}
}

// clean makes one short line without secrets of an error.
func (s *storage) clean(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error() // where, the error that is made of it says
	}
	return shorten(s.scrub(err.Error()))
}

func shorten(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > 300 {
		text = text[:300] + "..."
	}
	return text
}

// GetBlob implements blob.Storage.
func (s *storage) GetBlob(ctx context.Context, id blob.ID, offset, length int64, out blob.OutputBuffer) error {
	size := length
	if size < 0 {
		size = wholeBlob
	}
	return s.try(ctx, size, func(ctx context.Context) error {
		out.Reset()
		return s.Storage.GetBlob(ctx, id, offset, length, out)
	})
}

// GetMetadata implements blob.Storage.
func (s *storage) GetMetadata(ctx context.Context, id blob.ID) (blob.Metadata, error) {
	var md blob.Metadata
	err := s.try(ctx, 0, func(ctx context.Context) (err error) {
		md, err = s.Storage.GetMetadata(ctx, id)
		return err
	})
	return md, err
}

// PutBlob implements blob.Storage.
func (s *storage) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, o blob.PutOptions) error {
	b, _ := ctx.Value(brokenKey{}).(*broken)
	if err := b.get(); err != nil {
		return err
	}
	err := s.try(ctx, int64(data.Length()), func(ctx context.Context) error {
		return s.Storage.PutBlob(ctx, id, data, o)
	})
	b.set(err)
	return err
}

// broken is what the first write that failed for good failed of, for a session in whose context
// it is. kopia tries a pack that it could not store again with each chunk that follows.
type broken struct {
	mu  sync.Mutex
	err error
}

type brokenKey struct{}

func (b *broken) get() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

func (b *broken) set(err error) {
	var marked *storageError
	if b == nil || !errors.As(err, &marked) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
}

// DeleteBlob implements blob.Storage.
func (s *storage) DeleteBlob(ctx context.Context, id blob.ID) error {
	return s.try(ctx, 0, func(ctx context.Context) error { return s.Storage.DeleteBlob(ctx, id) })
}

// ListBlobs implements blob.Storage. It lists first and calls back then, so that a listing that
// broke off can be begun again.
func (s *storage) ListBlobs(ctx context.Context, prefix blob.ID, visit func(blob.Metadata) error) error {
	var all []blob.Metadata
	err := s.try(ctx, wholeBlob, func(ctx context.Context) error {
		all = all[:0]
		return s.Storage.ListBlobs(ctx, prefix, func(md blob.Metadata) error {
			all = append(all, md)
			return nil
		})
	})
	if s.empty && errors.Is(err, ErrNoBucket) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, md := range all {
		if err := visit(md); err != nil {
			return err
		}
	}
	return nil
}

// ConnectionInfo implements blob.Storage: what kopia may know of it, without credentials.
func (s *storage) ConnectionInfo() blob.ConnectionInfo {
	return blob.ConnectionInfo{Type: storageType, Config: &handle{}}
}

// storageType is the name under which kopia knows our storage.
const storageType = "pivt"

// handle is the configuration of our storage: nothing. The storage itself travels in the
// context of the call that opens the repository.
type handle struct{}

type storageKey struct{}

// register tells kopia of our storage, once.
var register = sync.OnceFunc(func() {
	blob.AddSupportedStorage(storageType, handle{}, func(ctx context.Context, _ *handle, _ bool) (blob.Storage, error) {
		st, ok := ctx.Value(storageKey{}).(*storage)
		if !ok {
			return nil, exit.With(errors.New("no storage in the context"), exit.Failed)
		}
		return st, nil
	})
})

// buffer and payload are the blob's bytes on their way in and out.
type buffer struct{ bytes.Buffer }

func (b *buffer) Length() int { return b.Len() }

type payload []byte

func (p payload) Length() int { return len(p) }

func (p payload) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(p)
	return int64(n), err
}

func (p payload) Reader() io.ReadSeekCloser { return &reader{*bytes.NewReader(p)} }

type reader struct{ bytes.Reader }

func (*reader) Close() error { return nil }

// read returns a whole blob.
func (s *storage) read(ctx context.Context, id blob.ID) ([]byte, error) {
	var b buffer
	err := s.GetBlob(ctx, id, 0, -1, &b)
	return b.Bytes(), err
}
