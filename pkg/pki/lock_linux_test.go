package pki

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// TestUnlock has the lock's file open in another process's stead: one that was forked for a program to
// run shares all files with us until that program begins, and with them their locks.
func TestUnlock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	unlock, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	copied := false
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		link := filepath.Join("/proc/self/fd", fd.Name())
		if to, err := os.Readlink(link); err != nil || to != filepath.Join(dir, lockName) {
			continue
		}
		number, err := strconv.Atoi(fd.Name())
		if err != nil {
			t.Fatal(err)
		}
		twin, err := syscall.Dup(number)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Close(twin) })
		copied = true
	}
	if !copied {
		t.Fatal("the lock's file is not open")
	}
	unlock()
	again, err := lock(dir)
	if err != nil {
		t.Fatalf("after it was given back: %v", err)
	}
	again()
}
