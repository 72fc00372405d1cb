package cli

import (
	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/deploy"
)

func newChaincode(s *State, g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "chaincode",
		Short: "Install, upgrade, list and call chaincodes",
		Args:  knownCommand,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newChaincodeInstall(s, g), newChaincodeUpgrade(s, g), newChaincodeRollback(s, g), newChaincodeList(s, g),
		newChaincodePackage(s, g), newChaincodePush(s, g), newChaincodeLogs(s, g),
		newChaincodeCall(s, g, true), newChaincodeCall(s, g, false))
	return c
}

func newChaincodeInstall(s *State, g *globals) *cobra.Command {
	var o flowOptions
	var include []string
	c := &cobra.Command{
		Use:   "install [NAME...]",
		Short: "Install, approve and commit chaincodes",
		Long: `Bring the chaincodes of network.yaml to the version, image and endorsement policy it names: installed on
every peer of their organisations, approved by these, committed to their channels, and called once. Without
names: all chaincodes. The work is done by the Argo workflow that "pivt render chaincode-flow" prints.

Exit status: 0 done or nothing to do; 1 failed; 2 wrong usage or files; 4 timed out; 130 interrupted.`,
		Example: `  # every chaincode of the file
  pivt chaincode install

  # one
  pivt chaincode install --include basic`,
		ValidArgsFunction: completeNames(s, g, chaincodeNames),
		RunE: func(c *cobra.Command, names []string) error {
			return g.runFlow(c, s, deploy.ChaincodeFlow, append(names, include...), o)
		},
	}
	o.addFlags(c.Flags())
	c.Flags().StringSliceVar(&include, "include", nil, "only these chaincodes; the same as naming them")
	completeFlag(c, s, g, "include", chaincodeNames)
	return c
}
