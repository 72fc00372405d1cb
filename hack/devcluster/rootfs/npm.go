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
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"pivt.io/pivt/hack/devcluster/image"
)

// The newest npm that runs on Debian's Node.js 18, and its integrity as the registry and every lock file spell it.
const (
	npmVersion   = "10.9.9"
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

// NPM is the program that fetches it.
const NPM = "npm"

func (m Maker) npm(ctx context.Context, dir string, _ io.Writer) error {
	packed, err := npmPack(ctx, dir)
	if err != nil {
		return err
	}
	if err := verify(packed, npmIntegrity); err != nil {
		return fmt.Errorf("npm %s: %w", npmVersion, err)
	}
	tree := filepath.Join(dir, "tree")
	if err := unpack(packed, tree); err != nil {
		return fmt.Errorf("unpacking npm %s: %w", npmVersion, err)
	}
	if err := image.WriteLayer(dir, image.Tree{Dir: tree, Path: npmDir}); err != nil {
		return err
	}
	return os.RemoveAll(tree)
}

// npmPack has the machine's npm fetch the package, as that knows the machine's registry.
func npmPack(ctx context.Context, dir string) ([]byte, error) {
	packed := filepath.Join(dir, "packed")
	if err := os.Mkdir(packed, 0o755); err != nil {
		return nil, err
	}
	defer os.RemoveAll(packed)
	cmd := exec.CommandContext(ctx, NPM, "pack", "npm@"+npmVersion, "--pack-destination", packed, "--ignore-scripts")
	cmd.Dir = packed // where no project's settings apply
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", cmd, err, lastLine(said.String()))
	}
	return os.ReadFile(filepath.Join(packed, "npm-"+npmVersion+".tgz"))
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
