package rootfs

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pivt.io/pivt/hack/devcluster/image"
)

// GoRoot is where the toolchain lies in the image, as in Fabric's.
const GoRoot = "/usr/local/go"

// toolchain packs what is needed to build, and not what is needed to test Go itself.
func (m Maker) toolchain(_ context.Context, dir string, _ io.Writer) error {
	// A distribution's package may be a set of links to elsewhere, which would lead nowhere in an image.
	for _, name := range []string{"bin", "pkg", "src"} {
		info, err := os.Lstat(filepath.Join(m.GoRoot, name))
		if err != nil {
			return fmt.Errorf("looking for Go's toolchain: %w", err)
		}
		if !info.IsDir() {
			return fmt.Errorf("%s of the Go toolchain in %s is no directory; use one from go.dev", name, m.GoRoot)
		}
	}
	return image.WriteLayer(dir, image.Tree{Dir: m.GoRoot, Path: GoRoot, Skip: skipGo})
}

func skipGo(rel string) bool {
	top, rest, _ := strings.Cut(filepath.ToSlash(rel), "/")
	switch top {
	case "api", "doc", "misc", "test":
		return true
	case "src":
		return strings.HasSuffix(rest, "_test.go") || slices.Contains(strings.Split(rest, "/"), "testdata")
	}
	return false
}
