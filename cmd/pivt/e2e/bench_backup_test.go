//go:build e2e

package e2e

import (
	"os"
	"strconv"
	"testing"
	"time"

	"pivt.io/pivt/pkg/backup"
)

// BenchmarkBackupAgain backs a network up, adds one percent of blocks, and backs it up again, twice. PIVT_BENCH_MB
// is how many megabytes of values are written first; 200 unless it is set. The times are
// those that nodes were away, which is what a backup costs a network.
//
// What a backup after so much writing has to save anew varies by up to 50 MB for each peer, however large it is: databases write
// what is in their journals once more when they start. Below some gigabytes that outweighs the one percent.
func BenchmarkBackupAgain(b *testing.B) {
	mb := 200
	if text := os.Getenv("PIVT_BENCH_MB"); text != "" {
		var err error
		if mb, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	v := newVault(b, "bench-backup", 1)
	v.target(v.s3Target(v.s3Server("s3", "20Gi"), "backups"))
	v.credentials("hlf-backup", nil)
	w := v.writer("Org1", &journal{})
	const size = 100 << 10
	n := mb << 20 / size
	w.fill("a", n, size)
	for range b.N {
		first := v.backedUp("first")
		b.ReportMetric(float64(first.Bytes())/1e6, "MB")
		b.ReportMetric(away(first).Seconds(), "first-s")
		all := []backup.Manifest{first}
		for _, key := range []string{"second", "third"} {
			w.fill(key, max(1, n/100), size)
			m := v.backedUp(key)
			b.ReportMetric(float64(m.Uploaded())/float64(first.Uploaded()), key+"-uploaded/first")
			b.ReportMetric(away(m).Seconds()/away(first).Seconds(), key+"-time/first")
			all = append(all, m)
		}
		for _, m := range all {
			for _, node := range m.Nodes {
				b.Logf("%s: %s: %d MB, %d kB uploaded, away for %s", m.Key, node.Name, node.Volumes[0].Bytes/1e6, node.Volumes[0].Uploaded/1e3, node.Copied.Sub(node.Stopped).Round(time.Millisecond))
			}
		}
	}
}

func (v *vault) backedUp(key string) backup.Manifest {
	v.t.Helper()
	v.pivt("backup", "create", "--key", key).ok()
	return v.manifest(key)
}

// away is how long all nodes together were stopped until they had been copied.
func away(m backup.Manifest) time.Duration {
	var sum time.Duration
	for _, n := range m.Nodes {
		sum += n.Copied.Sub(n.Stopped)
	}
	return sum
}
