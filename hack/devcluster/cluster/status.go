package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"pivt.io/pivt/hack/devcluster/recipe"
)

// ErrNotUp marks a cluster that does not run, or not all of it.
var ErrNotUp = errors.New("the cluster is not up")

// statusLimit forgives a busy machine a late answer.
const statusLimit = 10 * time.Second

// completeFile exists once a cluster has been up.
func (l Layout) completeFile() string { return l.state("complete") }

// whole says why the cluster cannot be used any more: it never was complete, or a component has ended.
func (c *Cluster) whole() error {
	if _, err := os.Stat(c.completeFile()); err != nil {
		return errors.New("it was never complete")
	}
	return c.dead()
}

// healthy says what is wrong with the cluster, nil as soon as nothing is.
func (c *Cluster) healthy(ctx context.Context, limit time.Duration) error {
	if err := c.whole(); err != nil {
		return err
	}
	server, err := c.api()
	if err != nil {
		return err
	}
	return wait(ctx, limit, c.dead, func(ctx context.Context) error {
		if err := server.ready(ctx); err != nil {
			return err
		}
		if err := server.nodeReady(ctx); err != nil {
			return err
		}
		for _, d := range deployments {
			if err := server.available(ctx, d); err != nil {
				return err
			}
		}
		return nil
	})
}

// Status prints every component and what is wrong.
func (c *Cluster) Status(ctx context.Context) error {
	if !c.claimed() {
		return fmt.Errorf("%w: there is nothing in %s", ErrNotUp, c.State)
	}
	records, err := c.ledger().Records()
	if err != nil {
		return fmt.Errorf("reading the list of processes: %w", err)
	}
	c.say("%-25s %-8s %s", "COMPONENT", "PID", "STATE")
	for _, r := range records {
		state := "running"
		if !r.Running() {
			state = "ended, log: " + c.log(r.Name)
		}
		c.say("%-25s %-8d %s", r.Name, r.PID, state)
	}
	if err := c.healthy(ctx, statusLimit); err != nil {
		return fmt.Errorf("%w: %w", ErrNotUp, err)
	}
	c.say("%-25s %-8s %s", "node and deployments", "-", "ready")
	return nil
}

// programs are the commands for users, by part.
var programs = map[string][]string{
	"kubernetes":   {"kubectl"},
	"argo":         {"argo"},
	"helm":         {"helm"},
	"versitygw":    {"versitygw"},
	"fabric-3.1.1": {"peer", "orderer", "osnadmin", "configtxgen", "cryptogen"},
}

// link puts the programs for users into one directory. A link is replaced in one step: somebody may be running the old one.
func (c *Cluster) link(parts map[string]recipe.Built) error {
	for part, names := range programs {
		for _, name := range names {
			if err := replaceLink(parts[part].Bin(name), c.Bin(), name); err != nil {
				return fmt.Errorf("linking %s: %w", name, err)
			}
		}
	}
	return nil
}
