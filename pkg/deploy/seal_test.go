package deploy

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"pivt.io/pivt/pkg/exit"
)

// quick is a passphrase's pair at the least work there is; the real one takes a second.
func quick(t *testing.T, passphrase string) (age.Recipient, age.Identity) {
	t.Helper()
	r, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	r.SetWorkFactor(10)
	id, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	return r, id
}

// keysDir has files of several modes, one of them empty, and an empty directory.
func keysDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"org/ca/priv_sk": 0o600, "org/msp/cert.pem": 0o644, "org/empty": 0o444} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		text := "content of " + name
		if name == "org/empty" {
			text = ""
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "org", "users"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSealTree(t *testing.T) {
	t.Parallel()
	to, id := quick(t, "correct horse battery")
	dir := keysDir(t)
	sealed, err := sealTree(dir, to)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"content of", "priv_sk", "cert.pem"} {
		if bytes.Contains(sealed, []byte(secret)) {
			t.Errorf("%q can be read in what was sealed", secret)
		}
	}
	back := filepath.Join(t.TempDir(), "new", "dir")
	files, err := unsealTree(sealed, id, back)
	if err != nil || files != 3 {
		t.Fatalf("%d files, %v; want 3", files, err)
	}
	for _, name := range []string{"org/ca/priv_sk", "org/msp/cert.pem", "org/empty"} {
		want, _ := os.ReadFile(filepath.Join(dir, name))
		got, err := os.ReadFile(filepath.Join(back, name))
		if err != nil || !bytes.Equal(want, got) {
			t.Errorf("%s came back as %q, %v", name, got, err)
		}
		if info, err := os.Stat(filepath.Join(back, name)); err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o, want 600: it may be a key", name, info.Mode().Perm())
		}
	}
	if info, err := os.Stat(filepath.Join(back, "org", "users")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the empty directory: %v, %v", info, err)
	}
}

// TestSealTreeRefuses are trees that are not sealed, and seals that are not broken.
func TestSealTreeRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		arrange func(t *testing.T, dir string)
		want    string
		code    exit.Code
	}{
		"TooLarge": {
			"A ConfigMap holds a mebibyte, and the API server's own words for it are of little help.",
			func(t *testing.T, dir string) {
				random := make([]byte, MaxSealedTree)
				_, _ = rand.Read(random)
				if err := os.WriteFile(filepath.Join(dir, "noise"), random, 0o600); err != nil {
					t.Fatal(err)
				}
			},
			"compressed and encrypted; a backup takes up to 1020 KiB of it", exit.Invalid,
		},
		"Empty": {
			"A mistyped directory must not pass for a saved one.",
			func(t *testing.T, dir string) {
				if err := os.RemoveAll(filepath.Join(dir, "org")); err != nil {
					t.Fatal(err)
				}
			},
			"there is no file in it", exit.Invalid,
		},
		"Link": {
			"A link would come back as one, to a file that was not saved.",
			func(t *testing.T, dir string) {
				if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
					t.Fatal(err)
				}
			},
			"link is neither a file nor a directory", exit.Failed,
		},
		"Missing": {
			"So must one that is not there.",
			func(t *testing.T, dir string) {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			},
			"no such file or directory", exit.Invalid,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to, _ := quick(t, "correct horse battery")
			dir := keysDir(t)
			tc.arrange(t, dir)
			_, err := sealTree(dir, to)
			if err == nil || !strings.Contains(err.Error(), tc.want) || exit.CodeOf(err) != tc.code {
				t.Errorf("%s\nexit %d, %v; want exit %d, %q", tc.reason, exit.CodeOf(err), err, tc.code, tc.want)
			}
		})
	}
}

// TestUnsealTreeBroken flips a byte: not a file of it may come to be believed in.
func TestUnsealTreeBroken(t *testing.T) {
	t.Parallel()
	to, id := quick(t, "correct horse battery")
	dir, noise := keysDir(t), make([]byte, 300<<10) // more than one piece of age's stream
	_, _ = rand.Read(noise)
	if err := os.WriteFile(filepath.Join(dir, "zzz"), noise, 0o600); err != nil {
		t.Fatal(err)
	}
	sealed, err := sealTree(dir, to)
	if err != nil {
		t.Fatal(err)
	}
	sealed[len(sealed)-20] ^= 1
	back := t.TempDir()
	if _, err := unsealTree(sealed, id, back); err == nil {
		t.Error("a flipped byte was not noticed")
	}
	if left, err := os.ReadDir(back); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 10 << 10: "10 KiB", 412 << 20: "412 MiB", 1400 << 20: "1.4 GiB", 1023<<20 + 600<<10: "1.0 GiB", 88 << 50: "88 PiB", 8000 << 50: "8000 PiB",
	} {
		if got := Size(n); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
}
