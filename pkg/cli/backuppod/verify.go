package backuppod

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/few"
	"pivt.io/pivt/pkg/repository"
	"pivt.io/pivt/pkg/volume"
)

// verify proves a backup, or that it is not good: then nobody may go on calling it verified.
func (t *task) verify(ctx context.Context) error {
	var m *backup.Manifest
	var news backup.Status
	err := t.p.withRepository(ctx, toWrite, func(ctx context.Context, _ backup.Settings, r *repository.Repository) error {
		var damaged bool
		var err error
		m, damaged, err = t.prove(ctx, r)
		switch {
		case damaged:
			news, err = disown(ctx, r, t.key, err)
			return err
		case err != nil:
			return err
		}
		return r.Verified(ctx, t.key, time.Now().UTC())
	})
	if err != nil {
		if !exit.IsTransient(err) {
			news.LastFailure = &backup.Event{Key: t.key, Time: time.Now().UTC(), Message: err.Error()}
		}
		if news.LastFailure != nil || len(news.Void) > 0 {
			err = errors.Join(err, t.record(ctx, news))
		}
		return err
	}
	t.log.Info("verified", "nodes", len(m.Nodes), "bytes", m.Bytes())
	return t.record(ctx, backup.Status{LastVerified: &backup.Event{Key: t.key, Time: m.Finished}})
}

// prove restores a backup where nobody sees it. It tells errors that are the backup's own, damage
// that was found, from those that only kept it from looking.
func (t *task) prove(ctx context.Context, r *repository.Repository) (m *backup.Manifest, damaged bool, err error) {
	m, err = r.Manifest(ctx, t.key)
	if err != nil {
		return nil, errors.Is(err, repository.ErrDamaged) && ctx.Err() == nil, err
	}
	findings, err := volume.Verify(ctx, r, *m, t.p.path(backup.ScratchDir), t.p.progress())
	switch {
	case ctx.Err() != nil:
		return nil, false, ctx.Err() // what it seems to have found may come of that
	case len(findings) == 0:
		return m, false, err
	}
	text := few.Sentences(findings, maxFindings)
	if err != nil {
		text += fmt.Sprintf("; the rest could not be looked at: %v", err)
	}
	return nil, true, exit.WithHint(exit.With(fmt.Errorf("backup %s is not good: %s", t.key, text), exit.Failed),
		"make another one; what it shares with this one may be damaged there too")
}

// disown takes back that a damaged backup was verified, and returns what the cluster is to know. The
// error is why, unless that could not be taken back: then it is worth trying again if that is.
func disown(ctx context.Context, r *repository.Repository, key string, why error) (backup.Status, error) {
	if err := r.Unverified(ctx, key); err != nil {
		why = fmt.Errorf("%s; if it was verified before, it is still listed so: %w", why, err)
	}
	list, err := r.List(ctx)
	if err != nil {
		list = nil // the damage is where all are listed: which other one is good is not known
	}
	return backup.Voided(list, key), why
}

// maxFindings is how many of them an error spells out.
const maxFindings = 5
