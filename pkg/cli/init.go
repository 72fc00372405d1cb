package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"pivt.io/pivt"
	"pivt.io/pivt/pkg/exit"
)

func newInit(s *State, g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "init [DIR]",
		Short: "Write the two files of a small network to start from",
		Long: `Write crypto-config.yaml and network.yaml of a small network: two organisations with a peer each,
three Raft orderers, the channel "mychannel" and the chaincode "basic". The files explain themselves.

A file that exists is never overwritten.

Exit status: 0 done; 1 failed; 2 a file exists already, nothing was written.`,
		Example: `  # here
  pivt init

  # in a new directory
  pivt init my-network && cd my-network && pivt install`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, a []string) error {
			dir := "."
			if len(a) == 1 {
				dir = a[0]
			}
			return runInit(s, g, dir)
		},
	}
}

func runInit(s *State, g *globals, dir string) error {
	files := map[string][]byte{"crypto-config.yaml": pivt.CryptoConfig, "network.yaml": pivt.Network}
	for _, name := range defaultFiles() {
		file := filepath.Join(dir, name)
		if _, err := os.Lstat(s.path(file)); err == nil {
			return exit.WithHint(exit.With(fmt.Errorf("%s exists already; nothing was written", file), exit.Invalid),
				"name another directory: pivt init DIR")
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("looking for %s: %w", file, pathless(err))
		}
	}
	if err := os.MkdirAll(s.path(dir), 0o755); err != nil {
		return fmt.Errorf("making %s: %w", dir, pathless(err))
	}
	for _, name := range defaultFiles() {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(s.path(file), files[name], 0o644); err != nil {
			return fmt.Errorf("writing %s: %w", file, pathless(err))
		}
		fmt.Fprintf(s.Stdout, "%s created\n", file)
	}
	if !g.quiet {
		fmt.Fprintln(s.Stderr, `next: "pivt validate", then "pivt install"`)
	}
	return nil
}
