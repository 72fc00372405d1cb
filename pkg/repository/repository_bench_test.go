package repository

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pivt.io/pivt/pkg/backup"
)

func TestMain(m *testing.M) {
	if job := os.Getenv("PIVT_BENCH_CHILD"); job != "" {
		if err := child(job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// benchBytes is the size of the ledger that benchmarks save: PIVT_BENCH_BYTES, or def.
func benchBytes(b *testing.B, def int64) int64 {
	b.Helper()
	s := os.Getenv("PIVT_BENCH_BYTES")
	if s == "" {
		return def
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// blocks writes what a block file is like to a compressor: certificates again and again, and
// signatures and keys between them that are pure noise.
type blocks struct {
	r     *rand.ChaCha8
	certs [16][]byte
}

func newBlocks(seed byte) *blocks {
	g := &blocks{r: rand.NewChaCha8([32]byte{seed})}
	same := rand.NewChaCha8([32]byte{99}) // all ledgers have the same members
	for i := range g.certs {
		raw := make([]byte, 600)
		_, _ = same.Read(raw)
		g.certs[i] = fmt.Appendf(nil, "-----BEGIN CERTIFICATE-----\n%x\n-----END CERTIFICATE-----\n", raw)[:900]
	}
	return g
}

func (g *blocks) write(w io.Writer, n int64) error {
	noise := make([]byte, 700)
	for n > 0 {
		_, _ = g.r.Read(noise)
		for _, part := range [][]byte{g.certs[noise[0]%16], noise, g.certs[noise[1]%16]} {
			part = part[:min(int64(len(part)), n)]
			if _, err := w.Write(part); err != nil {
				return err
			}
			n -= int64(len(part))
		}
	}
	return nil
}

// ledger writes block files of 64 MB, the last one part full, and LevelDB tables of 2 MB.
func ledger(b *testing.B, dir string, size int64) {
	b.Helper()
	g := newBlocks(1)
	file := func(name string, n int64) {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			b.Fatal(err)
		}
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			b.Fatal(err)
		}
		w := bufio.NewWriterSize(f, 1<<20)
		if err := g.write(w, n); err != nil {
			b.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
	tables := size / 10
	for i, left := 0, size-tables; left > 0; i++ {
		n := min(left, 64<<20)
		file(filepath.Join(dir, fmt.Sprintf("chains/common/blockfile_%06d", i)), n)
		left -= n
	}
	for i := 0; tables > 0; i++ {
		n := min(tables, 2<<20)
		file(filepath.Join(dir, fmt.Sprintf("index/%06d.ldb", i)), n)
		tables -= n
	}
}

// append1Percent adds blocks to the last block file.
func append1Percent(b *testing.B, dir string, size int64) {
	b.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "chains/common/*"))
	if err != nil || len(files) == 0 {
		b.Fatal(files, err)
	}
	f, err := os.OpenFile(files[len(files)-1], os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		b.Fatal(err)
	}
	if err := newBlocks(2).write(f, size/100); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}

func benchPlace(b *testing.B) place {
	b.Helper()
	dir := b.TempDir()
	p := place{
		target:  backup.Target{Type: backup.PVC},
		options: Options{Credentials: filepath.Join(dir, "credentials"), Dir: filepath.Join(dir, "repository"), Cache: filepath.Join(dir, "cache"), Create: true},
	}
	write(b, filepath.Join(p.options.Credentials, backup.CredentialPassword), "password")
	return p
}

func (p place) timed(b *testing.B, key, dir string) (backup.Volume, time.Duration) {
	b.Helper()
	began := time.Now()
	r, err := Open(context.Background(), p.target, p.options)
	if err != nil {
		b.Fatal(err)
	}
	v, err := r.Save(context.Background(), source(key, "peer0"), dir, SaveOptions{})
	if err != nil {
		b.Fatal(err)
	}
	if err := r.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
	return v, time.Since(began)
}

// BenchmarkSave compares a first save with "tar | zstd" of the same directory, one after the other.
func BenchmarkSave(b *testing.B) {
	size := benchBytes(b, 512<<20)
	dir := b.TempDir()
	ledger(b, dir, size)
	var ours, theirs time.Duration
	for b.Loop() {
		archive := filepath.Join(b.TempDir(), "ledger.tar.zst")
		began := time.Now()
		out, err := exec.Command("sh", "-c", `tar -C "$0" -cf - . | zstd -q -o "$1" && sync -f "$1"`, dir, archive).CombinedOutput()
		if err != nil {
			b.Fatalf("tar | zstd: %v: %s", err, out)
		}
		theirs += time.Since(began)
		_, took := benchPlace(b).timed(b, "k", dir)
		ours += took
	}
	mb := float64(size) * float64(b.N) / 1e6
	b.ReportMetric(mb/ours.Seconds(), "MB/s")
	b.ReportMetric(mb/theirs.Seconds(), "tar|zstd-MB/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "x-tar|zstd")
}

// BenchmarkIncrement saves again after 1 % more blocks.
func BenchmarkIncrement(b *testing.B) {
	size := benchBytes(b, 512<<20)
	var stored, took float64
	for b.Loop() {
		dir := b.TempDir()
		ledger(b, dir, size)
		p := benchPlace(b)
		first, t1 := p.timed(b, "k1", dir)
		append1Percent(b, dir, size)
		second, t2 := p.timed(b, "k2", dir)
		stored += float64(second.Uploaded) / float64(first.Uploaded)
		took += t2.Seconds() / t1.Seconds()
	}
	b.ReportMetric(100*stored/float64(b.N), "%stored")
	b.ReportMetric(100*took/float64(b.N), "%time")
}

// BenchmarkMemory saves and restores in a process of its own, with a pod's GOMEMLIMIT, and
// reports the most memory that it had. PIVT_BENCH_BYTES=10000000000 is the real measurement;
// PIVT_BENCH_TARGET may be a backup.Target in JSON, and PIVT_BENCH_CREDENTIALS its Secret's keys.
func BenchmarkMemory(b *testing.B) {
	size := benchBytes(b, 256<<20)
	dir := b.TempDir()
	ledger(b, dir, size)
	for b.Loop() {
		p := benchPlace(b)
		if s := os.Getenv("PIVT_BENCH_TARGET"); s != "" {
			if err := json.Unmarshal([]byte(s), &p.target); err != nil {
				b.Fatal(err)
			}
			p.options.Credentials = os.Getenv("PIVT_BENCH_CREDENTIALS")
		}
		j := benchJob{Target: p.target, Options: p.options, Dir: dir}
		for _, j.Verb = range []string{"save", "restore"} {
			began := time.Now()
			out, peak := j.run(b)
			b.ReportMetric(float64(size)/1e6/time.Since(began).Seconds(), j.Verb+"-MB/s")
			b.ReportMetric(peak, j.Verb+"-peak-MB")
			j.Dir, j.Snapshot = b.TempDir(), out
		}
	}
}

// benchJob is what a child process does.
type benchJob struct {
	Verb, Dir, Snapshot string
	Target              backup.Target
	Options             Options // those of the flow
}

func (j benchJob) run(b *testing.B) (out string, peak float64) {
	b.Helper()
	job, err := json.Marshal(map[string]any{"Verb": j.Verb, "Dir": j.Dir, "Snapshot": j.Snapshot, "Target": j.Target,
		"Options": map[string]string{"Credentials": j.Options.Credentials, "Dir": j.Options.Dir, "Cache": j.Options.Cache}})
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PIVT_BENCH_CHILD="+string(job), "GOMEMLIMIT=180MiB")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s: %v: %s", j.Verb, err, stderr.String())
	}
	lines := strings.Fields(stdout.String())
	kb, err := strconv.ParseFloat(lines[1], 64)
	if err != nil {
		b.Fatal(err)
	}
	return lines[0], kb * 1024 / 1e6
}

// child does a job and prints a snapshot and its own peak memory in KB.
func child(job string) error {
	ctx := context.Background()
	var j struct {
		Verb, Dir, Snapshot string
		Target              backup.Target
		Options             struct{ Credentials, Dir, Cache string }
	}
	if err := json.Unmarshal([]byte(job), &j); err != nil {
		return err
	}
	r, err := Open(ctx, j.Target, Options{
		Credentials: j.Options.Credentials, Dir: j.Options.Dir, Cache: j.Options.Cache, Create: j.Verb == "save", ReadOnly: j.Verb != "save",
	})
	if err != nil {
		return err
	}
	if j.Verb == "save" {
		v, err := r.Save(ctx, source("k", "peer0"), j.Dir, SaveOptions{})
		if err != nil {
			return err
		}
		j.Snapshot = v.Snapshot
	} else if err := r.Restore(ctx, j.Snapshot, "", j.Dir, RestoreOptions{}); err != nil {
		return err
	}
	if err := r.Close(ctx); err != nil {
		return err
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	fmt.Println(j.Snapshot, strings.Fields(rest)[0])
	return nil
}
