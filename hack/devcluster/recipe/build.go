package recipe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Built is a finished part on disk.
type Built struct {
	Part
	Key string
	// Dir holds bin/ and share/.
	Dir string
}

// Bin returns the path of one of the part's binaries.
func (b Built) Bin(name string) string { return filepath.Join(b.Dir, "bin", name) }

// ShareDir returns the path of a kept file or directory of the module.
func (b Built) ShareDir(name string) string { return filepath.Join(b.Dir, "share", name) }

// Builder builds parts into a cache.
type Builder struct {
	// Modules is the directory with one module per part.
	Modules string
	// Cache is the directory finished parts are kept in.
	Cache string
	// Logs is where the output of each build goes.
	Logs string
	// GoVersion is what `go env GOVERSION` says; it is part of every key.
	GoVersion string
	// Report is called once per part that had to be built.
	Report func(p Part, took time.Duration)
}

// GoVersion asks the Go command that will do the builds.
func GoVersion(ctx context.Context, dir string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("asking go for its version: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// All returns every part by name, building what the cache lacks.
func (b *Builder) All(ctx context.Context, parts []Part) (map[string]Built, error) {
	unlock, err := b.Lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	built := make(map[string]Built, len(parts))
	for _, p := range parts {
		one, err := b.Ensure(ctx, p)
		if err != nil {
			return nil, err
		}
		built[p.Name] = one
	}
	return built, nil
}

// Lock keeps a second program from building the same parts, and clears what a killed one left.
func (b *Builder) Lock() (unlock func(), err error) {
	if err := os.MkdirAll(b.Cache, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(b.Cache, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	half, err := filepath.Glob(filepath.Join(b.Cache, ".building-*"))
	if err != nil {
		return nil, err
	}
	for _, dir := range half {
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	return func() { f.Close() }, nil
}

// Ensure returns the part from the cache, building it first if it is not there.
func (b *Builder) Ensure(ctx context.Context, p Part) (Built, error) {
	key, err := b.key(p)
	if err != nil {
		return Built{}, err
	}
	return b.Fill(p, key, func(dir string, log io.Writer) error { return b.build(ctx, p, dir, log) })
}

// Fill returns the directory of the cache with this key, made by fill if it is not there. The key must change with
// everything that changes what fill does.
func (b *Builder) Fill(p Part, key string, fill func(dir string, log io.Writer) error) (Built, error) {
	done := Built{Part: p, Key: key, Dir: filepath.Join(b.Cache, p.Name+"-"+key)}
	if _, err := os.Stat(done.Dir); err == nil {
		return done, nil
	}
	if err := errors.Join(os.MkdirAll(b.Cache, 0o755), os.MkdirAll(b.Logs, 0o755)); err != nil {
		return Built{}, err
	}
	tmp, err := os.MkdirTemp(b.Cache, ".building-"+p.Name+"-")
	if err != nil {
		return Built{}, err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil { // MkdirTemp's 0700 would hide the binaries from other users
		return Built{}, err
	}
	start := time.Now()
	log, err := os.Create(filepath.Join(b.Logs, p.Name+".log"))
	if err != nil {
		return Built{}, err
	}
	defer log.Close()
	if err := fill(tmp, log); err != nil {
		return Built{}, fmt.Errorf("building %s: %w; the whole output is in %s", p.Name, err, log.Name())
	}
	// Somebody else may have finished the same build meanwhile; theirs is as good as ours.
	if err := os.Rename(tmp, done.Dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return Built{}, err
	}
	if b.Report != nil {
		b.Report(p, time.Since(start))
	}
	return done, nil
}

func (b *Builder) build(ctx context.Context, p Part, dst string, log io.Writer) error {
	module := filepath.Join(b.Modules, p.Name)
	if len(p.Mend)+len(p.Share) > 0 {
		src, err := source(ctx, p, module, log)
		if err != nil {
			return err
		}
		// Support files are kept, since `go clean -modcache` may empty the module cache at any time.
		for _, name := range p.Share {
			if err := CopyTree(filepath.Join(src, name), filepath.Join(dst, "share", name)); err != nil {
				return err
			}
		}
		if len(p.Mend) > 0 {
			if module, err = mended(ctx, p, module, src, dst, log); err != nil {
				return fmt.Errorf("adding what the module lacks: %w", err)
			}
			defer os.RemoveAll(module)
		}
	}
	out := filepath.Join(dst, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return err
	}
	if err := run(ctx, module, log, "go", "build", "-trimpath", "-ldflags", p.ldflags(), "-o", out+"/", "tool"); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dst, "bin"), 0o755); err != nil {
		return err
	}
	for _, name := range sortedKeys(p.Binaries) {
		if err := os.Rename(filepath.Join(out, p.Binaries[name]), filepath.Join(dst, "bin", name)); err != nil {
			return err
		}
	}
	return os.RemoveAll(out)
}

// mended makes a copy of the module that has the missing files, and a copy of the part that builds from it. The copied module was checked
// against go.sum when it was downloaded.
func mended(ctx context.Context, p Part, module, src, dir string, log io.Writer) (string, error) {
	work, local := filepath.Join(dir, "work"), filepath.Join(dir, "work", "src")
	if err := CopyTree(src, local); err != nil {
		return "", err
	}
	for _, m := range p.Mend {
		target := filepath.Join(local, m.Path)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return "", err
		}
		content := []byte(m.Content)
		if m.CopyOf != "" {
			var err error
			if content, err = os.ReadFile(filepath.Join(local, m.CopyOf)); err != nil {
				return "", err
			}
		}
		if err := os.WriteFile(target, content, 0o644); err != nil {
			return "", err
		}
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		if err := copyFile(filepath.Join(module, name), filepath.Join(work, name)); err != nil {
			return "", err
		}
	}
	return work, run(ctx, work, log, "go", "mod", "edit", "-replace", p.Module+"=./src")
}

// source downloads the part's module, verified, and returns where it is unpacked.
func source(ctx context.Context, p Part, module string, log io.Writer) (string, error) {
	if err := run(ctx, module, log, "go", "mod", "download", p.Module); err != nil {
		return "", err
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", p.Module)
	cmd.Dir, cmd.Stdout, cmd.Stderr = module, &out, log
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("finding the source of %s: %w", p.Module, err)
	}
	return strings.TrimSpace(out.String()), nil
}

// CopyTree copies a directory of plain files, writable for the owner, which module cache files are not.
func CopyTree(src, dst string) error {
	return filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		target := filepath.Join(dst, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		return copyFile(path, target)
	})
}

func copyFile(src, dst string) error {
	data, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	return os.WriteFile(dst, data, 0o644)
}

// run executes a build command; the last line it printed becomes the error's text.
func run(ctx context.Context, dir string, log io.Writer, name string, args ...string) error {
	var tail bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	cmd.Stdout = io.MultiWriter(log, &tail)
	cmd.Stderr = cmd.Stdout
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s %s: %w: %s", name, args[0], err, lastLine(tail.String()))
	}
	return nil
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
