package deploy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/few"
	"pivt.io/pivt/pkg/keeper"
	"pivt.io/pivt/pkg/kube"
)

// NotHeld refuses to touch nodes that a backup or a restore has in hand: they are stopped on
// purpose, and whoever scales them up spoils the copy or starts what is half restored.
func (d *Deployment) NotHeld(ctx context.Context) error { return d.NotHeldBut(ctx, "") }

// NotHeldBut is NotHeld for the backup of a key, which goes on with the nodes that it has in hand.
func (d *Deployment) NotHeldBut(ctx context.Context, key string) error {
	held, err := keeper.Held(ctx, d.Kube.Core(), d.Kube.Namespace())
	if err != nil {
		return kube.Explain(err)
	}
	held = slices.DeleteFunc(held, func(h keeper.Hold) bool { return key != "" && h.By == keeper.ByBackup && h.Key == key })
	if len(held) == 0 {
		return nil
	}
	var names []string
	for _, h := range held {
		names = append(names, h.Node)
	}
	h := held[0]
	return exit.WithHint(exit.With(fmt.Errorf("%s %s has nodes in hand since %s: %s; nothing was changed", h.By, h.Key, h.Since.UTC().Format(time.RFC3339), few.Names(names, 3)), exit.NotReady),
		keeper.Cures(held))
}
