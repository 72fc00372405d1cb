package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

func newValidate(s *State, g *globals) *cobra.Command {
	var strict bool
	c := &cobra.Command{
		Use:   "validate",
		Short: "Check the two files and name every problem at once",
		Long: `Check crypto-config.yaml and network.yaml without a cluster and without writing anything.

Every problem is printed with its file, line and column, and what would cure it.

Exit status: 0 the files are valid; 2 they are not.`,
		Example: `  # the two files of this directory
  pivt validate

  # a base file and what differs in production; warnings fail too
  pivt validate -f crypto-config.yaml -f network.yaml -f production.yaml --strict`,
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			in, err := g.load(s)
			if err != nil {
				return err
			}
			if strict && len(in.warnings) > 0 {
				return exit.With(fmt.Errorf("%d warnings, and --strict was given", len(in.warnings)), exit.Invalid)
			}
			sum := summarize(in.network)
			if done, err := g.structured(s.Stdout, "Summary", sum); done || err != nil {
				return err
			}
			fmt.Fprintln(s.Stdout, sum.sentence())
			return nil
		},
	}
	c.Flags().BoolVar(&strict, "strict", false, "treat warnings as errors")
	return c
}

// summary counts what the files ask for.
type summary struct {
	Fabric     string `json:"fabric"`
	PeerOrgs   int    `json:"peerOrgs"`
	Peers      int    `json:"peers"`
	Orderers   int    `json:"orderers"`
	Channels   int    `json:"channels"`
	Chaincodes int    `json:"chaincodes"`
}

func summarize(n *network.Network) summary {
	s := summary{Fabric: n.Version, PeerOrgs: len(n.PeerOrgs), Channels: len(n.Channels), Chaincodes: len(n.Chaincodes)}
	for _, node := range n.Nodes() {
		if node.Org.Kind == network.Peer {
			s.Peers++
		} else {
			s.Orderers++
		}
	}
	return s
}

func (s summary) sentence() string {
	return "valid: " + s.counts()
}

func (s summary) counts() string {
	return fmt.Sprintf("%s with %s, %s, %s, %s; Fabric %s",
		count(s.PeerOrgs, "peer org"), count(s.Peers, "peer"), count(s.Orderers, "orderer"),
		count(s.Channels, "channel"), count(s.Chaincodes, "chaincode"), s.Fabric)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
