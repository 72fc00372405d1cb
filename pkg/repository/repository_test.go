package repository

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/backup"
)

// place is a repository on a directory, and what opens it.
type place struct {
	target  backup.Target
	options Options
}

func newPlace(t *testing.T) place {
	t.Helper()
	dir := t.TempDir()
	p := place{
		target: backup.Target{Type: backup.PVC, Prefix: "net/"},
		options: Options{
			Credentials: filepath.Join(dir, "credentials"), Dir: filepath.Join(dir, "repository"), Cache: filepath.Join(dir, "cache"),
			Create: true, Patience: 2 * time.Second,
		},
	}
	p.secret(t, backup.CredentialPassword, "correct horse battery staple")
	return p
}

func (p place) secret(t *testing.T, key, value string) {
	t.Helper()
	write(t, filepath.Join(p.options.Credentials, key), value)
}

func (p place) open(t *testing.T) *Repository {
	t.Helper()
	r, err := Open(t.Context(), p.target, p.options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (p place) disk() string { return filepath.Join(p.options.Dir, p.target.Prefix) }

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// noise is text that cannot be compressed, the same for the same seed.
func noise(seed uint64, n int) string {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	_, _ = r.Read(b)
	return string(b)
}

func source(key, node string) Source {
	return Source{Network: "fabric", Node: node, Volume: "data", Key: key}
}

func save(t *testing.T, r *Repository, s Source, dir string, o SaveOptions) backup.Volume {
	t.Helper()
	v, err := r.Save(t.Context(), s, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// listing describes a directory: modes, times and texts by path.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		all[rel] = info.Mode().String()
		switch {
		case d.Type().IsRegular():
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			all[rel] += " " + info.ModTime().UTC().Format(time.RFC3339Nano) + " " + string(b)
		case d.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(name)
			if err != nil {
				return err
			}
			all[rel] += " " + to
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func sample(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "production/ledgersData/chains/chains/common/blockfile_000000"), noise(1, 3<<20))
	write(t, filepath.Join(dir, "production/ledgersData/stateLeveldb/000001.log"), "state")
	write(t, filepath.Join(dir, "production/ledgersData/stateLeveldb/sub/000002.ldb"), "state")
	write(t, filepath.Join(dir, "production/transientStore/CURRENT"), "MANIFEST-000000")
	write(t, filepath.Join(dir, "production/.kopiaignore"), "*\n")
	write(t, filepath.Join(dir, "cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55")
	write(t, filepath.Join(dir, "cache/kept"), "as any other file")
	write(t, filepath.Join(dir, "empty.file"), "")
	write(t, filepath.Join(dir, "lost+found/1"), "not a node's")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "production/empty"), 0o750),
		os.Chmod(filepath.Join(dir, "production/transientStore/CURRENT"), 0o640),
		os.Symlink("transientStore/CURRENT", filepath.Join(dir, "production/link")),
		os.Symlink("/nowhere", filepath.Join(dir, "dangling")),
		os.Chtimes(filepath.Join(dir, "cache/kept"), time.Time{}, time.Unix(1_600_000_000, 123_456_789)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	r := p.open(t)
	dir := sample(t)
	v := save(t, r, source("k1", "peer0"), dir, SaveOptions{})
	all := listing(t, dir)
	delete(all, "lost+found")
	delete(all, "lost+found/1")
	var bytes int64
	files := 0
	for name := range all {
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
			files++
		}
	}
	if v.Bytes != bytes || v.Files != files || v.Name != "data" {
		t.Errorf("Save = %+v, want %d bytes in %d files of volume data", v, bytes, files)
	}
	below := func(dir string, but ...string) map[string]string {
		some := map[string]string{}
		for name, is := range all {
			rest, ok := strings.CutPrefix(name, dir)
			for _, b := range but {
				ok = ok && rest != b && !strings.HasPrefix(rest, b+"/")
			}
			if ok {
				some[rest] = is
			}
		}
		return some
	}
	cases := map[string]struct {
		reason string
		path   string
		o      RestoreOptions
		want   map[string]string
	}{
		"Everything": {
			reason: "What was saved comes back: texts, modes, times of files, links, empty directories; kopia's own ignore rules do not apply.",
			want:   below(""),
		},
		"Nested": {
			reason: "A restore of an orderer takes one channel of another node.",
			path:   "production/ledgersData", want: below("production/ledgersData/"),
		},
		"NestedSlashes": {
			reason: "Paths may begin and end with slashes.",
			path:   "/production/ledgersData/", want: below("production/ledgersData/"),
		},
		"Exclude": {
			reason: "A part that is left out is left out with all that is in it.",
			o:      RestoreOptions{Exclude: []string{"production/ledgersData/stateLeveldb", "cache/kept"}},
			want:   below("", "production/ledgersData/stateLeveldb", "cache/kept"),
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := filepath.Join(t.TempDir(), "a", "b")
			var last, total int64
			tc.o.Progress = func(done, of int64) { last, total = done, of }
			if err := r.Restore(t.Context(), v.Snapshot, tc.path, to, tc.o); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, listing(t, to)); diff != "" {
				t.Errorf("%s\n-want, +got:\n%.2000s", tc.reason, diff)
			}
			if last == 0 || last != total {
				t.Errorf("the last progress was %d of %d", last, total)
			}
			if err := r.Restore(t.Context(), v.Snapshot, tc.path, to, RestoreOptions{Exclude: tc.o.Exclude, Resume: true}); err != nil {
				t.Errorf("repeated: %v", err)
			}
			if diff := cmp.Diff(tc.want, listing(t, to)); diff != "" {
				t.Errorf("repeated: -want, +got:\n%.2000s", diff)
			}
		})
	}
	t.Run("File", func(t *testing.T) {
		t.Parallel()
		to := filepath.Join(t.TempDir(), "kept")
		if err := r.Restore(t.Context(), v.Snapshot, "cache/kept", to, RestoreOptions{}); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(to); err != nil || string(b) != "as any other file" {
			t.Errorf("restored %q, %v", b, err)
		}
	})
	t.Run("Size", func(t *testing.T) {
		t.Parallel()
		for path, want := range map[string]int64{"": bytes, "production/ledgersData": 3<<20 + 10, "production/transientStore/CURRENT": 15} {
			if got, err := r.Size(t.Context(), v.Snapshot, path); err != nil || got != want {
				t.Errorf("Size(%q) = %d, %v, want %d", path, got, err, want)
			}
		}
	})
	t.Run("NotFound", func(t *testing.T) {
		t.Parallel()
		for _, at := range [][2]string{{"0123456789abcdef", ""}, {v.Snapshot, "production/none"}, {v.Snapshot, "empty.file/none"}} {
			if _, err := r.Size(t.Context(), at[0], at[1]); !errors.Is(err, ErrNotFound) {
				t.Errorf("Size(%v) = %v, want ErrNotFound", at, err)
			}
		}
	})
}

func TestSaveExclude(t *testing.T) {
	t.Parallel()
	r := newPlace(t).open(t)
	dir := sample(t)
	v := save(t, r, source("k1", "peer0"), dir, SaveOptions{Exclude: []string{"production/ledgersData/stateLeveldb/", "/empty.file"}})
	to := t.TempDir()
	if err := r.Restore(t.Context(), v.Snapshot, "", to, RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	got := listing(t, to)
	for name := range got {
		if strings.Contains(name, "stateLeveldb") || name == "empty.file" {
			t.Errorf("%s was saved, though it was excluded", name)
		}
	}
	if _, ok := got["production/ledgersData/chains/chains/common/blockfile_000000"]; !ok {
		t.Error("what is beside an excluded directory is missing")
	}
}

func TestIncrement(t *testing.T) {
	t.Parallel()
	r := newPlace(t).open(t)
	dir := t.TempDir()
	block := filepath.Join(dir, "blockfile_000000")
	write(t, block, noise(1, 32<<20))
	write(t, filepath.Join(dir, "blockfile_000001"), noise(2, 32<<20))
	first := save(t, r, source("k1", "peer0"), dir, SaveOptions{})
	if first.Uploaded < 64<<20 {
		t.Errorf("the first save stored %d bytes of what cannot be compressed", first.Uploaded)
	}
	// The same ledger on another peer.
	if v := save(t, r, source("k1", "peer1"), dir, SaveOptions{}); v.Uploaded > first.Uploaded/100 {
		t.Errorf("the same blocks on a second peer stored %d bytes again", v.Uploaded)
	}
	f, err := os.OpenFile(block, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(noise(3, 640<<10)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if v := save(t, r, source("k2", "peer0"), dir, SaveOptions{}); v.Uploaded > first.Uploaded/20 {
		t.Errorf("1%% more blocks stored %d bytes, more than 5%% of %d", v.Uploaded, first.Uploaded)
	}
}
