package cli

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/exit"
)

func newUninstall(s *State, g *globals) *cobra.Command {
	var yes bool
	var o deploy.UninstallOptions
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove the network from the cluster",
		Long: `Remove workflows, nodes, chaincodes and Secrets of the network from the namespace.

The ledgers' volumes stay, so the same files and keys bring the network back with "pivt install",
unless --delete-data is given. Files and keys on disk always stay, and so does the namespace.

Exit status: 0 done or nothing to do; 1 failed; 2 wrong usage, or not confirmed.`,
		Example: `  # keep the ledgers
  pivt uninstall -n fabric

  # everything, without being asked
  pivt uninstall -n fabric --delete-data --yes`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := g.deployment(s)
			if err != nil {
				return err
			}
			lost := fmt.Sprintf("removes the network in namespace %s: %s", d.Kube.Namespace(), summarize(d.Network).counts())
			if o.DeleteData {
				lost += ", WITH its ledgers"
			}
			if err := confirm(s, lost, "nothing was removed", yes); err != nil {
				return err
			}
			changes, err := d.Uninstall(c.Context(), o)
			if perr := g.changes(s.Stdout, changes); perr != nil && err == nil {
				err = perr
			}
			return err
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&o.DeleteData, "delete-data", false, "delete the ledgers' volumes, too")
	return c
}

// confirm asks before something is lost, with a sentence that goes on after "this". Where nobody
// can answer, the flag must.
func confirm(s *State, does, otherwise string, yes bool) error {
	if yes {
		return nil
	}
	if !s.StdinTTY || !s.StderrTTY {
		return exit.With(fmt.Errorf("this %s; give --yes to confirm", does), exit.Invalid)
	}
	fmt.Fprintf(s.Stderr, "This %s.\nType \"yes\" to go on: ", does)
	answer, err := bufio.NewReader(s.Stdin).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != "yes" {
		return exit.With(fmt.Errorf("not confirmed; %s", otherwise), exit.Invalid)
	}
	return nil
}
