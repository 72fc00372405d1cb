package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// tmpSuffix marks a file that is being written. Its name is fixed and not random, so that what
// a killed run left behind is overwritten and renamed by the next, and never piles up.
const tmpSuffix = ".pivt-tmp"

const (
	privateFile fs.FileMode = 0o600
	publicFile  fs.FileMode = 0o644
)

// disk writes files so that each is either absent or whole, also after a power failure.
type disk struct {
	// step is called before every system call that changes something; tests make it fail.
	step func(stage, path string) error
	// unsynced leaves the flushing to the kernel; tests write thousands of trees.
	unsynced bool
}

func (d *disk) before(stage, path string) error {
	if d.step == nil {
		return nil
	}
	return d.step(stage, path)
}

func (d *disk) write(path string, data []byte, mode fs.FileMode) error {
	if err := d.mkdir(filepath.Dir(path)); err != nil {
		return err
	}
	tmp := path + tmpSuffix
	if err := d.writeSynced(tmp, data, mode); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := d.before("rename", path); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return d.syncDir(filepath.Dir(path))
}

func (d *disk) writeSynced(path string, data []byte, mode fs.FileMode) (err error) {
	if err := d.before("create", path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// A file that a killed run left keeps its own mode when opened again, and the umask
	// narrows that of a new one.
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := d.before("write", path); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := d.before("sync", path); err != nil {
		return err
	}
	if d.unsynced {
		return nil
	}
	return f.Sync()
}

// mkdir makes dir and its parents. A parent is synced after it got a new entry, or a
// power failure could lose a key's directory and keep that of its certificate.
func (d *disk) mkdir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := d.mkdir(parent); err != nil {
			return err
		}
	}
	if err := d.before("mkdir", dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, dirMode(dir)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return d.syncDir(parent)
}

func (d *disk) syncDir(dir string) error {
	if err := d.before("syncdir", dir); err != nil {
		return err
	}
	if d.unsynced {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	// Some file systems cannot sync a directory; they order renames themselves.
	_ = f.Sync()
	return f.Close()
}

// dirMode closes the directories that hold private keys to everybody else.
func dirMode(dir string) fs.FileMode {
	switch filepath.Base(dir) {
	case "keystore", "ca", "tlsca", "tls":
		return 0o700
	}
	return 0o755
}

// protect takes other people's permissions away from a private key that is already there.
// It reports whether it changed anything. A key on a read-only volume stays as it is: who
// mounted it decides who reads it.
func (d *disk) protect(path string) bool {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return false
	}
	return os.Chmod(path, info.Mode().Perm()&^0o077) == nil
}

// files lists the plain files of a directory by name, without those half written. A missing
// directory has none.
func files(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		// Stat and not the entry's type: mounted Secrets are links to links.
		info, err := os.Stat(path)
		if err != nil || info.IsDir() || strings.HasSuffix(path, tmpSuffix) {
			continue
		}
		paths = append(paths, path)
	}
	return paths, nil
}
