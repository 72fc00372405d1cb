package transfer

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const stagingPattern = ".pivt-*"

// receive unpacks r into a directory of its own in parent, checks the sum, which is known
// only after the content, and lets keep move what arrived.
func receive(r io.Reader, parent string, l Limits, want func() string, keep func(staging string) error) error {
	staging, err := os.MkdirTemp(parent, stagingPattern)
	if err != nil {
		return err
	}
	defer os.RemoveAll(staging)
	h := sha256.New()
	if err := Unpack(io.TeeReader(r, h), staging, l); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want() {
		return &brokenError{errors.New("its digest does not fit")}
	}
	return keep(staging)
}

// become makes the staging directory dir, which must not exist or be empty.
func become(dir string) func(string) error {
	return func(staging string) error {
		if err := os.Chmod(staging, modeProgram); err != nil {
			return err
		}
		return os.Rename(staging, dir)
	}
}

// fill moves what is in the staging directory into dir, of which it is part: a mounted
// volume cannot be replaced.
func fill(dir string) func(string) error {
	return func(staging string) error {
		entries, err := os.ReadDir(staging)
		if err != nil {
			return err
		}
		for _, e := range entries {
			to := filepath.Join(dir, e.Name())
			if _, err := os.Lstat(to); err == nil {
				return fmt.Errorf("%s is there already", to)
			}
			if err := os.Rename(filepath.Join(staging, e.Name()), to); err != nil {
				return err
			}
		}
		return nil
	}
}

func parentOf(dir string) string { return filepath.Dir(filepath.Clean(dir)) }
