package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// admit refuses what can be refused before anything is decrypted, deployed or stopped. The flow's
// own check sees more: how far the nodes are that run, and what certificates the namespace has.
func (o *restoreOptions) admit(b *backups, m shown, nodes []*network.Node, missing []string, accept backup.Accept) error {
	unknown := backup.Present{Identity: m.Identity} // no reason to refuse
	if err := backup.Admit(*m.Manifest, m.Verified, nodes, unknown, accept); err != nil {
		if m.Verified == nil && !accept.Has(backup.Unverified) {
			return hinted(err, "", fmt.Sprintf(`"pivt backup verify %s" proves it whole`, m.Key))
		}
		return err
	}
	switch {
	case o.cryptoConfig != "" && len(m.CryptoConfig) == 0:
		return exit.With(fmt.Errorf("backup %s was made without crypto-config; nothing was changed", m.Key), exit.Invalid)
	case o.cryptoConfig == "" && len(missing) > 0 && !accept.Has(backup.OtherNetwork):
		return o.sameKeys(b, m)
	}
	return nil
}

// fill does what was admitted and confirmed: keys, nodes, data. Decrypted keys do not stay when nothing
// was made with them, so that the same command can be repeated.
func (o *restoreOptions) fill(c *cobra.Command, b *backups, m shown, missing []string, r deploy.BackupRun, passphrase string) error {
	ctx := c.Context()
	back := func() {}
	if passphrase != "" {
		var err error
		if back, err = o.unseal(b, m, passphrase); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		made, err := o.deploy(ctx, b, m, r.Accept)
		if err != nil {
			if len(made) == 0 && exit.CodeOf(err) != exit.Interrupted {
				back()
			}
			return err
		}
	}
	out, err := b.run(ctx, c, o.backupFlags, r)
	refused := exit.CodeOf(err) == exit.NotReady
	switch {
	case refused && len(missing) > 0:
		return fmt.Errorf("%w; %s had been deployed before that, and %s", err, count(len(missing), "node"), stay(len(missing)))
	case refused, err != nil && out.Workflow == "" && len(missing) == 0 && exit.CodeOf(err) != exit.Interrupted:
		back()
	}
	return err
}

func stay(n int) string {
	if n == 1 {
		return "stays"
	}
	return "stay"
}

// unseal brings back the directory of keys, and has the rest of the command use it. The function removes
// it again.
func (o *restoreOptions) unseal(b *backups, m shown, passphrase string) (back func(), err error) {
	dir := b.s.path(o.cryptoConfig)
	_, err = os.Stat(dir)
	made := errors.Is(err, fs.ErrNotExist)
	step := b.d.Report.Start("crypto-config")
	files, err := deploy.UnsealTree(m.CryptoConfig, passphrase, dir)
	if err != nil {
		step.Fail(err)
		return nil, err
	}
	step.Done(fmt.Sprintf("%d files decrypted into %s", files, o.cryptoConfig))
	b.g.cryptoDir = o.cryptoConfig
	b.d.CryptoDir = dir
	return func() {
		step := b.d.Report.Start("crypto-config")
		if err := emptied(dir, made); err != nil {
			step.Warn(err.Error())
			return
		}
		step.Done("removed from " + o.cryptoConfig + " again")
	}, nil
}

// emptied makes a directory what it was: empty, or not there.
func emptied(dir string, whole bool) error {
	if whole {
		return os.RemoveAll(dir)
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// deploy brings up nodes that the namespace does not have, with nothing in them, and returns what it
// has changed.
func (o *restoreOptions) deploy(ctx context.Context, b *backups, m shown, accept backup.Accept) ([]deploy.Change, error) {
	if !accept.Has(backup.OtherNetwork) {
		if err := o.sameKeys(b, m); err != nil {
			return nil, err
		}
	}
	ctx, cancel := withTimeout(ctx, o.timeout)
	defer cancel()
	return b.d.InstallNodes(ctx)
}

// sameKeys refuses to deploy nodes with keys of another network, or with new ones, which comes
// to the same: the restored channels would know none of them.
func (o *restoreOptions) sameKeys(b *backups, m shown) error {
	dir := b.s.relative(b.d.CryptoDir)
	refuse := func(hint, format string, args ...any) error {
		err := fmt.Errorf("the target is not the network that was saved: "+format+"; nothing was changed", args...)
		return exit.WithHint(exit.With(err, exit.NotReady), hint+"; if another network is what you want: --accept "+string(backup.OtherNetwork))
	}
	material, err := pki.Load(b.d.CryptoDir, b.in.network)
	if err != nil {
		return refuse("name the directory of its keys with --crypto-dir, or have those decrypted that were saved with it: --crypto-config DIR --passphrase-file FILE",
			"its keys are not in %s (%s)", dir, err.Error()) // whose own hint is to make new ones
	}
	public := map[string]*pki.Public{}
	for name, org := range material.Orgs {
		public[name] = &org.Public
	}
	id, err := backup.IdentityOf(b.in.network, public)
	if err != nil {
		return err
	}
	if other := m.Identity.Differences(id); len(other) > 0 {
		return refuse("name the directory of its keys with --crypto-dir", "by the keys in %s, %s", dir, strings.Join(other, "; "))
	}
	return nil
}
