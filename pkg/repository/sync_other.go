//go:build !linux

package repository

// syncDisk does nothing: pods run Linux, other systems only compile this.
func syncDisk(string) error { return nil }
