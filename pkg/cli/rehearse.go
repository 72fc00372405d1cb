package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/check"
	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/step"
)

// rehearsal brings a backup up beside the network it is of.
type rehearsal struct {
	rehearse  bool
	namespace string
	keep      bool
}

func (o *rehearsal) addFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.rehearse, "rehearse", false, "bring the network up from the backup in a namespace of its own, too, and ask every chaincode")
	f.StringVar(&o.namespace, "rehearsal-namespace", "", "that namespace (default the network's with -rehearsal)")
	f.BoolVar(&o.keep, "keep", false, "leave the rehearsal's namespace there, to look at")
}

const suffixRehearsal = "-rehearsal"

// globals are those of a command in the rehearsal's namespace.
func (o *rehearsal) globals(b *backups) *globals {
	g := *b.g
	if g.namespace = o.namespace; g.namespace == "" {
		g.namespace = network.Shorten(b.d.Kube.Namespace()+suffixRehearsal, 63)
	}
	return &g
}

// possible finds out what would keep it from working, before the verification has taken an hour.
func (o *rehearsal) possible(b *backups) error {
	if b.settings.Target.Type == backup.PVC {
		return invalidf(`"pivt backup verify" without --rehearse checks every block without another namespace`,
			"a rehearsal runs in another namespace, and persistentvolumeclaim/%s cannot be mounted there", b.settings.Target.PVC.ClaimName)
	}
	g := o.globals(b)
	if g.namespace == b.d.Kube.Namespace() {
		return usageErrorf("--rehearsal-namespace is the network's own; its nodes would be replaced")
	}
	k, err := g.kube()
	if err != nil {
		return err
	}
	if _, err := g.material(b.s, b.in.network); err != nil {
		return err // keys must not be made anew for it
	}
	return deploy.CheckStage(context.Background(), k, b.d.Kube.Namespace())
}

// run rehearses, and removes the namespace again whatever happened.
func (o *rehearsal) run(c *cobra.Command, b *backups, flags backupFlags, key string) (err error) {
	ctx, cancel := withTimeout(c.Context(), flags.timeout)
	defer cancel()
	d, err := o.globals(b).deploymentOf(b.s, b.in)
	if err != nil {
		return err
	}
	d.Report = b.d.Report
	if err := d.OpenStage(ctx, b.d.Kube, b.settings); err != nil {
		return err
	}
	defer func() {
		if o.keep {
			fmt.Fprintf(b.s.Stderr, "namespace %s stays; remove it with: kubectl delete namespace %s\n", d.Kube.Namespace(), d.Kube.Namespace())
			return
		}
		err = d.CloseStage(ctx, err)
	}()
	if _, err := d.InstallNodes(ctx); err != nil {
		return fmt.Errorf("rehearsal in namespace %s: %w", d.Kube.Namespace(), err)
	}
	if _, err := d.RunBackup(ctx, deploy.BackupRun{Action: deploy.BackupRestore, Key: key}); err != nil {
		return fmt.Errorf("rehearsal in namespace %s: %w", d.Kube.Namespace(), err)
	}
	m, err := b.g.material(b.s, b.in.network)
	if err != nil {
		return err
	}
	if err := o.smoke(ctx, d, &check.Access{Kube: d.Kube, Network: d.Network, Material: m, Dial: b.s.Dial}); err != nil {
		return fmt.Errorf("rehearsal in namespace %s: %w", d.Kube.Namespace(), err)
	}
	return nil
}

const (
	smokeFor   = 5 * time.Minute // a chaincode may have to be launched first
	smokeTry   = 30 * time.Second
	smokePause = 2 * time.Second
)

// smoke asks every chaincode on each of its channels, without a transaction.
func (o *rehearsal) smoke(ctx context.Context, d *deploy.Deployment, a *check.Access) error {
	for _, cc := range a.Network.Chaincodes {
		for _, on := range cc.Channels {
			if !cc.Deployable() {
				continue
			}
			step := d.Report.Start(fmt.Sprintf("chaincode %s on %s", cc.Name, on.Channel.Name))
			bytes, err := askChaincode(ctx, a, cc, on, step.Update)
			if err != nil {
				step.Fail(err)
				return fmt.Errorf("chaincode %q on channel %q: %w", cc.Name, on.Channel.Name, err)
			}
			step.Done(fmt.Sprintf("answers, %s", deploy.Size(int64(bytes))))
		}
	}
	return nil
}

func askChaincode(ctx context.Context, a *check.Access, cc *network.Chaincode, on *network.ChaincodeChannel, tell func(string)) (int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, smokeFor, fmt.Errorf("no answer for %s", smokeFor))
	defer cancel()
	call := network.Call{Function: step.Metadata}
	if cc.Smoke != nil && !cc.Smoke.Invoke {
		call = *cc.Smoke
	}
	node, err := asked(cc, on)
	if err != nil {
		return 0, err
	}
	for {
		answer, err := evaluate(ctx, a, node, on.Channel.Name, cc.Name, call)
		switch {
		case err == nil:
			return len(answer), nil
		case errors.Is(err, fabric.ErrRejected) && call.Function == step.Metadata:
			return 0, nil
		case !exit.IsTransient(err) && !errors.Is(err, fabric.ErrNotRunning) && exit.CodeOf(err) != exit.TimedOut:
			return 0, err
		}
		tell(firstLine(err.Error()))
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(smokePause):
		}
	}
}

// asked is a peer that runs the chaincode.
func asked(cc *network.Chaincode, on *network.ChaincodeChannel) (*network.Node, error) {
	var without []string
	for _, o := range cc.Orgs {
		for _, of := range on.Channel.Orgs {
			if of == o && len(o.Nodes) > 0 {
				return o.Nodes[0], nil
			}
		}
		without = append(without, o.Name)
	}
	return nil, fmt.Errorf("none of its orgs has a peer on the channel: %s", strings.Join(without, ", "))
}

func evaluate(ctx context.Context, a *check.Access, node *network.Node, channel, name string, call network.Call) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, smokeTry)
	defer cancel()
	p, err := a.Peer(node, check.AsClient)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return p.Evaluate(ctx, channel, name, call.Function, call.Args...)
}
