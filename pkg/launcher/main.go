package launcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"pivt.io/pivt/pkg/exit"
)

// Steps are the names under which the peer calls the program.
func Steps() []string { return []string{"detect", "build", "release", "run"} }

// errNotOurs is detect's answer to a package of another builder. It is no error to print:
// the peer asks about every package it gets.
var errNotOurs = errors.New("package of another builder")

// Main runs one step of the contract with the arguments the peer gave it, and returns the
// exit status.
func Main(ctx context.Context, name string, args []string, env func(string) string, stderr io.Writer) int {
	err := step(ctx, filepath.Base(name), args, env, stderr)
	if err == nil {
		return int(exit.OK)
	}
	if !errors.Is(err, errNotOurs) {
		say := newSpeaker(stderr, func() {})
		say.report("Error: " + err.Error())
		if hint := exit.HintOf(err); hint != "" {
			say.report("Hint:  " + hint)
		}
		say.close()
	}
	return int(exit.CodeOf(err))
}

func step(ctx context.Context, name string, args []string, env func(string) string, stderr io.Writer) error {
	usage := map[string][]string{
		"detect":  {"SOURCE", "METADATA"},
		"build":   {"SOURCE", "METADATA", "OUTPUT"},
		"release": {"BUILD", "RELEASE"},
		"run":     {"BUILD", "LAUNCH"},
	}
	want, known := usage[name]
	if !known {
		return exit.With(fmt.Errorf("%q is no step of an external builder; the steps are %v", name, Steps()), exit.Invalid)
	}
	if len(args) != len(want) {
		return exit.With(fmt.Errorf("%s takes %v, got %d arguments", name, want, len(args)), exit.Invalid)
	}
	switch name {
	case "detect":
		return detect(args[1])
	case "build":
		return build(ctx, args[0], args[1], args[2], env, stderr)
	case "release":
		return release(args[0], args[1], env)
	default:
		return launch(ctx, args[0], args[1], env, stderr)
	}
}

// Install copies the running program to dir/bin under the names of the steps: one copy
// and a link for each. It may be repeated; a peer that runs meanwhile sees the old
// program or the new one.
func Install(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the running program: %w", err)
	}
	bin := filepath.Join(dir, "bin")
	if err := install(self, bin); err != nil {
		return fmt.Errorf("installing the launcher in %s: %w", bin, err)
	}
	return nil
}

func install(program, bin string) error {
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	const name = "pivt"
	if err := copyProgram(program, filepath.Join(bin, name)); err != nil {
		return err
	}
	for _, s := range Steps() {
		link := filepath.Join(bin, s)
		temp := link + ".new"
		if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.Symlink(name, temp); err != nil {
			return err
		}
		if err := os.Rename(temp, link); err != nil {
			return err
		}
	}
	return nil
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	temp := to + ".new"
	out, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(temp, to)
}
