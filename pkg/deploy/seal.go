package deploy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"filippo.io/age"

	"pivt.io/pivt/pkg/exit"
)

// MaxSealedTree is what a ConfigMap can hold of it, its name beside.
const MaxSealedTree = 1<<20 - 4<<10

// maxTree bounds what is unpacked: an encrypted tree is of one's own making, but passphrases
// are shared more widely than one would think.
const maxTree = 64 << 20

// SealTree packs a directory of keys and encrypts it with a passphrase. Nothing of it, names
// included, can be read without; the age program decrypts it to a .tar.gz, too.
func SealTree(dir, passphrase string) ([]byte, error) {
	r, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, exit.With(fmt.Errorf("the passphrase: %w", err), exit.Invalid)
	}
	return sealTree(dir, r)
}

func sealTree(dir string, to age.Recipient) ([]byte, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, exit.With(fmt.Errorf("packing %w", err), exit.Invalid)
	}
	var out bytes.Buffer
	sealed, err := age.Encrypt(&out, to)
	if err != nil {
		return nil, fmt.Errorf("encrypting %s: %w", dir, err)
	}
	zipped := gzip.NewWriter(sealed)
	if err := packTree(tar.NewWriter(zipped), dir); err != nil {
		return nil, err
	}
	if err := errors.Join(zipped.Close(), sealed.Close()); err != nil {
		return nil, fmt.Errorf("encrypting %s: %w", dir, err)
	}
	if out.Len() > MaxSealedTree {
		return nil, exit.WithHint(exit.With(fmt.Errorf("%s has %s, compressed and encrypted; a backup takes up to %s of it", dir, Size(int64(out.Len())), Size(MaxSealedTree)), exit.Invalid),
			"keep its copy elsewhere, and leave --crypto-config out")
	}
	return out.Bytes(), nil
}

// packTree writes directories and files, in the order of their names. What else there may be,
// links and sockets, is no part of such a tree and refused rather than left out silently.
func packTree(w *tar.Writer, dir string) error {
	files := 0
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		h := &tar.Header{Name: path, Mode: int64(info.Mode().Perm()), ModTime: info.ModTime(), Typeflag: tar.TypeReg, Size: info.Size(), Format: tar.FormatPAX}
		switch {
		case d.IsDir():
			h.Typeflag, h.Size, h.Name = tar.TypeDir, 0, path+"/"
			return w.WriteHeader(h)
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s is neither a file nor a directory", path)
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return err
		}
		h.Size = int64(len(data)) // as read: it may have been written to since
		files++
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("packing %s: %w", dir, err)
	case files == 0:
		return exit.With(fmt.Errorf("packing %s: there is no file in it", dir), exit.Invalid)
	}
	return w.Close()
}

// UnsealTree decrypts what SealTree made into a directory that is empty, or not there yet. Files
// get mode 0600 and directories 0700, whatever they had: they are private keys.
func UnsealTree(data []byte, passphrase, dir string) (files int, err error) {
	id, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return 0, exit.With(fmt.Errorf("the passphrase: %w", err), exit.Invalid)
	}
	return unsealTree(data, id, dir)
}

func unsealTree(data []byte, id age.Identity, dir string) (files int, err error) {
	plain, err := age.Decrypt(bytes.NewReader(data), id)
	var wrong *age.NoIdentityMatchError
	switch {
	case errors.As(err, &wrong):
		return 0, exit.With(errors.New("the passphrase is not the one that crypto-config was encrypted with; nothing was written"), exit.Invalid)
	case err != nil:
		return 0, fmt.Errorf("decrypting crypto-config: %w", err)
	}
	if err := emptyDir(dir); err != nil {
		return 0, err
	}
	unzipped, err := gzip.NewReader(plain)
	if err != nil {
		return 0, fmt.Errorf("decrypting crypto-config: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, err
	}
	root, err := os.OpenRoot(dir) // nothing in the archive leads out of it
	if err != nil {
		return 0, err
	}
	defer root.Close()
	files, err = unpackTree(tar.NewReader(io.LimitReader(unzipped, maxTree)), root)
	if err != nil {
		empty(root) // half a tree of keys is worse than none
		return 0, fmt.Errorf("unpacking crypto-config into %s: %w; nothing was left there", dir, err)
	}
	return files, nil
}

// empty removes everything below a directory that was empty before.
func empty(root *os.Root) {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return
	}
	for _, e := range entries {
		_ = root.RemoveAll(e.Name())
	}
}

func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return exit.With(err, exit.Invalid)
	case len(entries) > 0:
		return exit.WithHint(exit.With(fmt.Errorf("%s is not empty; nothing was written", dir), exit.Invalid),
			"name a directory that does not exist; keys are never written over others")
	}
	return nil
}

func unpackTree(r *tar.Reader, root *os.Root) (files int, err error) {
	for {
		h, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return files, nil
		case err != nil:
			return files, err
		}
		name := filepath.FromSlash(h.Name)
		if h.Typeflag == tar.TypeDir {
			if err := root.MkdirAll(name, 0o700); err != nil {
				return files, err
			}
			continue
		}
		if h.Typeflag != tar.TypeReg {
			return files, fmt.Errorf("%s is neither a file nor a directory", h.Name)
		}
		f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return files, err
		}
		_, err = io.Copy(f, r)
		if err := errors.Join(err, f.Close()); err != nil {
			return files, fmt.Errorf("%s: %w", h.Name, err)
		}
		files++
	}
}
