//go:build !unix

package pki

// lock does nothing where there is no flock: a lock file that outlives a killed process
// would do more harm there than two runs at once.
func lock(string) (unlock func(), err error) { return func() {}, nil }
