package repository

import (
	"context"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/maintenance"
	"github.com/kopia/kopia/snapshot/snapshotmaintenance"

	"pivt.io/pivt/pkg/exit"
)

// Maintain frees what no snapshot refers to, and rewrites indexes and half-empty packs. It is
// safe while others save, and pays for that with patience: kopia deletes nothing that is younger
// than a day, looks twice, at least four hours apart, before it forgets something, and keeps an
// hour between rewriting packs and deleting them, so it does one in one run and one in the next.
// Run it with every backup: what a deleted backup alone referred to is freed by the fourth run,
// measured with one a day.
//
// If another process maintains the repository already, nothing is done.
func (r *Repository) Maintain(ctx context.Context) error {
	return r.fail("maintaining the repository", r.maintain(ctx))
}

func (r *Repository) maintain(ctx context.Context) error {
	alone, mine, err := r.st.claim(ctx, claimMaintain, maintainTime)
	if err == nil && alone {
		err = r.maintainAlone(ctx)
	}
	if e := r.st.DeleteBlob(context.WithoutCancel(ctx), mine); err == nil {
		err = e
	}
	return err
}

func (r *Repository) maintainAlone(ctx context.Context) error {
	if err := r.refresh(ctx); err != nil {
		return err
	}
	err := repo.DirectWriteSession(ctx, r.rep, repo.WriteSessionOptions{Purpose: "maintenance"},
		func(ctx context.Context, w repo.DirectRepositoryWriter) error {
			// Forced: kopia would have only one user do it, and every one of our pods is that.
			return snapshotmaintenance.Run(ctx, w, maintenance.ModeFull, true, maintenance.SafetyFull)
		})
	if err != nil && contains(err, "clock skew") {
		return exit.WithHint(err, "set this node's clock, or the storage's: what may be deleted is a matter of age")
	}
	if err != nil {
		return err
	}
	return r.sync()
}

// tidy merges the indexes of past days, which each session adds to and every Open reads. It is
// the part of Maintain that must not wait for somebody to want space back. kopia leaves alone
// what is younger than the longest session.
func (r *Repository) tidy(ctx context.Context) error {
	return repo.DirectWriteSession(ctx, r.rep, repo.WriteSessionOptions{Purpose: "tidy"},
		func(ctx context.Context, w repo.DirectRepositoryWriter) error {
			m, ok, err := w.ContentManager().EpochManager(ctx)
			if err != nil || !ok {
				return err
			}
			for _, step := range []func(context.Context) error{
				m.MaybeCompactSingleEpoch, m.MaybeAdvanceWriteEpoch, m.MaybeGenerateRangeCheckpoint, m.CleanupMarkers, m.CleanupSupersededIndexes,
			} {
				if err := step(ctx); err != nil {
					return err
				}
			}
			return nil
		})
}
