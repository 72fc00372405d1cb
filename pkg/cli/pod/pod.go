package pod

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/launcher"
)

// Process is what a pod's process may touch of its surroundings.
type Process struct {
	Name   string   // argv[0]
	Args   []string // argv[1:]
	Env    func(string) string
	Stderr io.Writer
	// Root is where the pod's inputs are mounted; default step.DefaultRoot.
	Root string
	// Termination is the file whose text Kubernetes keeps as the reason of an exit.
	Termination string
}

// Main runs the process. Called by one of the names of Fabric's external builder
// contract, it is the launcher; otherwise its first argument says what it is.
func Main(ctx context.Context, p Process) exit.Code {
	if name := filepath.Base(p.Name); slices.Contains(launcher.Steps(), name) {
		return exit.Code(launcher.Main(ctx, name, p.Args, p.Env, p.Stderr))
	}
	root := &cobra.Command{
		Use:           "pivt",
		Short:         "The part of pivt that runs inside pods",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetErr(p.Stderr)
	root.SetOut(p.Stderr)
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(Commands(p)...)
	root.SetArgs(p.Args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		if exit.CodeOf(err) == exit.Failed && isUsage(err) {
			err = exit.With(err, exit.Invalid)
		}
		fmt.Fprintf(p.Stderr, "Error: %v\n", err)
	}
	return exit.CodeOf(err)
}

// isUsage knows what cobra says to wrong arguments: it has no type for them.
func isUsage(err error) bool {
	return strings.HasPrefix(err.Error(), "unknown ") || strings.HasPrefix(err.Error(), "required flag")
}

// Commands are the hidden commands "step" and "launcher".
func Commands(p Process) []*cobra.Command {
	return []*cobra.Command{newStep(p), newLauncher(p)}
}
