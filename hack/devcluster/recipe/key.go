package recipe

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

// format is part of every key; raise it when build does something else with the same inputs.
const format = "1"

// Key names the result of building p: two builds with the same key give the same binaries.
//
// sources are the module's own files by name, for a part that is not only a list of tools.
func Key(p Part, goMod, goSum []byte, sources map[string]string, goVersion string) string {
	h := sha256.New()
	field := func(name, value string) { fmt.Fprintf(h, "%s %d %s\n", name, len(value), value) }
	field("format", format)
	field("go", goVersion)
	field("module", p.Module)
	field("version", p.Version)
	field("go.mod", string(goMod))
	field("go.sum", string(goSum))
	field("ldflags", p.ldflags())
	for _, name := range sortedKeys(p.Binaries) {
		field("binary", name+"="+p.Binaries[name])
	}
	for _, name := range sortedKeys(sources) {
		field("source", name+"="+sources[name])
	}
	for _, s := range p.Share {
		field("share", s)
	}
	for _, m := range p.Mend {
		field("mend", m.Path+"\x00"+m.CopyOf+"\x00"+m.Content)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// key reads the part's module files and returns its key.
func (b *Builder) key(p Part) (string, error) {
	var files [2][]byte
	for i, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(b.Modules, p.Name, name))
		if err != nil {
			return "", fmt.Errorf("part %s: %w", p.Name, err)
		}
		files[i] = data
	}
	names, err := filepath.Glob(filepath.Join(b.Modules, p.Name, "*.go"))
	if err != nil {
		return "", fmt.Errorf("part %s: %w", p.Name, err)
	}
	sources := make(map[string]string, len(names))
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("part %s: %w", p.Name, err)
		}
		sources[filepath.Base(name)] = string(data)
	}
	return Key(p, files[0], files[1], sources, b.GoVersion), nil
}
