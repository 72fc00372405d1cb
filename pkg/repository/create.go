package repository

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/format"

	"pivt.io/pivt/pkg/exit"
)

// The blobs that hold the repository's keys, encrypted with the password, and their copies. One
// damaged byte in the first makes everything unreadable, and kopia keeps none.
const (
	formatBlob = blob.ID(format.KopiaRepositoryBlobID)
	configBlob = blob.ID(format.KopiaBlobCfgBlobID)
	formatCopy = blob.ID("kopia.keys.copy")
)

// What only one process may do at a time, by the prefix of the claims to it, and the time after
// which a claim that its owner has not taken back is a dead process's.
const (
	claimCreate   = blob.ID("kopia.create.")
	claimMaintain = blob.ID("kopia.maintain.")
	createTime    = time.Minute
	maintainTime  = 6 * time.Hour
)

// How content is cut, hashed, encrypted and packed.
//
// Nodes append to files (blocks, logs, CouchDB), replace them as a whole (LevelDB) or change them
// in place by pages (SQLite, write-ahead logs): nothing moves inside a file. So cuts at fixed
// places find as much again as cuts by content do, at twice the speed; measured with LevelDB
// after 1 % more blocks: 1.3 % stored either way. Only what LevelDB writes anew from full journals, once
// when a peer starts after a bulk load, is found in part by content: 34 MB instead of 56 MB of 478 MB
// were new then. What is appended to a file costs half a chunk more
// on average, and a chunk costs its index entry of 50 bytes.
const (
	splitterName = "FIXED-256K"
	hashName     = "BLAKE3-256-128"
	cipherName   = "AES256-GCM-HMAC-SHA256"
	packSize     = 16 << 20
)

// exists tells whether there is a repository, and that there is a bucket where there is none.
func (s *storage) exists(ctx context.Context) (bool, error) {
	_, err := s.read(ctx, formatBlob)
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, blob.ErrBlobNotFound) {
		return false, err
	}
	// S3 says "not found" of an object whether or not there is a bucket; a listing tells.
	var others int
	if err := s.ListBlobs(ctx, "p", func(blob.Metadata) error { others++; return nil }); err != nil {
		return false, err
	}
	if others > 0 {
		return false, keysError()
	}
	return false, nil
}

// create makes the repository, unless another process does at the same time: then it waits for
// that. Two that both wrote the keys would leave one with data that nobody can decrypt, and not
// every storage has a write that fails if the blob exists. So each first writes a claim and looks
// for others'. Of two, at least the later one sees both; whoever sees another's claim takes its
// own back and tries again, so at most one goes on.
func (s *storage) create(ctx context.Context, password string) error {
	for {
		alone, mine, err := s.claim(ctx, claimCreate, createTime)
		if err != nil {
			return err
		}
		if alone {
			err := s.initialize(ctx, password)
			if e := s.DeleteBlob(context.WithoutCancel(ctx), mine); err == nil {
				err = e
			}
			return err
		}
		if err := s.DeleteBlob(ctx, mine); err != nil {
			return err
		}
		n, err := rand.Int(rand.Reader, big.NewInt(int64(time.Second)))
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100*time.Millisecond + time.Duration(n.Int64())):
		}
		if ok, err := s.exists(ctx); ok || err != nil {
			return err
		}
	}
}

// claim writes a claim and tells whether it is the only one. The caller deletes it.
func (s *storage) claim(ctx context.Context, prefix blob.ID, dead time.Duration) (alone bool, mine blob.ID, err error) {
	mine = prefix + blob.ID(rand.Text())
	if err := s.PutBlob(ctx, mine, payload(mine), blob.PutOptions{}); err != nil {
		return false, mine, err
	}
	var claims []blob.Metadata
	var now time.Time // by the storage's clock, as the others' times are
	if err := s.ListBlobs(ctx, prefix, func(md blob.Metadata) error {
		if md.BlobID == mine {
			now = md.Timestamp
		}
		claims = append(claims, md)
		return nil
	}); err != nil {
		return false, mine, err
	}
	alone = true
	for _, md := range claims {
		switch {
		case md.BlobID == mine:
		case now.Sub(md.Timestamp) > dead:
			if err := s.DeleteBlob(ctx, md.BlobID); err != nil {
				return false, mine, err
			}
		default:
			alone = false
		}
	}
	return alone, mine, nil
}

func (s *storage) initialize(ctx context.Context, password string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, createTime/2, &storageError{ErrUnreachable, "storage took too long to create the repository"})
	defer cancel()
	// What a creator that died left would be taken for damage. There are no data yet: exists looked.
	if err := s.DeleteBlob(ctx, configBlob); err != nil && !errors.Is(err, blob.ErrBlobNotFound) {
		return err
	}
	err := repo.Initialize(ctx, s, &repo.NewRepositoryOptions{
		BlockFormat: format.ContentFormat{
			Hash: hashName, Encryption: cipherName,
			MutableParameters: format.MutableParameters{Version: format.FormatVersion3, MaxPackSize: packSize},
		},
		ObjectFormat: format.ObjectFormat{Splitter: splitterName},
	}, password)
	switch {
	case errors.Is(err, repo.ErrAlreadyInitialized):
		return nil
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return err
}

// keepCopy sees to it that there is a copy of the keys.
func (s *storage) keepCopy(ctx context.Context) error {
	keys, err := s.read(ctx, formatBlob)
	if err != nil {
		return err
	}
	old, err := s.read(ctx, formatCopy)
	if err == nil && bytes.Equal(old, keys) {
		return nil
	}
	if err != nil && !errors.Is(err, blob.ErrBlobNotFound) {
		return err
	}
	return s.PutBlob(ctx, formatCopy, payload(keys), blob.PutOptions{})
}

// keysError says that the repository's keys are damaged or missing.
func keysError() error {
	return exit.WithHint(fmt.Errorf("%w: blob %s, which holds its keys", ErrDamaged, formatBlob),
		fmt.Sprintf("blob %s is a copy of %s: put it in its place with the storage's own tools, then repeat", formatCopy, formatBlob))
}

// keysDamaged tells a wrong password from damaged keys: the copy differs, and opens.
func (s *storage) keysDamaged(ctx context.Context, password string) bool {
	keys, err := s.read(ctx, formatBlob)
	if err != nil {
		return false
	}
	old, err := s.read(ctx, formatCopy)
	if err != nil || bytes.Equal(old, keys) {
		return false
	}
	_, err = format.NewManager(ctx, &substitute{Storage: s, id: formatBlob, data: old}, "", -1, password, time.Now)
	return err == nil
}

// substitute is a storage in which one blob is another.
type substitute struct {
	blob.Storage
	id   blob.ID
	data []byte
}

func (s *substitute) GetBlob(ctx context.Context, id blob.ID, offset, length int64, out blob.OutputBuffer) error {
	if id != s.id {
		return s.Storage.GetBlob(ctx, id, offset, length, out)
	}
	out.Reset()
	_, err := out.Write(s.data)
	return err
}
