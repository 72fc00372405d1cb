package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/keeper"
)

type verifyOptions struct {
	backupFlags
	rehearsal
}

func newBackupVerify(s *State, g *globals) *cobra.Command {
	var o verifyOptions
	c := &cobra.Command{
		Use:   "verify KEY",
		Short: "Prove that a backup is whole",
		Long: `Restore a backup into a scratch volume, node by node, and check every block: its hash, its place in the
chain, and the heights and hashes that were recorded. The network is not touched. A backup counts as good
only when this has succeeded; "pivt backup create" does it at its end.

With --rehearse the network is brought up beside the real one as well: its nodes in a namespace of their own,
restored from the backup, and every chaincode asked. The namespace is removed afterwards. A repository on a
PersistentVolumeClaim cannot be reached from there.

Exit status: 0 the backup is good; 1 it is not, or could not be read; 2 wrong usage or files; 3 the cluster lacks
Argo Workflows, or something that a rehearsal needs; 4 timed out; 130 interrupted, the workflow goes on.`,
		Example: `  pivt backup verify 20261121-030000

  # all the way to an answer of every chaincode
  pivt backup verify 20261121-030000 --rehearse`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			if err := backup.CheckKey(a[0]); err != nil {
				return usageError(err)
			}
			b, err := g.backups(c.Context(), s, isThere)
			if err != nil {
				return err
			}
			if o.rehearse {
				if err := o.possible(b); err != nil {
					return err
				}
			}
			_, err = b.run(c.Context(), c, o.backupFlags, deploy.BackupRun{Action: deploy.BackupVerify, Key: a[0]})
			if err != nil {
				return err
			}
			changes := []deploy.Change{{Object: "backup/" + a[0], Verb: verified}}
			if o.rehearse {
				if err = o.run(c, b, o.backupFlags, a[0]); err == nil {
					changes = append(changes, deploy.Change{Object: "backup/" + a[0], Verb: rehearsed})
				}
			}
			if perr := g.changes(s.Stdout, changes); perr != nil && err == nil {
				err = perr
			}
			return err
		},
	}
	o.rehearsal.addFlags(c.Flags())
	o.backupFlags.addFlags(c.Flags())
	return c
}

const rehearsed = "rehearsed"

func newBackupDelete(s *State, g *globals) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "delete KEY...",
		Short: "Remove backups",
		Long: `Remove backups, or interrupted attempts, from the repository, and what only they used. What other backups
use stays.

Exit status: 0 done; 1 there is no such backup, or the repository could not be changed; 2 wrong usage, or not
confirmed.`,
		Example: `  pivt backup delete 20261121-030000

  # without being asked
  pivt backup delete 20261121-030000 20261120-030000 --yes`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, keys []string) error {
			for _, key := range keys {
				if err := backup.CheckKey(key); err != nil {
					return usageError(err)
				}
			}
			b, err := g.backups(c.Context(), s, isThere)
			if err != nil {
				return err
			}
			return b.delete(c, keys, yes)
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

func (b *backups) delete(c *cobra.Command, keys []string, yes bool) error {
	ctx := c.Context()
	list, err := b.list(ctx)
	if err != nil {
		return err
	}
	lost, left := "", len(list)
	var changes []deploy.Change
	for _, key := range keys {
		one, err := find(list, key)
		if err != nil && one.Key == "" {
			return err
		}
		left--
		if lost != "" {
			lost += ", "
		}
		lost += fmt.Sprintf("%s (%s old, %s)", key, age(b.s.Now().Sub(began(one))), worth(one))
		changes = append(changes, deploy.Change{Object: "backup/" + key, Verb: deploy.Deleted})
	}
	if err := confirm(b.s, fmt.Sprintf("removes for good: %s; %d are left", lost, left), "nothing was removed", yes); err != nil {
		return err
	}
	if err := b.ask(ctx, "removal", nil, append([]string{"delete"}, keys...)...); err != nil {
		return err
	}
	b.forget(ctx, slices.DeleteFunc(list, func(one backup.Summary) bool { return slices.Contains(keys, one.Key) }))
	return b.g.changes(b.s.Stdout, changes)
}

// forget has the cluster remember only backups that are left; the pod that deletes has no right to. If
// that fails the backups are gone all the same, and a prune corrects it.
func (b *backups) forget(ctx context.Context, left []backup.Summary) {
	k := keeper.Keeper{Kube: b.d.Kube.Core(), Namespace: b.d.Kube.Namespace()}
	known, err := keeper.ReadStatus(ctx, k.Kube, k.Namespace)
	if gone := known.Outdated(left); err == nil && len(gone) > 0 {
		err = k.Record(ctx, backup.Voided(left, gone...))
	}
	if err != nil {
		b.d.Report.Start("what \"pivt status\" says of backups").Warn("may be out of date: " + err.Error())
	}
}

// worth is what a backup is worth, in words.
func worth(one backup.Summary) string {
	switch {
	case !one.Complete:
		return "an interrupted attempt"
	case one.Verified != nil:
		return "verified"
	}
	return "not verified"
}

type pruneOptions struct {
	backupFlags
	dryRun dryRun
}

func newBackupPrune(s *State, g *globals) *cobra.Command {
	var o pruneOptions
	c := &cobra.Command{
		Use:   "prune",
		Short: "Remove the backups that need not be kept",
		Long: `Remove the backups that backup.keep in the files does not keep: the newest ones stay (last), and the newest of
each of so many days, weeks and months that have one. The newest verified backup always stays, and so does an
interrupted attempt until a later backup is complete.

"pivt backup create" prunes at its end when backup.keep has a number. A dry run changes nothing; client and
server are the same, because only a pod in the network's namespace can look into the repository.

Exit status: 0 done or nothing to do; 1 failed; 2 wrong usage or files; 3 the cluster lacks Argo Workflows;
4 timed out; 130 interrupted, the workflow goes on.`,
		Example: `  # what would go
  pivt backup prune --dry-run=client

  # other numbers than the files'
  pivt backup prune --set backup.keep.daily=7 --set backup.keep.monthly=12`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			b, err := g.backups(c.Context(), s, isThere)
			if err != nil {
				return err
			}
			return o.run(c, b)
		},
	}
	o.dryRun.addFlag(c)
	c.Flags().Lookup("dry-run").Usage = dryRunAsks
	o.addFlags(c.Flags())
	return c
}

func (o *pruneOptions) run(c *cobra.Command, b *backups) error {
	keep := b.settings.Keep
	if !keep.Any() {
		return invalidf(`add to network.yaml, for example: backup: {keep: {daily: 7, weekly: 4, monthly: 12}}`, "backup.keep is not in the files: which backups stay?")
	}
	before, err := b.list(c.Context())
	if err != nil {
		return err
	}
	_, drop := keep.Split(before)
	if o.dryRun != dryRunNone {
		return b.printPrune(drop)
	}
	if len(drop) == 0 {
		if err := b.g.changes(b.s.Stdout, []deploy.Change{}); err != nil {
			return err
		}
		b.g.finish(b.s, nil, 0)
		return nil
	}
	began := b.s.Now()
	if _, err := b.run(c.Context(), c, o.backupFlags, deploy.BackupRun{Action: deploy.BackupPrune}); err != nil {
		return err
	}
	after, err := b.list(c.Context())
	if err != nil {
		return err
	}
	var changes []deploy.Change
	for _, one := range before {
		if !contains(after, one.Key) {
			changes = append(changes, deploy.Change{Object: "backup/" + one.Key, Verb: deploy.Deleted})
		}
	}
	if err := b.g.changes(b.s.Stdout, changes); err != nil {
		return err
	}
	b.g.finish(b.s, changes, b.s.Now().Sub(began))
	return nil
}

func contains(list []backup.Summary, key string) bool {
	for _, one := range list {
		if one.Key == key {
			return true
		}
	}
	return false
}

// printPrune is the result of a dry run.
func (b *backups) printPrune(drop []backup.Summary) error {
	changes := []deploy.Change{}
	for _, one := range drop {
		changes = append(changes, deploy.Change{Object: "backup/" + one.Key, Verb: "would be " + deploy.Deleted})
	}
	if err := b.g.changes(b.s.Stdout, changes); err != nil {
		return err
	}
	if len(drop) == 0 && !b.g.quiet && b.g.output != outputJSON {
		fmt.Fprintln(b.s.Stderr, "nothing would change")
	}
	return nil
}
