package backuppod

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/repository"
	"pivt.io/pivt/pkg/volume"
)

// copyFlags are common to the commands of copy pods.
type copyFlags struct{ key, node string }

func (f *copyFlags) addFlags(c *cobra.Command) {
	c.Flags().StringVar(&f.key, "key", "", "the backup")
	c.Flags().StringVar(&f.node, "node", "", "the node, by the name of its StatefulSet")
	_ = c.MarkFlagRequired("node")
}

func newSave(p Process) *cobra.Command {
	var f copyFlags
	c := &cobra.Command{
		Use:     "save --node NAME --key KEY",
		Short:   "Save the volumes of a stopped node",
		Example: "  pivt-backup save --node hlf-peer--org1--peer0 --key 20261121-031500",
		Args:    cobra.NoArgs,
	}
	f.addFlags(c)
	_ = c.MarkFlagRequired("key")
	c.RunE = func(c *cobra.Command, _ []string) error {
		node, volumes, err := p.copied(f.node)
		if err != nil {
			return err
		}
		return p.withRepository(c.Context(), toWrite, func(ctx context.Context, s backup.Settings, r *repository.Repository) error {
			n, err := volume.Save(ctx, r, volume.SaveTask{
				Key: f.key, Namespace: p.Env("PIVT_NAMESPACE"), Dir: p.path(backup.VolumesDir), Volumes: volumes, Parts: s.Parts, Now: time.Now,
				Node: node, Progress: p.progress(),
			})
			if err != nil {
				return err
			}
			p.log().Info("saved", "node", f.node, "channels", n.Channels, "volumes", n.Volumes)
			// The keeper puts it into the repository, if the node was in its hand all the while.
			return p.answer(n)
		})
	}
	return c
}

func newRestore(p Process) *cobra.Command {
	var f copyFlags
	var quorum bool
	var accept []string
	c := &cobra.Command{
		Use:     "restore --node NAME --key KEY",
		Short:   "Put the data of a backup into the volumes of a stopped node, beside what is there, and swap",
		Example: "  pivt-backup restore --node hlf-orderer--orderer--orderer0 --key 20261121-031500 --quorum",
		Args:    cobra.NoArgs,
	}
	f.addFlags(c)
	c.Flags().BoolVar(&quorum, "quorum", false, "all orderers of the network are restored, so they go on from one copy")
	c.Flags().StringSliceVar(&accept, "accept", nil, "risks that were accepted")
	_ = c.MarkFlagRequired("key")
	c.RunE = func(c *cobra.Command, _ []string) error {
		risks, err := backup.ParseAccept(accept)
		if err != nil {
			return err
		}
		return p.withRepository(c.Context(), toRead, func(ctx context.Context, _ backup.Settings, r *repository.Repository) error {
			m, err := r.Manifest(ctx, f.key)
			if err != nil {
				return err
			}
			n, ok := m.Node(f.node)
			if !ok {
				return exit.With(fmt.Errorf("backup %s has no copy of %s", f.key, f.node), exit.NotReady)
			}
			task := volume.RestoreTask{Key: f.key, Node: n, Dir: p.path(backup.VolumesDir), Accept: risks, Progress: p.progress()}
			if quorum {
				task.Replace = backup.Replacements(*m, f.node)
			}
			if err := volume.Restore(ctx, r, task); err != nil {
				return err
			}
			p.log().Info("restored", "node", f.node, "key", f.key)
			return nil
		})
	}
	return c
}

func newFinish(p Process) *cobra.Command {
	return newAfter(p, "finish", "Remove what a restore moved aside", volume.Finish)
}

func newUndo(p Process) *cobra.Command {
	return newAfter(p, "undo", "Put back what a restore moved aside", volume.Undo)
}

func newAfter(p Process, verb, short string, do func(dir string) error) *cobra.Command {
	var f copyFlags
	c := &cobra.Command{
		Use:     verb + " --node NAME",
		Short:   short,
		Example: "  pivt-backup " + verb + " --node hlf-peer--org1--peer0",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := do(p.path(backup.VolumesDir)); err != nil {
				return fmt.Errorf("%s: %w", f.node, err)
			}
			p.log().Info("done", "verb", verb, "node", f.node)
			return nil
		},
	}
	f.addFlags(c)
	return c
}

// copied is what the pod is to copy: the node as its keeper knows it, and the volumes that are mounted.
func (p Process) copied(name string) (backup.Node, []string, error) {
	var n backup.Node
	data, err := os.ReadFile(filepath.Join(p.Root, "node", "node.json"))
	if err != nil {
		return n, nil, fmt.Errorf("reading which node is copied: %w", err)
	}
	if err := json.Unmarshal(data, &n); err != nil {
		return n, nil, fmt.Errorf("reading which node is copied: %w", err)
	}
	if n.Name != name {
		return n, nil, exit.With(fmt.Errorf("the pod was made for node %q and not for %q", n.Name, name), exit.Invalid)
	}
	entries, err := os.ReadDir(p.path(backup.VolumesDir))
	if err != nil {
		return n, nil, fmt.Errorf("looking for the volumes of %s: %w", name, err)
	}
	var volumes []string
	for _, e := range entries {
		volumes = append(volumes, e.Name())
	}
	return n, volumes, nil
}

// withRepository opens the repository for one use of it.
func (p Process) withRepository(ctx context.Context, u use, do func(context.Context, backup.Settings, *repository.Repository) error) error {
	s, err := p.settings()
	if err != nil {
		return err
	}
	r, err := p.open(ctx, s, u)
	if err != nil {
		return err
	}
	err = do(ctx, s, r)
	// Also after a failure or a signal, because it removes what holds credentials.
	if closed := r.Close(context.WithoutCancel(ctx)); err == nil {
		err = closed
	}
	return err
}
