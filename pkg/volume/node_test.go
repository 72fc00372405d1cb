package volume

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/ledger/ledgertest"
)

const fileSize = 2000 // a few blocks in each file

// blocks are those of channel "common" in these tests.
var blocks = ledgertest.Chain("common", 0, 60, nil)

func peerNode(name string) backup.Node {
	return backup.Node{Name: "hlf-peer--org1--" + name, Kind: "peer", Org: "Org1", Hostname: name}
}

func ordererNode(name string) backup.Node {
	return backup.Node{Name: "hlf-orderer--orderer--" + name, Kind: "orderer", Org: "Orderer", Hostname: name}
}

// peerVolumes makes the volumes of a peer with CouchDB's files as well as LevelDB's, which no
// peer has both of, and with so many blocks.
func peerVolumes(t *testing.T, height int) string {
	t.Helper()
	dir := t.TempDir()
	what := "of height " + strconv.Itoa(height)
	put(t, filepath.Join(dir, Data), map[string]string{
		"lost+found/": "",
		"production/ledgersData/chains/index/CURRENT":      what,
		"production/ledgersData/chains/index/LOCK":         "",
		"production/ledgersData/stateLeveldb/CURRENT":      what,
		"production/ledgersData/historyLeveldb/CURRENT":    what,
		"production/ledgersData/configHistory/CURRENT":     what,
		"production/ledgersData/bookkeeper/CURRENT":        what,
		"production/ledgersData/pvtdataStore/CURRENT":      what,
		"production/ledgersData/ledgerProvider/CURRENT":    what,
		"production/ledgersData/fileLock/LOCK":             "",
		"production/transientstore/CURRENT":                what,
		"production/lifecycle/chaincodes/basic_1.tar.gz":   what,
		"production/externalbuilder/builds/basic/bld/code": what,
		"production/chaincodes/":                           "",
		"production/snapshots/completed/":                  "",
	})
	ledgertest.Write(t, filepath.Join(dir, Data, "production/ledgersData/chains/chains/common"), blocks[:height], fileSize)
	put(t, filepath.Join(dir, CouchDB), map[string]string{"_dbs.couch": what, "shards/0/common.couch": what})
	return dir
}

// tinyVolumes are those of a peer with no more files than a test needs that makes thousands.
func tinyVolumes(t *testing.T, height int) string {
	t.Helper()
	dir := t.TempDir()
	what := "of height " + strconv.Itoa(height)
	put(t, dir, map[string]string{"data/ownership": what, "couchdb/_dbs.couch": what})
	ledgertest.Write(t, filepath.Join(dir, Data, "production/ledgersData/chains/chains/common"), blocks[:height], 64<<20)
	return dir
}

// ordererVolumes makes the volume of an orderer of channels "common" and "other".
func ordererVolumes(t *testing.T, name string, height int) string {
	t.Helper()
	dir := t.TempDir()
	what := name + "'s of height " + strconv.Itoa(height)
	put(t, filepath.Join(dir, Data), map[string]string{
		"production/orderer/index/CURRENT":                        what,
		"production/orderer/index/LOCK":                           "",
		"production/orderer/etcdraft/wal/common/0.wal":            what,
		"production/orderer/etcdraft/wal/common/0.tmp":            "prepared",
		"production/orderer/etcdraft/wal/other/0.wal":             what,
		"production/orderer/etcdraft/snapshot/common/1.snap":      what,
		"production/orderer/etcdraft/snapshot/other/":             "",
		"production/orderer/pendingops/join/":                     "",
		"production/orderer/pendingops/remove/nothing.remove.tmp": "",
	})
	chains := filepath.Join(dir, Data, "production/orderer/chains")
	ledgertest.Write(t, filepath.Join(chains, "common"), blocks[:height], fileSize)
	ledgertest.Write(t, filepath.Join(chains, "other"), ledgertest.Chain("other", 0, 5, nil), fileSize)
	return dir
}

func saveTask(n backup.Node, dir string, volumes ...string) SaveTask {
	return SaveTask{Key: "k1", Namespace: "fabric", Node: n, Dir: dir, Volumes: volumes, Parts: backup.AllParts(), Now: time.Now}
}

func save(t *testing.T, s Store, task SaveTask) backup.Node {
	t.Helper()
	n, err := Save(t.Context(), s, task)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// volumesOf is a directory with volumes that have nothing on them.
func volumesOf(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, n := range names {
		if err := os.MkdirAll(filepath.Join(dir, n, "lost+found"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
