package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/kopia/kopia/repo/blob"
)

func TestReadAhead(t *testing.T) {
	t.Parallel()
	text := []byte(noise(7, 5<<20+123))
	var asked atomic.Int32
	a := readAhead(&memory{data: text, asked: &asked})
	var want bytes.Buffer
	var out buffer
	for at := int64(0); at < int64(len(text)); {
		n := min(int64(len(text))-at, 300_001)
		if err := a.GetBlob(t.Context(), "p1", at, n, &out); err != nil {
			t.Fatal(err)
		}
		want.Write(out.Bytes())
		at += n
	}
	if !bytes.Equal(want.Bytes(), text) {
		t.Error("reading ahead changed the blob")
	}
	if asked.Load() != 3 {
		t.Errorf("the storage was asked %d times for what are three segments", asked.Load())
	}
	if err := a.GetBlob(t.Context(), "p1", int64(len(text))-10, 20, &out); !errors.Is(err, blob.ErrInvalidRange) {
		t.Errorf("reading beyond the end = %v, want ErrInvalidRange", err)
	}
}

// memory is a storage of one blob.
type memory struct {
	blob.Storage
	data  []byte
	asked *atomic.Int32
}

func (m *memory) GetBlob(_ context.Context, _ blob.ID, offset, length int64, out blob.OutputBuffer) error {
	m.asked.Add(1)
	out.Reset()
	part := m.data[offset:min(offset+length, int64(len(m.data)))]
	if _, err := out.Write(part); err != nil {
		return err
	}
	if int64(len(part)) != length {
		return fmt.Errorf("%w: invalid length", blob.ErrInvalidRange)
	}
	return nil
}
