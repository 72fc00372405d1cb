//go:build e2e

package e2e

import (
	"os"
	"strconv"
	"testing"
	"time"

	"pivt.io/pivt/pkg/backup"
)

// BenchmarkBackupAgain backs a network up, adds one percent of blocks, and backs it up again. PIVT_BENCH_MB
// is how many megabytes of values are written first; 200 unless it is set. The times are
// those that nodes were away, which is what a backup costs a network.
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
		w.fill("b", max(1, n/100), size)
		second := v.backedUp("second")
		b.ReportMetric(float64(first.Bytes())/1e6, "MB")
		b.ReportMetric(float64(second.Uploaded())/float64(first.Uploaded()), "uploaded/first")
		b.ReportMetric(away(first).Seconds(), "first-s")
		b.ReportMetric(away(second).Seconds()/away(first).Seconds(), "time/first")
		for _, m := range []backup.Manifest{first, second} {
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
