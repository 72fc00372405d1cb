package launcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/runtime"
)

const (
	// metaInf holds the indexes of a package, in the package as in a build.
	metaInf = "META-INF"
	// builtDir is where a build keeps what came back from its pod. Nothing in there can
	// pass for a file of ours, nor for an index.
	builtDir = "output"
)

// build checks the package while somebody waits for the answer of an install, and leaves
// what release and run need. No tool of Fabric shows more of it than the exit status; the
// rest is in the peer's log.
func build(ctx context.Context, source, metadata, output string, env func(string) string, stderr io.Writer) error {
	m, err := readMetadata(metadata)
	if err != nil {
		return err
	}
	switch k := m.kind(); {
	case k.source():
		if err := buildSource(ctx, &m, source, metadata, output, env, stderr); err != nil {
			return err
		}
	case k.service():
		err = buildService(source, output)
	case k == kindImage:
		err = buildImage(source, output)
	default:
		err = exit.With(fmt.Errorf("type %q is none of %v", m.Type, kinds()), exit.Invalid)
	}
	if err != nil {
		return fmt.Errorf("package %s: %w", m.Label, err)
	}
	if err := copyTree(filepath.Join(source, metaInf), filepath.Join(output, metaInf), anyFile); err != nil {
		return fmt.Errorf("package %s: copying %s: %w", m.Label, metaInf, err)
	}
	if err := seal(output, m.kind(), m.Label); err != nil {
		return fmt.Errorf("package %s: sealing the build: %w", m.Label, err)
	}
	return nil
}

func buildImage(source, output string) error {
	img, err := readImage(filepath.Join(source, imageFile))
	if err != nil {
		return exit.With(err, exit.Invalid)
	}
	if err := writeJSON(filepath.Join(output, imageFile), img); err != nil {
		return fmt.Errorf("writing %s: %w", imageFile, err)
	}
	return nil
}

// buildSource has the source built in a pod, or gets what another peer of the
// organisation has just built from the same.
func buildSource(ctx context.Context, m *metadata, source, metadata, output string, env func(string) string, stderr io.Writer) error {
	config, peer, err := preflight(m, env)
	if err != nil {
		return fmt.Errorf("building chaincode %s: %w", m.Label, err)
	}
	k := m.kind()
	r := recipe{
		Kind:   k,
		Image:  config.images(k).Build,
		Script: script(k, m.Path, config.DynamicLink),
		Env:    buildEnv(k, config.Build.Env),
		CA:     config.Build.CA,
		Pod:    config.Build.Pod,
	}
	hash, err := r.hash(source, metadata)
	if err != nil {
		return fmt.Errorf("building chaincode %s: hashing its source: %w", m.Label, err)
	}
	client, err := runtime.InCluster(env)
	if err != nil {
		return fmt.Errorf("building chaincode %s: %w", m.Label, err)
	}
	ctx, stop := untilStopped(ctx)
	defer stop()
	say := newSpeaker(stderr, stop)
	defer say.close()
	built := filepath.Join(output, builtDir)
	err = runtime.Build(ctx, client, peer, runtime.Source{
		Label: m.Label, Hash: hash, Dir: source,
		Image: r.Image, Script: r.Script, Env: r.Env, CA: []byte(r.CA),
		Output: built, Limits: config.limits(), Deadline: config.Build.Timeout.Duration,
	}, runtime.Options{
		Output:       prefixed{say, "[" + m.Label + "] "},
		Report:       func(s string) { say.report("building " + m.Label + ": " + s) },
		Image:        env("PIVT_IMAGE"),
		AwaitNetwork: config.AwaitNetwork,
		Templates:    config.buildTemplates(),
	})
	if err != nil {
		return err
	}
	if err := checkBuilt(k, built); err != nil {
		return fmt.Errorf("building chaincode %s: %w", m.Label, err)
	}
	return nil
}

// preflight is all that can go wrong before the package has been looked into.
func preflight(m *metadata, env func(string) string) (Config, runtime.Peer, error) {
	if m.kind() == kindGolang {
		if err := checkPath(m.Path); err != nil {
			return Config{}, runtime.Peer{}, exit.With(fmt.Errorf("%s: %w", metadataFile, err), exit.Invalid)
		}
	}
	config, err := readConfig(env("PIVT_LAUNCHER_CONFIG"))
	if err != nil {
		return Config{}, runtime.Peer{}, err
	}
	peer, err := peerOf(env, m.kind())
	return config, peer, err
}

// checkBuilt refuses a build that ended well and left nothing that could be started:
// now somebody waits for the answer, at the first call nobody does.
func checkBuilt(k kind, dir string) error {
	want := map[kind]string{kindGolang: "chaincode", kindJava: "*.jar", kindNode: "package.json"}[k]
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if fits, err := filepath.Match(want, e.Name()); err != nil || !fits {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() && (k != kindGolang || info.Mode()&0o100 != 0) {
			return nil
		}
	}
	return fmt.Errorf("the build left no %s in /chaincode/output", want)
}

func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

func anyFile(string) bool { return true }

// copyTree copies the regular files of a directory that wanted accepts; a directory that
// does not exist is empty. There are no links to follow: Fabric unpacks none.
func copyTree(from, to string, wanted func(path string) bool) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == from {
			return fs.SkipAll
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil || !wanted(rel) {
			return err
		}
		target := filepath.Join(to, rel)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return copyFile(path, target)
	})
}

// copyFile gives the copy a mode of its own: archives hold files of mode 0000.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
