package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pivt.io/pivt/pkg/check"
	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/network"
)

// dryRun is how far a changing command goes.
type dryRun string

const (
	dryRunNone   dryRun = "none"
	dryRunClient dryRun = "client" // no cluster is asked
	dryRunServer dryRun = "server" // the cluster is asked, nothing is changed
)

var _ pflag.Value = (*dryRun)(nil)

// String implements pflag.Value.
func (d *dryRun) String() string { return string(*d) }

// Set implements pflag.Value.
func (d *dryRun) Set(v string) error {
	if !slices.Contains([]dryRun{dryRunNone, dryRunClient, dryRunServer}, dryRun(v)) {
		return fmt.Errorf("must be one of none, client, server")
	}
	*d = dryRun(v)
	return nil
}

// Type implements pflag.Value.
func (d *dryRun) Type() string { return "none|client|server" }

func (d *dryRun) addFlag(c *cobra.Command) {
	*d = dryRunNone
	c.Flags().Var(d, "dry-run", "say what would change, and change nothing: client asks no cluster, server does")
	if err := c.RegisterFlagCompletionFunc("dry-run", cobra.FixedCompletions([]string{"none", "client", "server"}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic("unreachable: the flag was added before: " + err.Error())
	}
}

type upgradeOptions struct {
	flowOptions
	version string
	include []string
	image   string
	dryRun  dryRun
}

func newChaincodeUpgrade(s *State, g *globals) *cobra.Command {
	var o upgradeOptions
	c := &cobra.Command{
		Use:   "upgrade [NAME...] --version VERSION",
		Short: "Bring chaincodes to a new version",
		Long: `Write a new version, and with --image a new image, into network.yaml and bring the network to it: packages
are installed, approved and committed as "pivt chaincode install" does. Without names: all chaincodes.

The file is changed only when the changed file is valid; comments and layout stay. A version that a channel
has committed with other code is refused. Old chaincode pods go when their version is not needed any more.

Exit status: 0 done or nothing to do; 1 failed; 2 wrong usage or files, nothing was changed; 4 timed out;
130 interrupted.`,
		Example: `  # all chaincodes
  pivt chaincode upgrade --version 2.0

  # two of them
  pivt chaincode upgrade --version 2.0 --include basic,info

  # one that is given as an image
  pivt chaincode upgrade basic --version 2.0 --image registry.example.com/basic@sha256:…`,
		ValidArgsFunction: completeNames(s, g, chaincodeNames),
		RunE: func(c *cobra.Command, names []string) error {
			return o.run(c, s, g, append(names, o.include...))
		},
	}
	f := c.Flags()
	f.StringVar(&o.version, "version", "", "the new version; required")
	f.StringSliceVar(&o.include, "include", nil, "only these chaincodes; the same as naming them")
	f.StringVar(&o.image, "image", "", "the new image of one chaincode, NAME@sha256:DIGEST")
	o.dryRun.addFlag(c)
	o.addFlags(f)
	completeFlag(c, s, g, "include", chaincodeNames)
	return c
}

func (o *upgradeOptions) run(c *cobra.Command, s *State, g *globals, names []string) error {
	if o.version == "" {
		return usageErrorf("--version is missing: the version to upgrade to")
	}
	in, err := g.load(s)
	if err != nil {
		return err
	}
	ccs, err := o.choose(in.network, names)
	if err != nil {
		return err
	}
	e, err := g.edit(s, in, o.set(ccs))
	if err != nil {
		return err
	}
	after := make([]*network.Chaincode, len(ccs))
	included := make([]string, len(ccs))
	for i, cc := range ccs {
		after[i], included[i] = e.in.network.Chaincode(cc.Name), cc.Name
		if after[i].Version != o.version || o.image != "" && after[i].Image != o.image {
			return usageErrorf("chaincode %q: a --set flag overrides what would be written into %s; leave it out", cc.Name, e.file)
		}
	}
	plan := moves(in.network, after, nil)
	if o.dryRun == dryRunClient {
		return g.printMoves(s, e, plan)
	}
	d, err := g.deploymentOf(s, e.in)
	if err != nil {
		return err
	}
	ctx, cancel := withTimeout(c.Context(), o.timeout)
	defer cancel()
	pinned, err := g.guard(ctx, s, d, after)
	if err != nil {
		return err
	}
	plan = moves(in.network, after, pinned)
	if o.dryRun == dryRunServer {
		return g.printMoves(s, e, plan)
	}
	g.tellMoves(s, plan)
	written, err := g.writeEdit(s, e)
	if err != nil {
		return err
	}
	return g.follow(ctx, c, s, d, deploy.ChaincodeFlow, included, o.flowOptions, written)
}

func (o *upgradeOptions) choose(n *network.Network, names []string) ([]*network.Chaincode, error) {
	ccs, err := deployable(n, names, func(*network.Chaincode) bool { return true })
	switch {
	case err != nil:
		return nil, err
	case len(ccs) == 0:
		return nil, usageErrorf("the files have no chaincode that could be upgraded")
	case o.image == "":
		return ccs, nil
	case len(ccs) > 1:
		return nil, usageErrorf("--image is for one chaincode; name one of: %s", strings.Join(chaincodeNames(n), ", "))
	case ccs[0].Image == "":
		return nil, usageErrorf("chaincode %q is not given as an image, so --image cannot replace it", ccs[0].Name)
	}
	return ccs, nil
}

func (o *upgradeOptions) set(ccs []*network.Chaincode) map[string]map[string]string {
	set := map[string]map[string]string{}
	for _, cc := range ccs {
		set[cc.Name] = map[string]string{"version": o.version}
		if o.image != "" {
			set[cc.Name]["image"] = o.image
		}
	}
	return set
}

// move is what becomes of one chaincode on one channel.
type move struct {
	Chaincode string `json:"chaincode"`
	Channel   string `json:"channel"`
	From      string `json:"from,omitempty"` // version; "" if nothing is committed
	Sequence  int64  `json:"sequence,omitempty"`
	To        string `json:"to"`
	// Differences are what else of the definition changes, in words.
	Differences []string `json:"differences,omitempty"`
}

func (m move) String() string {
	from := dash(m.From)
	if m.Sequence > 0 {
		from += fmt.Sprintf(" (sequence %d)", m.Sequence)
	}
	if len(m.Differences) > 0 {
		return fmt.Sprintf("chaincode %s on %s: %s -> sequence %d: %s", m.Chaincode, m.Channel, from, m.Sequence+1, strings.Join(m.Differences, ", "))
	}
	if m.From == m.To {
		return fmt.Sprintf("chaincode %s on %s: %s stays", m.Chaincode, m.Channel, from)
	}
	return fmt.Sprintf("chaincode %s on %s: %s -> %s", m.Chaincode, m.Channel, from, m.To)
}

// moves tells for each channel where a chaincode comes from: what the channel has committed, or
// what the files said before if nobody could be asked.
func moves(before *network.Network, after []*network.Chaincode, pinned *check.Pinned) []move {
	var all []move
	for _, cc := range after {
		for _, on := range cc.Channels {
			m := move{Chaincode: cc.Name, Channel: on.Channel.Name, To: cc.Version}
			switch {
			case pinned == nil || slices.Contains(pinned.Unasked, cc):
				m.From = before.Chaincode(cc.Name).Version
			default:
				m.From, m.Sequence = pinned.Committed(cc.Name, on.Channel.Name)
			}
			all = append(all, m)
		}
	}
	return all
}

func (g *globals) tellMoves(s *State, plan []move) {
	if g.quiet || g.output == outputJSON {
		return
	}
	for _, m := range plan {
		fmt.Fprintln(s.Stderr, m)
	}
}

// printMoves is the result of a dry run.
func (g *globals) printMoves(s *State, e *edit, plan []move) error {
	result := struct {
		File       string `json:"file"`
		Changed    bool   `json:"changed"`
		Chaincodes []move `json:"chaincodes"`
	}{e.file, e.changed, plan}
	if done, err := g.structured(s.Stdout, "Upgrade", result); done || err != nil {
		return err
	}
	for _, m := range plan {
		fmt.Fprintln(s.Stdout, m)
	}
	if e.changed {
		fmt.Fprintf(s.Stdout, "%s would be changed\n", e.file)
		return nil
	}
	fmt.Fprintf(s.Stdout, "%s would not be changed\n", e.file)
	return nil
}

// writeEdit writes the user's file and says so among the changes.
func (g *globals) writeEdit(s *State, e *edit) ([]deploy.Change, error) {
	if !e.changed {
		return nil, nil
	}
	if err := e.write(s); err != nil {
		return nil, err
	}
	return []deploy.Change{{Object: "file/" + e.file, Verb: deploy.Configured}}, nil
}
