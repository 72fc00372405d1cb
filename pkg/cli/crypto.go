package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/pki"
)

func newCrypto(s *State, g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "crypto",
		Short: "Make keys and certificates",
		Args:  knownCommand,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newCryptoGenerate(s, g))
	return c
}

func newCryptoGenerate(s *State, g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "generate",
		Short: "Make the keys and certificates that are missing",
		Long: `Make CAs, and keys and certificates of nodes, admins and users, in cryptogen's directory layout.

What exists is left alone, so output of Fabric's cryptogen is accepted as it is and the command
may be repeated after every change of crypto-config.yaml. A TLS certificate that lacks the name of
its node's Service is issued again over the same key. No cluster is needed.

Exit status: 0 done or nothing to do; 1 failed; 2 wrong usage or files.`,
		Example: `  # into ./crypto-config
  pivt crypto generate

  # somewhere else
  pivt crypto generate --crypto-dir /secure/crypto-config`,
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			in, err := g.load(s)
			if err != nil {
				return err
			}
			changes, err := pki.Ensure(s.path(g.cryptoDir), in.network, pki.Options{Now: s.Now})
			if err != nil {
				return err
			}
			for i := range changes {
				changes[i].Path = s.relative(changes[i].Path)
			}
			if done, err := g.structured(s.Stdout, "ChangeSet", changes); done || err != nil {
				return err
			}
			for _, c := range changes {
				fmt.Fprintf(s.Stdout, "%s %s\n", c.Path, c.What)
			}
			if len(changes) == 0 && !g.quiet {
				fmt.Fprintf(s.Stderr, "%s: complete, nothing changed\n", g.cryptoDir)
			}
			return nil
		},
	}
}
