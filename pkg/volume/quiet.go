package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"pivt.io/pivt/pkg/exit"
)

// lockFile is what LevelDB locks in each of its directories for as long as it has them open.
// Every peer and orderer has some, with or without a channel.
const lockFile = "LOCK"

// glance is what one look at a directory has seen of every file.
type glance map[string]trace

type trace struct {
	mode     fs.FileMode
	size     int64
	modified int64
}

// look remembers what is in a volume, without what is left out, and refuses one that somebody
// has open.
func look(root string, exclude []string) (glance, error) {
	seen := glance{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if slices.Contains(exclude, rel) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if e.Name() == lockFile && info.Mode().IsRegular() {
			if err := unlocked(path); err != nil {
				return fmt.Errorf("%s: %w", rel, err)
			}
		}
		t := trace{mode: info.Mode()}
		if !e.IsDir() { // what happens in a directory shows in its files
			t.size, t.modified = info.Size(), info.ModTime().UnixNano()
		}
		seen[rel] = t
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		// It was listed and is gone, or is not there at all.
		if _, statErr := os.Stat(root); statErr == nil {
			err = exit.Transient(fmt.Errorf("%w: %w", ErrChanged, err))
		}
	}
	return seen, err
}

// differs names a path of which a later look has seen something else.
func (g glance) differs(later glance) (string, bool) {
	var paths []string
	for path, was := range g {
		if now, ok := later[path]; !ok || now != was {
			paths = append(paths, path)
		}
	}
	for path := range later {
		if _, ok := g[path]; !ok {
			paths = append(paths, path)
		}
	}
	if len(paths) == 0 {
		return "", false
	}
	return slices.Min(paths), true
}

// unlocked tells whether nobody has a database open. The lock is given back at once: whoever
// starts the node must not wait for a copy.
func unlocked(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() {
		_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) // closing would not do while a forked process shares the file
		err = errors.Join(err, f.Close())
	}()
	// Any other error is that of a file system without locks; there the second look has to do.
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return exit.WithHint(exit.Transient(ErrInUse), "a process that has not ended, in a pod or outside, has the node's database open")
	}
	return nil
}
