package rootfs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"pivt.io/pivt/hack/devcluster/image"
)

// The newest npm that runs on Debian's Node.js 18, and its integrity as the registry and every lock file spell it.
const (
	npmVersion   = "10.9.9"
	npmURL       = "https://registry.npmjs.org/npm/-/npm-" + npmVersion + ".tgz"
	npmIntegrity = "sha512-1g+6jLQvaIuB4zwvHL7yrXuXcWZwDsCtBX8bbWDqbvJSSr9nPiDDWTHNgwXR27iIcTTW7v3A57hDW9RYv2W4Yg=="
)

// npmDir is where Node.js packages lie that belong to everyone.
const npmDir = "/usr/local/lib/node_modules/npm"

// NPMPrograms are the commands of the layer, with what they link to.
func NPMPrograms() map[string]string {
	return map[string]string{
		"/usr/local/bin/npm": "../lib/node_modules/npm/bin/npm-cli.js",
		"/usr/local/bin/npx": "../lib/node_modules/npm/bin/npx-cli.js",
	}
}

const npmLimit = 64 << 20

func (m Maker) npm(ctx context.Context, dir string, _ io.Writer) error {
	packed, err := download(ctx, npmURL)
	if err != nil {
		return err
	}
	if err := verify(packed, npmIntegrity); err != nil {
		return fmt.Errorf("%s: %w", npmURL, err)
	}
	tree := filepath.Join(dir, "tree")
	if err := unpack(packed, tree); err != nil {
		return fmt.Errorf("unpacking %s: %w", npmURL, err)
	}
	if err := image.WriteLayer(dir, image.Tree{Dir: tree, Path: npmDir}); err != nil {
		return err
	}
	return os.RemoveAll(tree)
}

func download(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("downloading: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("downloading %s: %s", url, response.Status)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, npmLimit))
	if err != nil {
		return nil, fmt.Errorf("downloading %s: %w", url, err)
	}
	return data, nil
}

func verify(data []byte, integrity string) error {
	sum := sha512.Sum512(data)
	if got := "sha512-" + base64.StdEncoding.EncodeToString(sum[:]); got != integrity {
		return fmt.Errorf("integrity is %s, want %s", got, integrity)
	}
	return nil
}

// unpack writes the regular files of a package, which all lie below one directory, "package".
func unpack(packed []byte, dir string) error {
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return err
	}
	tr := tar.NewReader(zr)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		_, name, ok := strings.Cut(h.Name, "/")
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if !ok || !filepath.IsLocal(name) {
			return fmt.Errorf("file %q lies outside the package", h.Name)
		}
		if err := place(filepath.Join(dir, name), tr, os.FileMode(h.Mode).Perm()|0o644); err != nil {
			return err
		}
	}
}

func place(file string, r io.Reader, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, r)
	return errors.Join(err, out.Close())
}
