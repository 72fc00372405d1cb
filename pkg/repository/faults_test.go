package repository

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	"github.com/minio/minio-go/v7"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
)

// faulty is a storage that can be made to fail.
type faulty struct {
	blob.Storage
	put func(blob.ID, int) error
	get func(blob.ID) error
}

func (f *faulty) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, o blob.PutOptions) error {
	if f.put != nil {
		if err := f.put(id, data.Length()); err != nil {
			return err
		}
	}
	return f.Storage.PutBlob(ctx, id, data, o)
}

func (f *faulty) GetBlob(ctx context.Context, id blob.ID, offset, length int64, out blob.OutputBuffer) error {
	if f.get != nil {
		if err := f.get(id); err != nil {
			return err
		}
	}
	return f.Storage.GetBlob(ctx, id, offset, length, out)
}

func isData(id blob.ID) bool {
	return strings.HasPrefix(string(id), "p") && !strings.Contains(string(id), ".")
}

func TestSaveErrors(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		err    error
		want   error
		code   exit.Code
	}{
		"DiskFull":    {"A claim or a disk that is full.", &os.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC}, ErrFull, exit.Failed},
		"Quota":       {"A quota is as full as a disk.", &os.PathError{Op: "write", Path: "/x", Err: syscall.EDQUOT}, ErrFull, exit.Failed},
		"S3Full":      {"HTTP has a status for it.", minio.ErrorResponse{StatusCode: http.StatusInsufficientStorage, Code: "InsufficientStorage", Message: "no"}, ErrFull, exit.Failed},
		"MinIOFull":   {"MinIO has words of its own.", minio.ErrorResponse{StatusCode: http.StatusConflict, Code: "XMinioStorageFull", Message: "Storage backend has reached its minimum free drive threshold."}, ErrFull, exit.Failed},
		"GatewayFull": {"Others answer with their operating system's.", minio.ErrorResponse{StatusCode: 500, Code: "InternalError", Message: "write blob: no space left on device"}, ErrFull, exit.Failed},
		"Forbidden":   {"A key that may read and not write.", minio.ErrorResponse{StatusCode: http.StatusForbidden, Code: "AccessDenied"}, ErrCredentials, exit.Failed},
		"NoBucket":    {"Somebody deletes the bucket.", minio.ErrorResponse{StatusCode: http.StatusNotFound, Code: "NoSuchBucket"}, ErrNoBucket, exit.Failed},
		"Down":        {"A server that is not there is worth another try later.", &url.Error{Op: "Put", URL: "http://s3/x", Err: syscall.ECONNREFUSED}, ErrUnreachable, exit.TryAgain},
		"Broken":      {"So is one that has trouble of its own.", minio.ErrorResponse{StatusCode: 503, Code: "SlowDown", Message: "Please reduce your request rate."}, ErrUnreachable, exit.TryAgain},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			p.options.Patience = 300 * time.Millisecond
			var broken atomic.Bool
			p.options.wrap = func(st blob.Storage) blob.Storage {
				return &faulty{Storage: st, put: func(id blob.ID, _ int) error {
					if broken.Load() && isData(id) {
						return tc.err
					}
					return nil
				}}
			}
			r := p.open(t)
			dir := t.TempDir()
			write(t, filepath.Join(dir, "a"), noise(1, 1<<20))
			broken.Store(true)
			_, err := r.Save(t.Context(), source("k", "peer0"), dir, SaveOptions{})
			if !errors.Is(err, tc.want) || exit.CodeOf(err) != tc.code || exit.HintOf(err) == "" || !strings.Contains(err.Error(), "peer0") {
				t.Errorf("%s\nSave = %v (code %d, hint %q), want %v, code %d", tc.reason, err, exit.CodeOf(err), exit.HintOf(err), tc.want, tc.code)
			}
			broken.Store(false)
			if list, err := r.List(t.Context()); err != nil || len(list) != 0 {
				t.Errorf("after a failed save: List = %v, %v, want nothing", list, err)
			}
			save(t, r, source("k", "peer0"), dir, SaveOptions{}) // the cure: repeat
		})
	}
}

func TestOutage(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.options.Patience = time.Minute
	var mu sync.Mutex
	var reports []string
	p.options.Report = func(s string) { mu.Lock(); defer mu.Unlock(); reports = append(reports, s) }
	var refused atomic.Int64 // calls from now on
	p.options.wrap = func(st blob.Storage) blob.Storage {
		down := func() error {
			if refused.Add(-1) >= 0 {
				return fmt.Errorf("dial tcp 10.0.0.1:9000: %w", syscall.ECONNREFUSED)
			}
			return nil
		}
		return &faulty{Storage: st, put: func(blob.ID, int) error { return down() }, get: func(blob.ID) error { return down() }}
	}
	fail := func() { refused.Store(1) }
	fail()
	r := p.open(t)
	dir := sample(t)
	fail()
	v := save(t, r, source("k", "peer0"), dir, SaveOptions{})
	fail()
	if err := r.Restore(t.Context(), v.Snapshot, "", t.TempDir(), RestoreOptions{}); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(reports) != 6 || !strings.Contains(reports[0], "connection refused") || !strings.Contains(reports[5], "answers again") {
		t.Errorf("reports %q, want each of three outages told when it began and when it was over", reports)
	}
}

func TestInterruptedSave(t *testing.T) {
	t.Parallel()
	const size, files = 8 << 20, 8
	cases := map[string]struct {
		reason string
		stop   func(cancel context.CancelFunc) error // what storing does after more than the half
	}{
		"Cancelled": {"The pod is told to stop.", func(cancel context.CancelFunc) error { cancel(); return nil }},
		"Killed": {"The pod is gone at once: only what a flush has indexed is found again.", func(context.CancelFunc) error {
			return minio.ErrorResponse{StatusCode: http.StatusForbidden, Code: "AccessDenied"}
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var stored atomic.Int64
			p.options.flush = 10 * time.Millisecond
			p.options.wrap = func(st blob.Storage) blob.Storage {
				return &faulty{Storage: st, put: func(id blob.ID, n int) error {
					if isData(id) && stored.Add(int64(n)) > size*files/2 {
						return tc.stop(cancel)
					}
					return nil
				}}
			}
			r := p.open(t)
			dir := t.TempDir()
			for i := range files {
				write(t, filepath.Join(dir, fmt.Sprint(i)), noise(uint64(i), size))
			}
			if _, err := r.Save(ctx, source("k", "peer0"), dir, SaveOptions{}); err == nil {
				t.Fatal("the save was to be interrupted")
			}
			p.options.wrap = nil
			other := p.open(t)
			if list, err := other.List(t.Context()); err != nil || len(list) != 0 {
				t.Errorf("List = %v, %v, want nothing of an interrupted save", list, err)
			}
			v := save(t, other, source("k", "peer0"), dir, SaveOptions{})
			if v.Uploaded > v.Bytes*3/4 {
				t.Errorf("%s\nThe repeat stored %d of %d bytes, want less than what was stored before", tc.reason, v.Uploaded, v.Bytes)
			}
		})
	}
}

func TestConcurrentSaves(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	dir := sample(t)
	const pods = 4
	var wg sync.WaitGroup
	errs := make([]error, pods)
	for i := range pods {
		wg.Go(func() {
			errs[i] = func() error {
				// All of them create, as nobody has yet.
				r, err := Open(t.Context(), p.target, p.options)
				if err != nil {
					return err
				}
				defer r.Close(t.Context())
				name := fmt.Sprintf("peer%d", i)
				v, err := r.Save(t.Context(), source("k", name), dir, SaveOptions{})
				if err != nil {
					return err
				}
				return r.PutNode(t.Context(), "k", backup.Node{Name: name, Volumes: []backup.Volume{v}})
			}()
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	r := p.open(t)
	nodes, err := r.Nodes(t.Context(), "k")
	if err != nil || len(nodes) != pods {
		t.Fatalf("Nodes = %v, %v, want %d", nodes, err, pods)
	}
	for _, n := range nodes {
		if err := r.Restore(t.Context(), n.Volumes[0].Snapshot, "", t.TempDir(), RestoreOptions{}); err != nil {
			t.Error(err)
		}
	}
	for kind := range blobs(t, p.disk()) {
		if strings.HasPrefix(kind, string(claimCreate)) {
			t.Errorf("claim %s was left", kind)
		}
	}
}

func TestCreateAfterDeadCreator(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	// Its claim, and the first of the two blobs it was going to write.
	claim := filepath.Join(p.disk(), string(claimCreate)+"DEAD.f")
	write(t, claim, "")
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(claim, past, past); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(p.disk(), "kopia.blobcfg.f"), "half")
	r := p.open(t)
	save(t, r, source("k", "peer0"), sample(t), SaveOptions{})
	if _, err := os.Stat(claim); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a dead creator's claim was left: %v", err)
	}
}

func TestMissingSource(t *testing.T) {
	t.Parallel()
	r := newPlace(t).open(t)
	_, err := r.Save(t.Context(), source("k", "peer0"), filepath.Join(t.TempDir(), "none"), SaveOptions{})
	if !errors.Is(err, os.ErrNotExist) || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "none") {
		t.Errorf("Save = %v, want the directory that is not there", err)
	}
}
