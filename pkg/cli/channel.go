package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/check"
	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/network"
)

func newChannel(s *State, g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "channel",
		Short: "Create and join channels, list them",
		Args:  knownCommand,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newChannelApply(s, g), newChannelList(s, g))
	return c
}

func newChannelApply(s *State, g *globals) *cobra.Command {
	var o flowOptions
	c := &cobra.Command{
		Use:   "apply [NAME...]",
		Short: "Create channels and join their peers",
		Long: `Create the channels of network.yaml that do not exist, with their anchor peers, and join every peer that
has not joined. Without names: all channels. The network must be installed; the work is done by
the Argo workflow that "pivt render channel-flow" prints.

Exit status: 0 done or nothing to do; 1 failed; 2 wrong usage or files; 4 timed out; 130 interrupted.`,
		Example: `  # every channel of the file
  pivt channel apply

  # one
  pivt channel apply mychannel`,
		ValidArgsFunction: completeNames(s, g, channelNames),
		RunE: func(c *cobra.Command, names []string) error {
			return g.runFlow(c, s, deploy.ChannelFlow, names, o)
		},
	}
	o.addFlags(c.Flags())
	return c
}

// runFlow runs one flow for the named subjects and prints what changed.
func (g *globals) runFlow(c *cobra.Command, s *State, f deploy.Flow, names []string, o flowOptions) error {
	d, err := g.deployment(s)
	if err != nil {
		return err
	}
	known, noun := channelNames(d.Network), "channel"
	if f == deploy.ChaincodeFlow {
		known, noun = chaincodeNames(d.Network), "chaincode"
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return usageErrorf("%s %q is not in the files; known: %s", noun, name, strings.Join(known, ", "))
		}
	}
	ctx, cancel := withTimeout(c.Context(), o.timeout)
	defer cancel()
	if f == deploy.ChaincodeFlow {
		if _, err := g.guard(ctx, s, d, chosen(d.Network, names)); err != nil {
			return err
		}
	}
	return g.follow(ctx, c, s, d, f, names, o, nil)
}

// follow runs the flow and prints all changes, with those that came before.
func (g *globals) follow(ctx context.Context, c *cobra.Command, s *State, d *deploy.Deployment, f deploy.Flow, names []string, o flowOptions, before []deploy.Change) error {
	d.StopWorkflows = o.stop
	began := s.Now()
	changes, err := d.RunFlow(ctx, f, names)
	changes = append(before, changes...)
	if perr := g.changes(s.Stdout, changes); perr != nil && err == nil {
		err = perr
	}
	if err != nil {
		return installError(c, d, err)
	}
	g.finish(s, changes, s.Now().Sub(began))
	return nil
}

func newChannelList(s *State, g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the channels with their height and peers",
		Long: `List the channels of network.yaml as the nodes know them.

Exit status: 0 done; 1 the cluster could not be asked; 2 wrong usage or files.`,
		Example: `  pivt channel list
  pivt channel list -o json`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			st, err := g.collect(c.Context(), s)
			if err != nil {
				return err
			}
			if done, err := g.structured(s.Stdout, "ChannelList", st.Channels); done || err != nil {
				return err
			}
			if g.output == outputName {
				for _, c := range st.Channels {
					fmt.Fprintln(s.Stdout, "channel/"+c.Name)
				}
				return nil
			}
			return g.printChannels(s.Stdout, st.Channels)
		},
	}
}

func (g *globals) collect(ctx context.Context, s *State) (*check.Status, error) {
	a, err := g.access(s)
	if err != nil {
		return nil, err
	}
	return check.Collect(ctx, a)
}

func channelNames(n *network.Network) []string {
	var names []string
	for _, c := range n.Channels {
		names = append(names, c.Name)
	}
	return names
}

func chaincodeNames(n *network.Network) []string {
	var names []string
	for _, c := range n.Chaincodes {
		names = append(names, c.Name)
	}
	return names
}
