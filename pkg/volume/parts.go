package volume

import (
	"path"
	"path/filepath"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/network"
)

// Names of volumes.
const (
	Data    = "data"
	CouchDB = "couchdb"
)

// Where Fabric 2.5 and 3.1 keep what; paths on the data volume.
const (
	production = "production"
	ledgers    = production + "/ledgersData"
	ordererDir = production + "/orderer"
	wal        = ordererDir + "/etcdraft/wal"      // BFT's, too
	snapshots  = ordererDir + "/etcdraft/snapshot" // Raft's alone
)

// stateDirs are what "peer node rebuild-dbs" drops, and what a peer then builds from its
// blocks. It must be all of them or none: they are written with the state, and the redo log
// would be applied to a state that is not its own. Snapshots of channels that were asked for
// and are not made yet go with the bookkeeper.
func stateDirs() []string {
	return under(ledgers, "stateLeveldb", "configHistory", "bookkeeper", "historyLeveldb", "couchdbRedoLogs")
}

// chaincodeDirs are installed packages, their builds, and packages of the old lifecycle.
func chaincodeDirs() []string { return under(production, "lifecycle", "externalbuilder", "chaincodes") }

func transientDirs() []string { return under(production, "transientstore") }

func under(dir string, names ...string) []string {
	for i, n := range names {
		names[i] = path.Join(dir, n)
	}
	return names
}

// segments are log segments that etcd has prepared and not used; each takes as much room as a
// full one, and is made again.
func segments(volume string) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(volume, filepath.FromSlash(wal), "*", "*.tmp"))
	for i, path := range found {
		rel, relErr := filepath.Rel(volume, path)
		if relErr != nil {
			return nil, relErr
		}
		found[i] = filepath.ToSlash(rel)
	}
	return found, err
}

// ours are top-level entries of a volume that are not the node's.
func ours(name string) bool { return name == stateDir || name == "lost+found" }

// leftOut says which paths of a volume are not saved. withState overrules the parts.
func leftOut(kind, volume string, parts backup.Parts, withState bool) []string {
	out := []string{stateDir, "lost+found"}
	if kind != string(network.Peer) || volume != Data {
		return out
	}
	if !withState {
		out = append(out, stateDirs()...)
	}
	if !parts.Chaincodes {
		out = append(out, chaincodeDirs()...)
	}
	if !parts.Transient {
		out = append(out, transientDirs()...)
	}
	return out
}
