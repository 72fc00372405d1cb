package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/check"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/network"
)

// callOptions choose where and as whom a chaincode is called.
type callOptions struct {
	invoke  bool
	channel string
	org     string
	admin   bool
	timeout time.Duration
}

func newChaincodeCall(s *State, g *globals, invoke bool) *cobra.Command {
	o := callOptions{invoke: invoke}
	c := &cobra.Command{
		Use:   "query NAME FUNCTION [ARG...]",
		Short: "Ask a chaincode, without a transaction",
		Long: `Call a chaincode function on one peer and print its answer; nothing is written.

The call is signed by the organisation's first user, or by its admin with --admin, and goes through
the API server's port-forward to a peer of the organisation.

Exit status: 0 done; 1 failed; 2 wrong usage or files.`,
		Example: `  pivt chaincode query basic GetAllAssets
  pivt chaincode query basic ReadAsset asset1 --org Org2`,
		Args:              args(cobra.MinimumNArgs(2)),
		ValidArgsFunction: completeNames(s, g, chaincodeNames),
		RunE: func(c *cobra.Command, a []string) error {
			access, err := g.access(s)
			if err != nil {
				return err
			}
			return o.run(c.Context(), s, g, access, a[0], a[1], a[2:])
		},
	}
	if invoke {
		c.Use = "invoke NAME FUNCTION [ARG...]"
		c.Short = "Submit a transaction and wait until it is committed"
		c.Long = `Submit a transaction: the chaincode runs on as many peers as its endorsement policy wants, and the
command ends when the peer has the transaction in a block and found it valid. The function's answer is
printed.

The transaction is signed by the organisation's first user, or by its admin with --admin, and goes
through the API server's port-forward to a peer of the organisation.

Exit status: 0 committed; 1 failed; 2 wrong usage or files.`
		c.Example = `  pivt chaincode invoke basic CreateAsset asset1 Ada 300
  pivt chaincode invoke basic TransferAsset asset1 Grace --org Org2`
	}
	f := c.Flags()
	f.StringVar(&o.channel, "channel", "", "channel, if the chaincode is on several")
	f.StringVar(&o.org, "org", "", "organisation that calls (default the channel's first)")
	f.BoolVar(&o.admin, "admin", false, "sign as the organisation's admin")
	f.DurationVar(&o.timeout, "timeout", time.Minute, "how long to wait")
	completeFlag(c, s, g, "channel", channelNames)
	completeFlag(c, s, g, "org", peerOrgNames)
	return c
}

func (o *callOptions) run(ctx context.Context, s *State, g *globals, a *check.Access, name, function string, args []string) error {
	channel, org, err := o.target(a.Network, name)
	if err != nil {
		return err
	}
	ctx, cancel := withTimeout(ctx, o.timeout)
	defer cancel()
	node, p, err := o.peer(ctx, a, channel, org)
	if err != nil {
		return fmt.Errorf("%s %s on channel %q: %w", o.verb(), name, channel, err)
	}
	defer p.Close()
	call := p.Evaluate
	if o.invoke {
		call = p.Submit
	}
	answer, err := call(ctx, channel, name, function, args...)
	if err != nil {
		err = fmt.Errorf("%s %s on channel %q: %w", o.verb(), name, channel, err)
		if exit.IsTransient(err) || exit.CodeOf(err) == exit.TimedOut {
			err = exit.WithHint(err, fmt.Sprintf(`"pivt status" shows whether %s and the chaincode are ready`, node.Name()))
		}
		return err
	}
	if done, err := g.structured(s.Stdout, "Answer", string(answer)); done || err != nil {
		return err
	}
	if len(answer) > 0 {
		fmt.Fprintf(s.Stdout, "%s\n", strings.TrimSuffix(string(answer), "\n"))
	}
	if o.invoke && !g.quiet && g.output != outputJSON {
		fmt.Fprintf(s.Stderr, "committed to %s\n", channel)
	}
	return nil
}

func (o *callOptions) verb() string {
	if o.invoke {
		return "invoking"
	}
	return "querying"
}

// peer connects to the first of the organisation's peers that answers. They are asked before the
// call and not by it: of a transaction that got no answer nobody knows whether it was made.
func (o *callOptions) peer(ctx context.Context, a *check.Access, channel string, org *network.Org) (*network.Node, *fabric.Peer, error) {
	var silent []string
	for _, node := range org.Nodes {
		p, err := a.Peer(node, o.admin)
		if err != nil || len(org.Nodes) == 1 { // its own words to the call will do
			return node, p, err
		}
		asking, cancel := context.WithTimeout(ctx, o.timeout/time.Duration(len(org.Nodes)+1))
		_, err = p.Height(asking, channel)
		cancel()
		if !exit.IsTransient(err) && !errors.Is(err, fabric.ErrNoChannel) {
			return node, p, nil // also one that says no, for the call to tell why
		}
		p.Close()
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		silent = append(silent, err.Error())
	}
	return nil, nil, exit.WithHint(errors.New(strings.Join(silent, "; ")), `"pivt status" shows which peers are ready`)
}

// target finds the channel and the organisation that flags and files mean.
func (o *callOptions) target(n *network.Network, name string) (string, *network.Org, error) {
	cc := n.Chaincode(name)
	if cc == nil {
		return "", nil, usageErrorf("chaincode %q is not in the files; known: %s", name, strings.Join(chaincodeNames(n), ", "))
	}
	if o.channel != "" && n.Channel(o.channel) == nil {
		return "", nil, usageErrorf("channel %q is not in the files; known: %s", o.channel, strings.Join(channelNames(n), ", "))
	}
	var channels []string
	for _, on := range cc.Channels {
		channels = append(channels, on.Channel.Name)
	}
	channel := o.channel
	if channel == "" && len(channels) == 1 {
		channel = channels[0]
	}
	if channel != "" && !slices.Contains(channels, channel) {
		return "", nil, usageErrorf("chaincode %q is not on channel %q; it is on: %s", name, channel, strings.Join(channels, ", "))
	}
	if channel == "" {
		return "", nil, usageErrorf("chaincode %q is on several channels; choose with --channel: %s", name, strings.Join(channels, ", "))
	}
	for _, org := range n.Channel(channel).Orgs {
		if (o.org == "" || o.org == org.Name) && len(org.Nodes) > 0 {
			return channel, org, nil
		}
	}
	return "", nil, usageErrorf("org %q has no peer on channel %q", o.org, channel)
}
