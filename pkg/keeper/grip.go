package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"

	"pivt.io/pivt/pkg/exit"
)

// errLost says that a node was taken out of our hands. What was made of it since then is
// worth nothing, and the next attempt may be luckier.
var errLost = errors.New("the node was taken away")

// errOther says that another run of the same backup or restore goes on with the node, and with the
// pods that were made for it.
var errOther = fmt.Errorf("%w by another run", errLost)

// grip is a node in our hand.
type grip struct {
	k          *Keeper
	t          target
	log        *slog.Logger
	hold       Hold
	resumed    bool // an earlier run of the same backup had it already
	uid        types.UID
	generation int64 // of the StatefulSet since it was stopped
}

// claim takes a node that nobody has, or that an earlier run of ours has. Nothing is stopped. note, which may be
// nil, adds to the hold.
func (k *Keeper) claim(ctx context.Context, t target, by By, key string, note func(*Hold)) (*grip, error) {
	g := &grip{k: k, t: t, log: k.Log.With(t.Kind, t.Name)}
	set, err := k.change(ctx, t.Name, func(set *appsv1.StatefulSet, now *Hold) (*edit, error) {
		switch {
		case now == nil:
			g.hold = Hold{By: by, Key: key, Stage: Claimed, Token: random(), Since: k.Now().UTC()}
		case now.By != by || now.Key != key:
			return nil, taken(*now)
		case now.Holder == k.identity:
			g.hold = *now
			return nil, nil
		default:
			g.hold, g.resumed = *now, true
			if now.Stage == Stopped && replicas(set) > 0 {
				// Somebody scaled it up: what was copied meanwhile must not count.
				g.hold.Stage, g.hold.Token = Claimed, random()
			}
		}
		g.hold.Node, g.hold.Workflow, g.hold.Holder, g.hold.Beat = t.Name, k.Workflow, k.identity, k.Now().UTC()
		if note != nil {
			note(&g.hold)
		}
		hold := g.hold
		return &edit{hold: &hold, replicas: replicas(set)}, nil
	})
	if err != nil {
		return nil, err
	}
	g.uid, g.generation = set.UID, set.Generation
	if g.resumed {
		g.log.Info("going on with a node that an earlier run held", "stage", g.hold.Stage, "since", g.hold.Since)
	}
	return g, nil
}

// taken is the error of a node that somebody else has.
func taken(h Hold) error {
	err := errors.New(h.String())
	if h.By == ByBackup {
		return exit.Transient(exit.WithHint(err, h.Cure()))
	}
	return exit.With(exit.WithHint(err, h.Cure()), exit.NotReady)
}

// stop scales the node to zero.
func (g *grip) stop(ctx context.Context) error {
	set, err := g.k.change(ctx, g.t.Name, func(set *appsv1.StatefulSet, now *Hold) (*edit, error) {
		if err := g.mine(set, now); err != nil {
			return nil, err
		}
		if now.Stage == Stopped && replicas(set) == 0 {
			g.hold = *now // the answer was lost, or a restore goes on
			return nil, nil
		}
		g.hold.Stage, g.hold.Since, g.hold.Beat = Stopped, g.k.Now().UTC(), g.k.Now().UTC()
		hold := g.hold
		return &edit{hold: &hold}, nil
	})
	if err != nil {
		return err
	}
	g.generation = set.Generation
	return nil
}

// mine is nil if the hold is still this one, whatever the scale.
func (g *grip) mine(set *appsv1.StatefulSet, now *Hold) error {
	switch {
	case set.UID != g.uid:
		return g.lost(errLost, "its StatefulSet was made anew")
	case now == nil:
		return g.lost(errLost, "somebody let it go")
	case now.By == g.hold.By && now.Key == g.hold.Key && now.Holder != g.hold.Holder:
		return g.lost(errOther, now.Holder)
	case now.Token != g.hold.Token:
		return g.lost(errLost, "now "+now.String())
	}
	return nil
}

// unbroken is nil if the node has not been started since it was stopped.
func (g *grip) unbroken(set *appsv1.StatefulSet, now *Hold) error {
	if err := g.mine(set, now); err != nil {
		return err
	}
	if replicas(set) > 0 || set.Generation != g.generation {
		return g.lost(errLost, "somebody changed its StatefulSet meanwhile, as an install does")
	}
	return nil
}

func (g *grip) lost(kind error, why string) error {
	return exit.Transient(fmt.Errorf("%s: %w: %s", g.t.Name, kind, why))
}

// check asks whether the hold is unbroken.
func (g *grip) check(ctx context.Context) error {
	_, err := g.k.change(ctx, g.t.Name, func(set *appsv1.StatefulSet, now *Hold) (*edit, error) {
		return nil, g.unbroken(set, now)
	})
	return err
}

// keep shows that we are alive until end is called. The context that it returns ends, with
// the reason as its cause, when the hold is broken, or the node has been down for longer than
// the limit if there is one.
func (g *grip) keep(ctx context.Context, limit time.Duration) (held context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	over := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		beat := time.NewTicker(g.k.times.beat)
		defer beat.Stop()
		var late <-chan time.Time
		if limit > 0 {
			alarm := time.NewTimer(g.hold.Since.Add(limit).Sub(g.k.Now()))
			defer alarm.Stop()
			late = alarm.C
		}
		for {
			select {
			case <-over:
				return
			case <-ctx.Done():
				return
			case <-late:
				cancel(g.tooLong(limit))
				return
			case <-beat.C:
			}
			if err := g.beat(ctx); errors.Is(err, errLost) {
				cancel(err)
				return
			}
		}
	}()
	return ctx, func() { close(over); cancel(context.Canceled); <-done }
}

// beat shows once that we are alive. Not being able to is no reason to give up: if it lasts, the guard
// starts the node, and then the hold is broken.
func (g *grip) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, g.k.times.silence)
	defer cancel()
	_, err := g.k.change(ctx, g.t.Name, func(set *appsv1.StatefulSet, now *Hold) (*edit, error) {
		if err := g.unbroken(set, now); err != nil {
			return nil, err
		}
		hold := *now
		hold.Beat = g.k.Now().UTC()
		return &edit{hold: &hold, replicas: replicas(set)}, nil
	})
	return err
}

func (g *grip) tooLong(limit time.Duration) error {
	return exit.With(exit.WithHint(fmt.Errorf("%s: its copy took longer than backup.maxDowntime (%s); the node was started, the copy does not count", g.t.Name, limit),
		"what was uploaded is kept, so a repeated backup takes less; else raise backup.maxDowntime, or set backup.snapshotClass"), exit.TimedOut)
}

// release starts the node and lets it go, even if ctx is over. What others made of it is not touched.
func (g *grip) release(ctx context.Context) error { return g.releaseAs(ctx, "") }

// releaseAs also notes what was done to the node.
func (g *grip) releaseAs(ctx context.Context, restored string) error {
	if ctx.Err() != nil {
		var cancel func()
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), g.k.times.parting)
		defer cancel()
	}
	_, err := g.k.change(ctx, g.t.Name, func(set *appsv1.StatefulSet, now *Hold) (*edit, error) {
		if g.mine(set, now) == nil {
			scale := int32(1)
			if now.Stage == Claimed {
				scale = replicas(set)
			}
			return &edit{replicas: scale, restored: restored}, nil
		}
		if set.UID == g.uid && now == nil && replicas(set) == 0 && set.Generation == g.generation {
			return &edit{replicas: 1, restored: restored}, nil // somebody removed the annotation, and nothing else
		}
		return nil, nil
	})
	if err != nil && g.hold.By == ByBackup {
		return exit.WithHint(fmt.Errorf("starting %s again: %w", g.t.Name, err), fmt.Sprintf("the guard of the backup starts it; or: kubectl scale statefulset %s --replicas=1", g.t.Name))
	}
	return err
}
