package backuppod

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/keeper"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/repository"
	"pivt.io/pivt/pkg/step"
)

// stepFlags say what a task of the workflow is about.
type stepFlags struct {
	key, created, org, action, status string
	nodes, orgs, accept               []string
	cancel                            bool
}

func newStep(p Process) *cobra.Command {
	var f stepFlags
	verbs := map[string]func(*task, context.Context) error{
		"begin": (*task).begin, "peers": (*task).peers, "orderers": (*task).orderers, "seal": (*task).seal,
		"verify": (*task).verify, "prune": (*task).prune, "check": (*task).check, "restore": (*task).restore, "end": (*task).end,
	}
	c := &cobra.Command{
		Use:   "step VERB",
		Short: "One task of the backup flow",
		Long: `One task of the backup flow. It may be repeated at any time and goes on where it was.

Exit status: 0 done; 1 will not succeed; 2 wrong usage or files; 3 refused; 75 try again later.`,
		Example: "  pivt-backup step peers --org Org1 --created 2026-11-21T03:15:00Z",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			do, ok := verbs[args[0]]
			if !ok {
				return exit.With(fmt.Errorf("step %q does not exist", args[0]), exit.Invalid)
			}
			t, err := p.task(args[0], f)
			if err != nil {
				return err
			}
			if err := do(t, c.Context()); err != nil {
				return err
			}
			t.log.Info("step done")
			return nil
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.key, "key", "", "the backup; empty for one named after --created")
	flags.StringVar(&f.created, "created", "", "when the workflow was created, RFC 3339")
	flags.StringVar(&f.org, "org", "", "organisation whose peers are saved")
	flags.StringVar(&f.action, "action", "create", "end: what the workflow was to do")
	flags.StringVar(&f.status, "status", "", "end: what became of the workflow, in Argo's words")
	flags.StringSliceVar(&f.nodes, "node", nil, "restore: only these nodes")
	flags.StringSliceVar(&f.orgs, "only-org", nil, "restore: only nodes of these organisations")
	flags.StringSliceVar(&f.accept, "accept", nil, "restore: risks that are accepted")
	flags.BoolVar(&f.cancel, "cancel", false, "restore: put back what was there and start the nodes")
	return c
}

// task is one step under way.
type task struct {
	p        Process
	f        stepFlags
	key      string
	settings backup.Settings
	log      *slog.Logger
}

func (p Process) task(verb string, f stepFlags) (*task, error) {
	key := f.key
	if key == "" {
		created, err := time.Parse(time.RFC3339, f.created)
		if err != nil {
			return nil, exit.With(fmt.Errorf("neither --key nor --created says which backup: %w", err), exit.Invalid)
		}
		key = backup.NewKey(created)
	}
	if err := backup.CheckKey(key); err != nil {
		return nil, err
	}
	s, err := p.settings()
	if err != nil {
		return nil, err
	}
	return &task{p, f, key, s, p.log().With("step", verb, "key", key)}, nil
}

// begin makes the repository if there is none, before anything is stopped: wrong credentials and
// a key that is taken show here.
func (t *task) begin(ctx context.Context) error {
	return t.p.withRepository(ctx, toCreate, func(ctx context.Context, _ backup.Settings, r *repository.Repository) error {
		_, err := r.Manifest(ctx, t.key)
		switch {
		case err == nil:
			return exit.With(exit.WithHint(fmt.Errorf("backup %s exists; nothing was changed", t.key), "choose another key, or delete it first"), exit.Invalid)
		case !errors.Is(err, repository.ErrNotFound):
			return err
		}
		return nil
	})
}

// peers saves the peers of one organisation, one after the other.
func (t *task) peers(ctx context.Context) error {
	if !t.settings.Parts.Peers {
		return nil
	}
	return t.keep(ctx, func(k *keeper.Keeper, saved map[string]bool) error {
		o := k.Network.Org(t.f.org)
		if o == nil || o.Kind != network.Peer {
			return exit.With(fmt.Errorf("peer org %q is not in crypto-config.yaml", t.f.org), exit.Invalid)
		}
		return k.Save(ctx, t.key, o.Nodes, saved)
	})
}

// orderers saves all orderers, which are one quorum, and then the CAs.
func (t *task) orderers(ctx context.Context) error {
	return t.keep(ctx, func(k *keeper.Keeper, saved map[string]bool) error {
		if t.settings.Parts.Orderers {
			var nodes []*network.Node
			for _, o := range k.Network.OrdererOrgs {
				nodes = append(nodes, o.Nodes...)
			}
			if err := k.Save(ctx, t.key, nodes, saved); err != nil {
				return err
			}
		}
		if t.settings.Parts.CAs {
			return k.SaveCAs(ctx, t.key, saved)
		}
		return nil
	})
}

// keep runs what moves nodes, knowing which of them an earlier try has saved.
func (t *task) keep(ctx context.Context, do func(*keeper.Keeper, map[string]bool) error) error {
	k, closer, err := t.p.keeper(t.settings, t.log)
	if err != nil {
		return err
	}
	defer closer()
	return t.p.withRepository(ctx, toWrite, func(ctx context.Context, _ backup.Settings, r *repository.Repository) error {
		nodes, err := r.Nodes(ctx, t.key)
		if err != nil {
			return err
		}
		saved := map[string]bool{}
		for _, n := range nodes {
			saved[n.Name] = true
		}
		k.Put = r.PutNode
		return do(k, saved)
	})
}

// prune removes what no rule keeps.
func (t *task) prune(ctx context.Context) error {
	return t.p.withRepository(ctx, toWrite, func(ctx context.Context, s backup.Settings, r *repository.Repository) error {
		list, err := r.List(ctx)
		if err != nil {
			return err
		}
		_, drop := s.Keep.Split(list)
		// The one that was just made stays, whatever the rules say.
		drop = slices.DeleteFunc(drop, func(s backup.Summary) bool { return t.f.action == "create" && s.Key == t.key })
		keys := make([]string, len(drop))
		for i, s := range drop {
			keys[i] = s.Key
		}
		if len(keys) > 0 {
			if err := r.Delete(ctx, keys...); err != nil {
				return err
			}
		}
		t.log.Info("pruned", "removed", strings.Join(keys, " "), "left", len(list)-len(drop))
		list = slices.DeleteFunc(list, func(s backup.Summary) bool { return slices.Contains(keys, s.Key) })
		return errors.Join(t.correct(ctx, list), r.Maintain(ctx))
	})
}

// correct has the cluster forget backups that the repository does not have any more, whoever
// deleted them.
func (t *task) correct(ctx context.Context, list []backup.Summary) error {
	k, err := t.p.starter(t.settings, t.log)
	if err != nil {
		return err
	}
	known, err := keeper.ReadStatus(ctx, k.Kube, k.Namespace)
	if err != nil {
		return err
	}
	gone := known.Outdated(list)
	if len(gone) == 0 {
		return nil
	}
	return k.Record(ctx, backup.Voided(list, gone...))
}

// succeeded is Argo's word.
const succeeded = "Succeeded"

// end starts what is still held, whatever happened, and tells whoever wants to know.
func (t *task) end(ctx context.Context) error {
	k, err := t.p.starter(t.settings, t.log)
	if err != nil {
		return err
	}
	if t.f.action == "create" {
		err = k.End(ctx, t.key)
	}
	reason := ""
	if t.f.status != "" && t.f.status != succeeded {
		reason = t.reason(ctx, k)
		if t.f.action == "create" {
			event := backup.Event{Key: t.key, Time: time.Now().UTC(), Message: reason}
			err = errors.Join(err, k.Record(ctx, backup.Status{LastFailure: &event}))
		}
	}
	return errors.Join(err, t.notify(ctx, reason))
}

// keeper makes the keeper of the network in the pod's files; call the function after use.
func (p Process) keeper(s backup.Settings, log *slog.Logger) (*keeper.Keeper, func(), error) {
	observer, err := step.NewObserver(step.Env{Root: p.Root, Log: log})
	if err != nil {
		return nil, nil, err
	}
	k, err := p.starter(s, log)
	if err == nil {
		k.NetworkFile, err = os.ReadFile(filepath.Join(p.Root, "network", "network.yaml"))
	}
	if err != nil {
		observer.Close()
		return nil, nil, err
	}
	k.Network, k.Nodes = observer.Network(), observer
	return k, observer.Close, nil
}

// starter is a keeper that can start what is held and write things down; it sees no nodes.
func (p Process) starter(s backup.Settings, log *slog.Logger) (*keeper.Keeper, error) {
	client, objects, err := p.Cluster()
	if err != nil {
		return nil, fmt.Errorf("finding the API server: %w", err)
	}
	return &keeper.Keeper{Kube: client, Dynamic: objects, Namespace: p.Env("PIVT_NAMESPACE"), Settings: s,
		Pod: p.Env("PIVT_POD_NAME"), Workflow: p.Env("PIVT_WORKFLOW"), Log: log}, nil
}
