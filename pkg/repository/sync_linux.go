package repository

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// syncDisk writes out the whole file system that dir is on. kopia renames its blobs into place
// without that, and a node that loses power would forget what a finished backup refers to.
func syncDisk(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}
