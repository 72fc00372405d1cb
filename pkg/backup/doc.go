// Package backup is the model of a backup: where the repository is, what is saved, what a
// manifest says, which backups are kept, and what a restore refuses.
//
// It reads no clock, no disk and no network; packages ledger, repository and volume do, and
// package keeper moves the nodes. The idea to hold: a backup is its manifest. What has none
// is an interrupted attempt and never listed as good, and a manifest that nobody has verified
// is only a promise.
package backup
