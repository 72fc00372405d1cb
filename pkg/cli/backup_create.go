package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/exit"
)

type createOptions struct {
	backupFlags
	key string
	cryptoConfigFlags
}

func newBackupCreate(s *State, g *globals) *cobra.Command {
	var o createOptions
	c := &cobra.Command{
		Use:   "create",
		Short: "Save the network while it serves",
		Long: `Save every node's data, the two files and the public certificates into the repository that network.yaml
names under "backup". One node at a time of each organisation, and one orderer at a time, is stopped, copied
and started, so the network keeps serving when it has two of each. The backup is verified at once, unless
backup.verify.enabled is false, and followed by a prune if backup.keep has a number. The work is done by the Argo
workflow that "pivt render backup-flow --set backup.schedule=" prints.

Whatever happens, stopped nodes are started again: when the workflow fails, when it is terminated, and when a
node's copy takes longer than backup.maxDowntime. An interrupted backup is no backup until it is complete:
repeat the command with its --key, and nodes that are saved are not saved again.

With --crypto-config, or --passphrase-file alone for the directory of --crypto-dir, the directory of keys is
saved too, encrypted with the passphrase before it leaves this machine.

Exit status: 0 done; 1 failed, every node runs again; 2 wrong usage or files, the Secret with the credentials
is missing, nothing was begun; 3 a node is down or held, or no other one could serve meanwhile, or the cluster
lacks Argo Workflows; cure that first; 4 timed out, the workflow goes on; 130 interrupted, the workflow goes on.`,
		Example: `  # named after the time
  pivt backup create

  # named, with the keys of organisations and nodes
  pivt backup create --key before-upgrade --crypto-config crypto-config --passphrase-file passphrase.txt`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if o.key != "" {
				if err := backup.CheckKey(o.key); err != nil {
					return usageError(err)
				}
			}
			passphrase, err := o.passphrase(s)
			if err != nil {
				return err
			}
			b, err := g.backups(c.Context(), s, mayBeNew)
			if err != nil {
				return err
			}
			return o.run(c, b, passphrase)
		},
	}
	f := c.Flags()
	f.StringVar(&o.key, "key", "", "name of the backup (default the time, as 20261121-030000)")
	o.cryptoConfigFlags.addFlags(f, "save this directory of keys too, encrypted")
	o.backupFlags.addFlags(f)
	return c
}

func (o *createOptions) run(c *cobra.Command, b *backups, passphrase string) error {
	ctx := c.Context()
	began := b.s.Now()
	r := deploy.BackupRun{Action: deploy.BackupCreate, Key: o.key, Files: b.files()}
	if r.Key == "" { // chosen here, so that the run can be found again by it
		r.Key = backup.NewKey(began)
	}
	if err := b.d.NotHeldBut(ctx, r.Key); err != nil {
		return err
	}
	if passphrase != "" {
		var err error
		if r.CryptoConfig, err = b.sealTree(ctx, r.Key, o.dir(b), passphrase); err != nil {
			return err
		}
	}
	out, err := b.run(ctx, c, o.backupFlags, r)
	if r.CryptoConfig != "" && exit.CodeOf(err) != exit.Interrupted && exit.CodeOf(err) != exit.TimedOut {
		removing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if rerr := b.d.RemoveCryptoConfig(removing, r.CryptoConfig); rerr != nil && err == nil {
			err = rerr
		}
	}
	if perr := b.printCreated(ctx, out, began); perr != nil && err == nil {
		err = perr
	}
	return err
}

func (b *backups) sealTree(ctx context.Context, key, dir, passphrase string) (string, error) {
	step := b.d.Report.Start("crypto-config")
	step.Update("encrypting " + b.s.relative(dir))
	sealed, err := deploy.SealTree(dir, passphrase)
	if err != nil {
		step.Fail(err)
		return "", err
	}
	name, err := b.d.PutCryptoConfig(ctx, key, sealed)
	if err != nil {
		step.Fail(err)
		return "", err
	}
	step.Done("encrypted, " + deploy.Size(int64(len(sealed))))
	return name, nil
}

// printCreated prints what has come to be, also when something after it failed.
func (b *backups) printCreated(ctx context.Context, out deploy.BackupOutcome, began time.Time) error {
	if !out.Sealed {
		return nil
	}
	changes := []deploy.Change{{Object: "backup/" + out.Key, Verb: deploy.Created}}
	if out.Verified {
		changes = append(changes, deploy.Change{Object: "backup/" + out.Key, Verb: verified})
	}
	if b.g.output == outputName {
		changes = changes[:1]
	}
	if b.g.quiet && b.g.output != outputJSON && b.g.output != outputYAML {
		return b.g.changes(b.s.Stdout, changes)
	}
	looking, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	made, err := b.show(looking, out.Key)
	if err != nil { // the backup is there all the same
		return b.g.changes(b.s.Stdout, changes)
	}
	one := made.summary()
	if done, err := b.g.structured(b.s.Stdout, "BackupSummary", one); done || err != nil {
		return err
	}
	if err := b.g.changes(b.s.Stdout, changes); err != nil {
		return err
	}
	fmt.Fprintf(b.s.Stderr, "%s of %s, %s uploaded, in %s\n", deploy.Size(one.Bytes), count(one.Nodes, "node"), deploy.Size(one.Uploaded), seconds(b.s.Now().Sub(began)))
	if !out.Verified {
		fmt.Fprintf(b.s.Stderr, "not verified yet: pivt backup verify %s\n", out.Key)
	}
	return nil
}

// verified and restored are what else may be said of a backup, beside the verbs of deploy.
const (
	verified  = "verified"
	restored  = "restored"
	cancelled = "restore cancelled"
)

// cryptoConfigFlags choose a directory of keys that goes into a backup or comes out of one.
type cryptoConfigFlags struct {
	cryptoConfig   string
	passphraseFile string
}

func (o *cryptoConfigFlags) addFlags(f *pflag.FlagSet, what string) {
	f.StringVar(&o.cryptoConfig, "crypto-config", "", what)
	f.StringVar(&o.passphraseFile, "passphrase-file", "", "file with the passphrase of the saved directory of keys; - for standard input")
}

// dir is the directory to save: that of the flag, or where the network's keys always are.
func (o *cryptoConfigFlags) dir(b *backups) string {
	if o.cryptoConfig != "" {
		return b.s.path(o.cryptoConfig)
	}
	return b.s.path(b.g.cryptoDir)
}

// minPassphrase is no measure of quality; it catches an empty file and a forgotten one.
const minPassphrase = 8

// passphrase reads it, or is "" if no directory was asked for.
func (o *cryptoConfigFlags) passphrase(s *State) (string, error) {
	switch {
	case o.cryptoConfig == "" && o.passphraseFile == "":
		return "", nil
	case o.passphraseFile == "":
		return "", usageErrorf("--crypto-config needs --passphrase-file FILE, with the passphrase that encrypts it")
	}
	data, err := readSource(s, o.passphraseFile)
	if err != nil {
		return "", exit.With(fmt.Errorf("reading %s: %w", o.passphraseFile, pathless(err)), exit.Invalid)
	}
	return checkPassphrase(o.passphraseFile, data)
}

func checkPassphrase(file string, data []byte) (string, error) {
	text := strings.TrimRight(string(data), "\r\n")
	switch {
	case bytes.ContainsAny([]byte(text), "\r\n"):
		return "", exit.With(fmt.Errorf("%s: a passphrase is one line", file), exit.Invalid)
	case len(text) < minPassphrase:
		return "", exit.With(fmt.Errorf("%s: a passphrase has %d characters or more", file, minPassphrase), exit.Invalid)
	}
	return text, nil
}
