package repository

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
)

// blobs returns the files of a repository by the kind of blob in them.
func blobs(t *testing.T, dir string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".f" {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		id := strings.TrimSuffix(strings.ReplaceAll(rel, "/", ""), ".f")
		kind := id[:1]
		if strings.Contains(id, ".") {
			kind = id
		}
		all[kind] = append(all[kind], rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// everything restores what is in a repository; an error or what it is.
func everything(t *testing.T, p place) (map[string]string, error) {
	t.Helper()
	r, err := Open(t.Context(), p.target, p.options)
	if err != nil {
		return nil, err
	}
	defer r.Close(t.Context())
	if _, err := r.List(t.Context()); err != nil {
		return nil, err
	}
	m, err := r.Manifest(t.Context(), "k")
	if err != nil {
		return nil, err
	}
	to := t.TempDir()
	for _, n := range m.Nodes {
		for _, v := range n.Volumes {
			if err := r.Restore(t.Context(), v.Snapshot, "", filepath.Join(to, n.Name, v.Name), RestoreOptions{}); err != nil {
				return nil, err
			}
		}
	}
	return listing(t, to), nil
}

// sealedPlace is a repository with one backup in it.
func sealedPlace(t *testing.T) place {
	t.Helper()
	p := newPlace(t)
	r := p.open(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "chains/blockfile_000000"), noise(1, 100<<10))
	write(t, filepath.Join(dir, "chains/blockfile_000001"), noise(2, 100<<10))
	write(t, filepath.Join(dir, "CURRENT"), "MANIFEST")
	v := save(t, r, source("k", "peer0"), dir, SaveOptions{})
	m := backup.Manifest{APIVersion: backup.Version, Key: "k", Namespace: "fabric", Started: time.Now(), Nodes: []backup.Node{{Name: "peer0", Volumes: []backup.Volume{v}}}}
	if err := r.Seal(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFlippedByte(t *testing.T) {
	t.Parallel()
	p := sealedPlace(t)
	want, err := everything(t, p)
	if err != nil {
		t.Fatal(err)
	}
	found := blobs(t, p.disk())
	for kind, names := range map[string][]string{
		"p":                {": chains/blockfile_00000", ": CURRENT:", "reading backup k"}, // the file that could not be read
		"q":                {""},
		"x":                {""},
		"kopia.repository": {"kopia.repository"},
		"kopia.blobcfg":    {""},
	} {
		if len(found[kind]) == 0 {
			t.Fatalf("no blob of kind %q in %v", kind, found)
		}
		for _, name := range found[kind] {
			t.Run(strings.ReplaceAll(name, "/", "")[:min(12, len(name)-1)], func(t *testing.T) {
				t.Parallel()
				hurt := 0
				// Packs begin with 32 bytes of noise and end with more; what is between is small.
				for i, at := range []func(int) int{
					func(n int) int { return min(48, n-1) }, func(n int) int { return n * 6 / 10 }, func(n int) int { return n * 9 / 10 },
				} {
					q := p
					q.options.Dir, q.options.ReadOnly, q.options.Cache = t.TempDir(), true, t.TempDir()
					if err := os.CopyFS(q.disk(), os.DirFS(p.disk())); err != nil {
						t.Fatal(err)
					}
					flip(t, filepath.Join(q.disk(), name), at)
					got, err := everything(t, q)
					if err == nil {
						// Padding, or what another program than ours reads.
						if diff := gocmp.Diff(want, got); diff != "" {
							t.Errorf("part %d: restored something else without an error", i)
						}
						continue
					}
					hurt++
					named := slices.ContainsFunc(names, func(name string) bool { return strings.Contains(err.Error(), name) })
					if !errors.Is(err, ErrDamaged) || exit.HintOf(err) == "" || !named {
						t.Errorf("part %d: %v (hint %q), want ErrDamaged and one of %q in it", i, err, exit.HintOf(err), names)
					}
				}
				if hurt == 0 {
					t.Errorf("no flipped byte was noticed")
				}
			})
		}
	}
}

// flip changes a bit of a file, at a place that depends on its length.
func flip(t *testing.T, name string, at func(int) int) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[at(len(b))] ^= 4
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestMissingBlob(t *testing.T) {
	t.Parallel()
	p := sealedPlace(t)
	found := blobs(t, p.disk())
	data := largest(t, p.disk(), found["p"]) // the other one holds the backup's manifest
	cases := map[string]struct {
		reason string
		harm   func(*testing.T, string)
		text   string
	}{
		"Pack": {
			reason: "Somebody cleaned up the bucket by hand.",
			harm:   func(t *testing.T, dir string) { erase(t, filepath.Join(dir, data)) },
			text:   "restoring snapshot",
		},
		"PackCutOff": {
			reason: "A disk that lost its end.",
			harm: func(t *testing.T, dir string) {
				if err := os.Truncate(filepath.Join(dir, data), 50<<10); err != nil {
					t.Fatal(err)
				}
			},
			text: "restoring snapshot",
		},
		"Keys": {
			reason: "With data there, a missing key blob is no reason to make a new repository over them.",
			harm:   func(t *testing.T, dir string) { erase(t, filepath.Join(dir, found["kopia.repository"][0])) },
			text:   "kopia.repository",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := p
			q.options.Dir, q.options.Cache = t.TempDir(), t.TempDir()
			if err := os.CopyFS(q.disk(), os.DirFS(p.disk())); err != nil {
				t.Fatal(err)
			}
			tc.harm(t, q.disk())
			if _, err := everything(t, q); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%s\ngot %v, want ErrDamaged and %q in it", tc.reason, err, tc.text)
			}
		})
	}
}

func largest(t *testing.T, dir string, names []string) string {
	t.Helper()
	size := func(name string) int64 {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	return slices.MaxFunc(names, func(a, b string) int { return cmp.Compare(size(a), size(b)) })
}

func erase(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

func TestKeysFromCopy(t *testing.T) {
	t.Parallel()
	p := sealedPlace(t)
	found := blobs(t, p.disk())
	keys := filepath.Join(p.disk(), found["kopia.repository"][0])
	flip(t, keys, func(n int) int { return n * 9 / 10 })
	if _, err := everything(t, p); !errors.Is(err, ErrDamaged) {
		t.Fatalf("Open with damaged keys = %v, want ErrDamaged", err)
	}
	// The cure of the error's text.
	b, err := os.ReadFile(filepath.Join(p.disk(), found["kopia.keys.copy"][0]))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keys, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := everything(t, p); err != nil {
		t.Errorf("after the copy was put in its place: %v", err)
	}
	p.secret(t, backup.CredentialPassword, "another")
	if _, err := everything(t, p); !errors.Is(err, ErrWrongKey) {
		t.Errorf("Open with the wrong password = %v, want ErrWrongKey", err)
	}
}
