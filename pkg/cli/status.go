package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/check"
	"pivt.io/pivt/pkg/exit"
)

const statusInterval = 2 * time.Second

func newStatus(s *State, g *globals) *cobra.Command {
	var wait time.Duration
	var watch bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show every node, channel and chaincode",
		Long: `Show how the network is doing: which nodes are ready, which channels have how many blocks and which
peers, which chaincodes are committed, approved by whom and installed where; how old the last verified backup
is, and what to do about nodes that a backup or a restore has stopped.

Nodes are asked through the API server's port-forward, as the organisations' first users.

Exit status: 0 all is as the files ask; 1 the cluster could not be asked; 3 something is missing; 4 it still
was when --wait had passed.`,
		Example: `  pivt status -n fabric

  # until all is there, but at most ten minutes
  pivt status --wait 10m

  # for a program
  pivt status -o json`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := g.access(s)
			if err != nil {
				return err
			}
			return g.status(c.Context(), s, a, wait, watch)
		},
	}
	c.Flags().DurationVar(&wait, "wait", 0, "wait so long for everything to be there")
	c.Flags().BoolVarP(&watch, "watch", "w", false, "print again whenever something changes, until interrupted")
	return c
}

// access gathers what commands need that talk to nodes.
func (g *globals) access(s *State) (*check.Access, error) {
	in, err := g.load(s)
	if err != nil {
		return nil, err
	}
	m, err := g.material(s, in.network)
	if err != nil {
		return nil, err
	}
	k, err := g.kube()
	if err != nil {
		return nil, err
	}
	return &check.Access{Kube: k, Network: in.network, Material: m, Dial: s.Dial}, nil
}

func (g *globals) status(ctx context.Context, s *State, a *check.Access, wait time.Duration, watch bool) error {
	deadline := s.Now().Add(wait)
	tick := time.NewTicker(statusInterval)
	defer tick.Stop()
	last := ""
	for {
		st, err := check.Collect(ctx, a)
		switch {
		case ctx.Err() != nil:
			return interruptedStatus(ctx, watch)
		case err != nil:
			return err
		}
		late := !s.Now().Before(deadline)
		if watch || st.Ready || late {
			var b strings.Builder
			if err := g.printStatus(&b, st, s.Now()); err != nil {
				return err
			}
			if b.String() != last {
				last = b.String()
				if _, err := io.WriteString(s.Stdout, last); err != nil {
					return err
				}
			}
		}
		switch {
		case watch:
		case st.Ready:
			return nil
		case late && wait > 0:
			return exit.With(errors.New("the network is still not as the files ask"), exit.TimedOut)
		case late:
			return exit.WithHint(exit.With(errors.New("the network is not as the files ask"), exit.NotReady), completing(st))
		}
		select {
		case <-ctx.Done():
			return interruptedStatus(ctx, watch)
		case <-tick.C:
		}
	}
}

// completing says what brings the network to what the files ask.
func completing(st *check.Status) string {
	for _, n := range st.Nodes {
		if n.Held != nil && !n.Ready {
			return n.Held.Cure
		}
	}
	return `run "pivt install" to complete it`
}

// interruptedStatus is the end of a status that was interrupted, which for --watch is the usual one.
func interruptedStatus(ctx context.Context, watch bool) error {
	if err := context.Cause(ctx); !watch || !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (g *globals) printStatus(w io.Writer, st *check.Status, now time.Time) error {
	if done, err := g.structured(w, "Status", st); done || err != nil {
		return err
	}
	if g.output == outputName {
		for _, n := range st.Nodes {
			fmt.Fprintln(w, "node/"+n.Name)
		}
		for _, c := range st.Channels {
			fmt.Fprintln(w, "channel/"+c.Name)
		}
		for _, c := range st.Chaincodes {
			fmt.Fprintf(w, "chaincode/%s/%s\n", c.Channel, c.Name)
		}
		return nil
	}
	var rows [][]string
	for _, n := range st.Nodes {
		rows = append(rows, []string{n.Name, n.Org, yes(n.Ready, "ready", "not ready"), dash(n.Reason)})
	}
	if err := table(w, []string{"NODE", "ORG", "STATE", "REASON"}, rows); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := g.printChannels(w, st.Channels); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := g.printChaincodes(w, st.Chaincodes); err != nil {
		return err
	}
	return printBackup(w, st, now)
}

// printBackup tells how old the last verified backup is, what went wrong since, and what to do
// about nodes that are held.
func printBackup(w io.Writer, st *check.Status, now time.Time) error {
	var lines []string
	if b := st.Backup; b != nil {
		var since time.Time
		if v := b.LastVerified; v != nil {
			since = v.Time
			lines = append(lines, fmt.Sprintf("last verified backup: %s, %s old", v.Key, age(now.Sub(v.Time))))
		} else {
			lines = append(lines, "last verified backup: none")
		}
		if l := b.Last; l != nil && l.Time.After(since) && (b.LastVerified == nil || l.Key != b.LastVerified.Key) {
			lines = append(lines, fmt.Sprintf("not verified yet: %s, %s old; \"pivt backup verify %s\"", l.Key, age(now.Sub(l.Time)), l.Key))
		}
		if f := b.LastFailure; f != nil && f.Time.After(since) {
			lines = append(lines, fmt.Sprintf("last failed backup: %s, %s ago%s", f.Key, age(now.Sub(f.Time)), prefixed(": ", firstLine(f.Message))))
		}
	}
	var cures []string
	for _, n := range st.Nodes {
		if n.Held != nil && !slices.Contains(cures, n.Held.Cure) {
			cures = append(cures, n.Held.Cure)
			lines = append(lines, fmt.Sprintf("held by %s %s since %s: %s", n.Held.By, n.Held.Key, n.Held.Since.UTC().Format(time.RFC3339), n.Held.Cure))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n%s\n", strings.Join(lines, "\n"))
	return err
}

func (g *globals) printChannels(w io.Writer, channels []check.Channel) error {
	var rows [][]string
	for _, c := range channels {
		joined := 0
		for _, p := range c.Peers {
			if p.Joined {
				joined++
			}
		}
		rows = append(rows, []string{c.Name, strconv.FormatUint(c.Height, 10), fmt.Sprintf("%d/%d", joined, len(c.Peers)), dash(c.Reason)})
	}
	return table(w, []string{"CHANNEL", "BLOCKS", "PEERS", "REASON"}, rows)
}

func (g *globals) printChaincodes(w io.Writer, chaincodes []check.Chaincode) error {
	var rows [][]string
	for _, c := range chaincodes {
		rows = append(rows, []string{c.Name, c.Channel, dash(c.Version), strconv.FormatInt(c.Sequence, 10),
			dash(strings.Join(c.Approved, ",")), strconv.Itoa(len(c.Installed)), dash(c.Reason)})
	}
	return table(w, []string{"CHAINCODE", "CHANNEL", "VERSION", "SEQUENCE", "APPROVED", "PEERS", "REASON"}, rows)
}

func yes(b bool, t, f string) string {
	if b {
		return t
	}
	return f
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
