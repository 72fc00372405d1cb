package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/network"
)

type restoreOptions struct {
	backupFlags
	cryptoConfigFlags
	at     string
	orgs   []string
	nodes  []string
	accept []string
	cancel bool
	yes    bool
	dryRun dryRun
}

// dryRunAsks is the help of --dry-run where only the repository knows what would change.
const dryRunAsks = "say what would change, and change nothing: for client and server alike a pod looks into the repository"

func newRestore(s *State, g *globals) *cobra.Command {
	var o restoreOptions
	c := &cobra.Command{
		Use:   "restore [KEY]",
		Short: "Put a backup in place of the nodes' data",
		Long: `Stop the nodes, put the saved data in place of theirs, and start them. Nodes that the namespace does not have
are deployed first, so an empty namespace, or another cluster with the same files and keys, becomes the network
that was saved. With --org or --node only these are restored, and catch up from the others.

Instead of KEY, --at names a moment: the newest verified backup that was finished by then is taken.

A restore refuses what it was not told to accept: a backup that nobody has verified (unverified), a target that
is not the network which was saved (other-network), nodes that have newer data (newer-data), a backup without
some of the nodes (missing-parts), and removing the old data before the new are there where there is no room for
both (overwrite).

The former data stay beside the new until every node serves again. A restore that fails leaves the nodes stopped,
because they may be half restored: repeat the command to go on, or give --cancel to put back what was there.

With --crypto-config the keys that were saved with the backup are decrypted into a new directory first. They
are removed again if the restore is refused and no node has been deployed with them.

Exit status: 0 done; 1 failed; 2 wrong usage or files, or not confirmed, nothing was changed; 3 refused; the
message says if nodes are stopped and what to do; 4 timed out; 130 interrupted, the workflow goes on.`,
		Example: `  # everything, as it was
  pivt restore 20261121-030000

  # the newest verified backup of two hours ago, in a script
  pivt restore --at 2h --accept newer-data --yes

  # one peer, while the others serve
  pivt restore 20261121-030000 --node hlf-peer--org1--peer0

  # on a new machine, into another cluster, keys and all
  pivt restore 20261121-030000 --context other --crypto-config crypto-config --passphrase-file passphrase.txt`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			if err := o.check(a, s.Now()); err != nil {
				return err
			}
			key := ""
			if len(a) == 1 {
				key = a[0]
			}
			return o.run(c, s, g, key)
		},
	}
	f := c.Flags()
	f.StringVar(&o.at, "at", "", "instead of KEY: a time (2026-11-21T03:00:00Z) or how long ago (2h, 7d)")
	f.StringSliceVar(&o.orgs, "org", nil, "only nodes of this organisation; may be repeated")
	f.StringSliceVar(&o.nodes, "node", nil, "only this node; may be repeated")
	f.StringSliceVar(&o.accept, "accept", nil, "what would be refused: "+strings.Join(risks(), ", "))
	f.BoolVar(&o.cancel, "cancel", false, "put back what a restore that failed has replaced, and start the nodes")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	o.dryRun.addFlag(c)
	f.Lookup("dry-run").Usage = dryRunAsks
	o.cryptoConfigFlags.addFlags(f, "decrypt the saved keys into this directory first, which must be empty or new")
	o.backupFlags.addFlags(f)
	completeFlag(c, s, g, "org", orgNames)
	completeFlag(c, s, g, "node", nodeNames)
	if err := c.RegisterFlagCompletionFunc("accept", cobra.FixedCompletions(risks(), cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic("unreachable: the flag was added before: " + err.Error())
	}
	return c
}

// check finds what is wrong with the command line alone.
func (o *restoreOptions) check(a []string, now time.Time) error {
	switch {
	case len(a) == 0 && o.at == "":
		return usageErrorf("which backup? give its KEY, or a time with --at; \"pivt backup list\" shows the keys")
	case len(a) == 1 && o.at != "":
		return usageErrorf("KEY and --at exclude each other")
	case len(a) == 1:
		if err := backup.CheckKey(a[0]); err != nil {
			return usageError(err)
		}
	case o.cancel:
		return usageErrorf("--cancel needs the KEY of the restore that is to be taken back")
	default:
		if _, err := moment(o.at, now); err != nil {
			return usageError(err)
		}
	}
	if o.cancel && (len(o.orgs)+len(o.nodes)+len(o.accept) > 0 || o.cryptoConfig != "") {
		return usageErrorf("a restore is taken back as a whole: leave --org, --node, --accept and --crypto-config out")
	}
	if o.passphraseFile != "" && o.cryptoConfig == "" {
		return usageErrorf("--passphrase-file needs --crypto-config DIR, where the decrypted keys go")
	}
	_, err := backup.ParseAccept(o.accept)
	return usageError(err)
}

func (o *restoreOptions) run(c *cobra.Command, s *State, g *globals, key string) error {
	ctx := c.Context()
	accept, err := backup.ParseAccept(o.accept)
	if err != nil {
		return err
	}
	passphrase, err := o.passphrase(s)
	if err != nil {
		return err
	}
	b, err := g.backups(ctx, s, isThere)
	if err != nil {
		return err
	}
	if o.cancel {
		return o.takeBack(c, b, key)
	}
	selection, err := o.selection(b.in.network)
	if err != nil {
		return usageError(err)
	}
	nodes, err := selection.Of(b.in.network)
	if err != nil {
		return usageError(err)
	}
	m, err := o.choose(ctx, b, key)
	if err != nil {
		return err
	}
	missing, err := b.d.Missing(ctx)
	if err != nil {
		return err
	}
	if err := o.admit(b, m, nodes, missing, accept); err != nil {
		return err
	}
	if o.dryRun != dryRunNone {
		return o.print(b, m, selection, nodes, "would be restored")
	}
	if err := confirm(s, o.lost(b, m.summary(), nodes, missing), "nothing was changed", o.yes); err != nil {
		return err
	}
	began := s.Now()
	if err := o.fill(c, b, m, missing, deploy.BackupRun{Action: deploy.BackupRestore, Key: m.Key, Selection: selection, Accept: accept}, passphrase); err != nil {
		return err
	}
	if err := o.print(b, m, selection, nodes, restored); err != nil {
		return err
	}
	if !g.quiet && g.output != outputJSON {
		fmt.Fprintf(s.Stderr, "done in %s; the network goes on from there\n", seconds(s.Now().Sub(began)))
	}
	return nil
}

// lost says what a restore does to what is there.
func (o *restoreOptions) lost(b *backups, one backup.Summary, nodes []*network.Node, missing []string) string {
	there := 0
	for _, n := range nodes {
		if !slices.Contains(missing, n.Name()) {
			there++
		}
	}
	text := fmt.Sprintf("stops %s in namespace %s and replaces their data by backup %s, which is %s old (%s)",
		count(there, "node"), b.d.Kube.Namespace(), one.Key, age(b.s.Now().Sub(began(one))), worth(one))
	if there == 0 {
		text = fmt.Sprintf("deploys %s into namespace %s with the data of backup %s, which is %s old (%s)",
			count(len(nodes), "node"), b.d.Kube.Namespace(), one.Key, age(b.s.Now().Sub(began(one))), worth(one))
	} else if len(missing) > 0 {
		text += fmt.Sprintf("; %s that the namespace lacks are deployed first", count(len(missing), "node"))
	}
	if there > 0 {
		text += "; transactions made since then are lost, unless nodes that stay have them"
	}
	return text
}

// takeBack undoes a restore that failed.
func (o *restoreOptions) takeBack(c *cobra.Command, b *backups, key string) error {
	does := fmt.Sprintf("puts back what the restore of backup %s has replaced in namespace %s, and starts the nodes", key, b.d.Kube.Namespace())
	if err := confirm(b.s, does, "nothing was changed", o.yes); err != nil {
		return err
	}
	if _, err := b.run(c.Context(), c, o.backupFlags, deploy.BackupRun{Action: deploy.BackupRestore, Key: key, Cancel: true}); err != nil {
		return err
	}
	return b.g.changes(b.s.Stdout, []deploy.Change{{Object: "backup/" + key, Verb: cancelled}})
}
