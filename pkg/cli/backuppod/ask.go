package backuppod

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/repository"
)

func newList(p Process) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the backups of the repository",
		Example: "  pivt-backup list",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withRepository(c.Context(), toRead, func(ctx context.Context, _ backup.Settings, r *repository.Repository) error {
				list, err := r.List(ctx)
				if err != nil {
					return err
				}
				if list == nil {
					list = []backup.Summary{}
				}
				return p.answer(list)
			})
		},
	}
}

func newShow(p Process) *cobra.Command {
	return &cobra.Command{
		Use:     "show KEY",
		Short:   "Show a backup's manifest",
		Example: "  pivt-backup show 20261121-031500",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.withRepository(c.Context(), toRead, func(ctx context.Context, _ backup.Settings, r *repository.Repository) error {
				m, verified, err := manifest(ctx, r, args[0])
				if err != nil {
					return err
				}
				return p.answer(backup.Shown{Manifest: m, Verified: verified})
			})
		},
	}
}

func newDelete(p Process) *cobra.Command {
	return &cobra.Command{
		Use:     "delete KEY...",
		Short:   "Delete backups and free what no other one needs",
		Example: "  pivt-backup delete 20261121-031500",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.withRepository(c.Context(), toWrite, func(ctx context.Context, _ backup.Settings, r *repository.Repository) error {
				if err := r.Delete(ctx, args...); err != nil {
					return err
				}
				if err := r.Maintain(ctx); err != nil {
					// They are gone; space comes back with the next maintenance.
					p.log().Warn("maintenance failed", "error", err.Error())
				}
				return p.answer(args)
			})
		},
	}
}

// manifest is a backup's manifest and when it was verified.
func manifest(ctx context.Context, r *repository.Repository, key string) (*backup.Manifest, *time.Time, error) {
	m, err := r.Manifest(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	list, err := r.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range list {
		if s.Key == key {
			return m, s.Verified, nil
		}
	}
	return m, nil, nil
}
