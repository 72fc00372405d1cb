// Package repository keeps backups where they outlive the cluster: deduplicated, compressed and
// encrypted, on S3, Azure, Google Cloud, SFTP, WebDAV or a mounted volume. It is the one door to
// kopia, whose format the repository has: kopia's own command line reads it.
//
// It knows files, snapshots and keys of backups; not Kubernetes, not Fabric, not which files
// belong together (package volume does). The idea to hold: data go in first and are named last.
// A snapshot exists when its manifest is written, a backup when it is sealed, and both are single
// writes that refer only to what is already stored. So an interrupted writer leaves nothing that
// looks good, and whoever repeats its work finds the data there and stores only what is missing.
//
// Every error of the storage is sorted into one of the kinds of errors.go before kopia sees it;
// what kopia complains about without one is damage. Nothing is written outside Options.Cache and
// the storage, and no credential leaves the process: kopia's configuration file, which holds them
// in the ordinary way, here only says that there is a storage.
package repository
