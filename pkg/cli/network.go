package cli

import "github.com/spf13/cobra"

// newNetwork gathers the commands about the network as a whole, which also stand alone: who
// looks for a noun beside "channel" and "chaincode" finds it, who types a lot types less.
func newNetwork(s *State, g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "network",
		Short: "The same commands, under their noun",
		Long: `The commands about the network as a whole. Each is the same as the one without "network":
"pivt network install" is "pivt install".`,
		Args: knownCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newInstall(s, g), newUninstall(s, g), newStatus(s, g), newCheck(s, g), newValidate(s, g), newRender(s, g))
	return c
}
