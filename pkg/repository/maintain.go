package repository

import (
	"context"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/maintenance"
	"github.com/kopia/kopia/snapshot/snapshotmaintenance"
)

// Maintain frees what no snapshot refers to, and rewrites indexes and half-empty packs. It is
// safe while others save, and pays for that with patience: kopia deletes nothing that is younger
// than a day, looks twice, at least four hours apart, before it forgets something, and keeps an
// hour between rewriting packs and deleting them, so it does one in one run and one in the next.
// Run it with every backup: what a deleted backup alone referred to is freed by the fourth run,
// measured with one a day.
func (r *Repository) Maintain(ctx context.Context) error {
	return r.fail("maintaining the repository", r.maintain(ctx, maintenance.SafetyFull))
}

func (r *Repository) maintain(ctx context.Context, safety maintenance.SafetyParameters) error {
	if err := r.refresh(ctx); err != nil {
		return err
	}
	err := repo.DirectWriteSession(ctx, r.rep, repo.WriteSessionOptions{Purpose: "maintenance"},
		func(ctx context.Context, w repo.DirectRepositoryWriter) error {
			// Forced: kopia would have only one user do it, and every one of our pods is that.
			return snapshotmaintenance.Run(ctx, w, maintenance.ModeFull, true, safety)
		})
	if err != nil {
		return damage(err)
	}
	if r.disk == "" {
		return nil
	}
	return syncDisk(r.disk)
}
