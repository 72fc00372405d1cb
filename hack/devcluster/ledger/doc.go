// Package ledger remembers which processes this program started, so that it signals those and no others.
//
// It does not supervise: a process that dies stays dead. The one idea: a pid alone means nothing, since the
// kernel hands it out again. A record therefore holds the pid, the kernel's start time of the process and the
// boot it happened in, and every signal goes through a pidfd that is checked against the record after it is open.
package ledger
