package repository

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/kopia/kopia/repo/blob"
	"golang.org/x/sync/singleflight"
)

// What is read of packs ahead of being asked for: segments of this size, and so many of them.
const (
	segmentSize  = 2 << 20
	segmentCount = 16
)

// ahead reads more of a pack than it is asked for. kopia fetches one chunk after the other, each
// in a request of its own, and those of a file lie behind each other in a pack: from a storage
// that takes tens of milliseconds to answer, a restore would wait most of its time.
type ahead struct {
	blob.Storage
	flights singleflight.Group

	mu    sync.Mutex
	order *list.List // of *segment, the one used last in front
	index map[segmentID]*list.Element
}

type segmentID struct {
	blob   blob.ID
	number int64
}

type segment struct {
	id   segmentID
	data []byte
}

func readAhead(st blob.Storage) *ahead {
	return &ahead{Storage: st, order: list.New(), index: map[segmentID]*list.Element{}}
}

// GetBlob implements blob.Storage.
func (a *ahead) GetBlob(ctx context.Context, id blob.ID, offset, length int64, out blob.OutputBuffer) error {
	// Only packs never change and are read in parts.
	if length <= 0 || length > segmentSize || !(strings.HasPrefix(string(id), "p") || strings.HasPrefix(string(id), "q")) {
		return a.Storage.GetBlob(ctx, id, offset, length, out)
	}
	out.Reset()
	for at, end := offset, offset+length; at < end; {
		number := at / segmentSize
		s, err := a.segment(ctx, segmentID{id, number})
		if err != nil {
			return err
		}
		from := at - number*segmentSize
		to := min(end-number*segmentSize, segmentSize)
		if to > int64(len(s)) {
			// The pack ends before it should, or the storage does not return the end of a blob
			// unless it is asked for exactly that. It may say itself.
			return a.Storage.GetBlob(ctx, id, offset, length, out)
		}
		if _, err := out.Write(s[from:to]); err != nil {
			return err
		}
		at = number*segmentSize + to
	}
	return nil
}

// segment returns a segment, shorter than segmentSize at the end of a blob.
func (a *ahead) segment(ctx context.Context, id segmentID) ([]byte, error) {
	if s, ok := a.cached(id); ok {
		return s, nil
	}
	v, err, _ := a.flights.Do(fmt.Sprint(id), func() (any, error) {
		if s, ok := a.cached(id); ok {
			return s, nil
		}
		var b buffer
		b.Grow(segmentSize)
		err := a.Storage.GetBlob(ctx, id.blob, id.number*segmentSize, segmentSize, &b)
		// The last segment is shorter, and that is an error to kopia's storages.
		if err != nil && !errors.Is(err, blob.ErrInvalidRange) {
			return nil, err
		}
		a.keep(id, b.Bytes())
		return b.Bytes(), nil
	})
	if err != nil {
		if ctx.Err() == nil && errors.Is(err, context.Canceled) {
			return a.segment(ctx, id) // it was the other caller's
		}
		return nil, err
	}
	return v.([]byte), nil
}

func (a *ahead) cached(id segmentID) ([]byte, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e, ok := a.index[id]
	if !ok {
		return nil, false
	}
	a.order.MoveToFront(e)
	return e.Value.(*segment).data, true
}

func (a *ahead) keep(id segmentID, data []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.index[id]; ok {
		return
	}
	a.index[id] = a.order.PushFront(&segment{id, data})
	if a.order.Len() > segmentCount {
		oldest := a.order.Back()
		a.order.Remove(oldest)
		delete(a.index, oldest.Value.(*segment).id)
	}
}
