package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/exit"
)

func newInstall(s *State, g *globals) *cobra.Command {
	var o flowOptions
	c := &cobra.Command{
		Use:   "install",
		Short: "Make the network run, or bring it up to date",
		Long: `Bring up everything the files ask for, in order: namespace, keys and certificates, orderers and
peers (a Helm release named hlf-kube), channels and chaincodes (two Argo workflows).

What is already there is left alone. The command may be stopped at any moment and repeated; it goes
on where it was. Workflows that are under way go on without it, unless --stop-workflows is given.

Exit status: 0 done or nothing to do; 1 failed; 2 wrong usage or files; 3 the cluster lacks something;
4 timed out; 130 interrupted.`,
		Example: `  # the network of this directory, into the kubeconfig's namespace
  pivt install

  # into a namespace of its own, which is created
  pivt install -n fabric

  # other files; the last one wins
  pivt install -f crypto-config.yaml -f network.yaml -f production.yaml`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := g.deployment(s)
			if err != nil {
				return err
			}
			d.StopWorkflows = o.stop
			ctx, cancel := withTimeout(c.Context(), o.timeout)
			defer cancel()
			began := s.Now()
			if _, err := g.guard(ctx, s, d, d.Network.FlowChaincodes); err != nil {
				return err
			}
			changes, err := d.Install(ctx)
			if perr := g.changes(s.Stdout, changes); perr != nil && err == nil {
				err = perr
			}
			if err != nil {
				return installError(c, d, err)
			}
			g.finish(s, changes, s.Now().Sub(began))
			return nil
		},
	}
	o.addFlags(c.Flags())
	return c
}

// flowOptions are the flags of commands that run workflows.
type flowOptions struct {
	timeout time.Duration
	stop    bool
}

func (o *flowOptions) addFlags(f *pflag.FlagSet) {
	f.DurationVar(&o.timeout, "timeout", deploy.DefaultTimeout, "how long to wait for the whole")
	f.BoolVar(&o.stop, "stop-workflows", false, "when interrupted, stop the workflows that are under way")
}

// deployment gathers what changing commands work on.
func (g *globals) deployment(s *State) (*deploy.Deployment, error) {
	in, err := g.load(s)
	if err != nil {
		return nil, err
	}
	return g.deploymentOf(s, in)
}

func (g *globals) deploymentOf(s *State, in *inputs) (*deploy.Deployment, error) {
	k, err := g.kube()
	if err != nil {
		return nil, err
	}
	return &deploy.Deployment{
		Kube:      k,
		Network:   in.network,
		Values:    in.values,
		CryptoDir: s.path(g.cryptoDir),
		Now:       s.Now,
		Report:    newReporter(s, g),
		Packages:  g.packages(s),
	}, nil
}

// finish is the story's last line.
func (g *globals) finish(s *State, changes []deploy.Change, took time.Duration) {
	if g.quiet || g.output == outputJSON {
		return
	}
	if !deploy.Changed(changes) {
		fmt.Fprintf(s.Stderr, "nothing changed (%s)\n", seconds(took))
		return
	}
	fmt.Fprintf(s.Stderr, "done in %s\n", seconds(took))
}

// installError names the one command to look further, and after Ctrl-C how to go on.
func installError(c *cobra.Command, d *deploy.Deployment, err error) error {
	switch exit.CodeOf(err) {
	case exit.Interrupted:
		text := "interrupted; workflows that have been submitted go on"
		if d.StopWorkflows {
			text = "interrupted; workflows that were under way have been stopped"
		}
		return exit.WithHint(exit.With(errors.New(text), exit.Interrupted),
			fmt.Sprintf("repeat %q to go on where it was", c.CommandPath()))
	case exit.Failed, exit.TimedOut, exit.TryAgain:
		return exit.WithHint(err, `"pivt status" shows every node, channel and chaincode; then repeat the command`)
	}
	return err
}
