package rootfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"pivt.io/pivt/hack/devcluster/recipe"
)

// Layers are directories that image.WriteLayer filled.
type Layers struct {
	Debian string // with a C compiler, certificates and Node.js
	Go     string // the toolchain this program was started with, at /usr/local/go
	NPM    string // npm's command line, as Debian's own npm would bring 300 packages
}

// Maker makes layers in the cache of a Builder.
type Maker struct {
	Builder *recipe.Builder
	// Mirror is where Debian's packages come from; "" is where the machine's own come from.
	Mirror string
	// GoRoot is the toolchain to pack.
	GoRoot string
}

// format is part of every key; raise it when the same request makes something else.
const format = "1"

// All returns every layer, making those the cache lacks.
func (m Maker) All(ctx context.Context) (Layers, error) {
	unlock, err := m.Builder.Lock()
	if err != nil {
		return Layers{}, err
	}
	defer unlock()
	var l Layers
	for _, p := range []struct {
		into *string
		part recipe.Part
		asks []string
		fill func(ctx context.Context, dir string, log io.Writer) error
	}{
		{&l.Debian, recipe.Part{Name: "rootfs-debian", Version: debianSuite}, append([]string{debianSuite}, debianPackages...), m.debian},
		{&l.Go, recipe.Part{Name: "rootfs-go", Version: m.Builder.GoVersion}, []string{m.Builder.GoVersion}, m.toolchain},
		{&l.NPM, recipe.Part{Name: "rootfs-npm", Version: npmVersion}, []string{npmVersion, npmIntegrity}, m.npm},
	} {
		built, err := m.Builder.Fill(p.part, key(p.asks), func(dir string, log io.Writer) error { return p.fill(ctx, dir, log) })
		if err != nil {
			return Layers{}, err
		}
		*p.into = built.Dir
	}
	return l, nil
}

func key(asks []string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s", format, strings.Join(asks, "\n")))
	return hex.EncodeToString(sum[:])[:12]
}
