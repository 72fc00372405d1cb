//go:build unix

package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"pivt.io/pivt/pkg/exit"
)

// lockName is empty and stays: removing a lock file lets two processes hold locks on two
// files of one name.
const lockName = ".pivt.lock"

// lock keeps a second Ensure out of dir. The kernel lets go of it when the process dies,
// however it dies.
func lock(dir string) (unlock func(), err error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, privateFile)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		// Where no lock can be written nothing else can be either, and a complete
		// tree needs no writing.
		return func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, exit.WithHint(exit.Transient(fmt.Errorf("locking %s: %w", dir, ErrBusy)),
				"wait for the other run to end, then repeat this command")
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() {
		// Closing alone would not do while a process that was forked meanwhile shares the file.
		_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
		_ = f.Close()
	}, nil
}
