package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// selection is what the flags narrow the restore to; a node may be named as in its certificate.
func (o *restoreOptions) selection(n *network.Network) (backup.Selection, error) {
	sel := backup.Selection{Orgs: o.orgs}
	for _, name := range o.nodes {
		for _, node := range n.Nodes() {
			if node.CommonName == name {
				name = node.Name()
			}
		}
		sel.Nodes = append(sel.Nodes, name)
	}
	return sel, nil
}

// choose finds the backup that KEY or --at means.
func (o *restoreOptions) choose(ctx context.Context, b *backups, key string) (shown, error) {
	if key != "" {
		return b.show(ctx, key)
	}
	at, err := moment(o.at, b.s.Now())
	if err != nil {
		return shown{}, usageError(err)
	}
	list, err := b.list(ctx)
	if err != nil {
		return shown{}, err
	}
	one, ok := backup.NewestVerified(list, at)
	if !ok {
		return shown{}, exit.WithHint(exit.With(fmt.Errorf("no verified backup was finished by %s", at.UTC().Format(time.RFC3339)), exit.Failed), `"pivt backup list" shows what there is`)
	}
	return b.show(ctx, one.Key)
}

// moment reads a time, or how long ago it was.
func moment(text string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	ago := strings.TrimSuffix(strings.TrimSpace(strings.TrimSuffix(text, "ago")), " ")
	if days, ok := strings.CutSuffix(ago, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if d, err := time.ParseDuration(ago); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("--at %q: write a time as 2026-11-21T03:00:00Z, or how long ago, as 2h or 7d", text)
}

// restoredNode is a line of the result.
type restoredNode struct {
	Node     string            `json:"node"`
	Verb     string            `json:"verb"`
	Channels map[string]uint64 `json:"channels,omitempty"` // blocks, as saved
}

// print tells of each node how far it was saved, which is where it goes on from.
func (o *restoreOptions) print(b *backups, m shown, sel backup.Selection, nodes []*network.Node, verb string) error {
	resumes := m.Resumes()
	results := []restoredNode{}
	for _, n := range nodes {
		saved, ok := m.Node(n.Name())
		if !ok {
			continue
		}
		r := restoredNode{Node: n.Name(), Verb: verb, Channels: map[string]uint64{}}
		for _, c := range saved.Channels {
			r.Channels[c.Name] = c.Height
			if sel.All() && n.Org.Kind == network.Orderer {
				r.Channels[c.Name] = resumes[c.Name]
			}
		}
		results = append(results, r)
	}
	if done, err := b.g.structured(b.s.Stdout, "Restore", map[string]any{"key": m.Key, "nodes": results}); done || err != nil {
		return err
	}
	for _, r := range results {
		line := "node/" + r.Node
		if b.g.output != outputName {
			line += " " + r.Verb + heights(r.Channels)
		}
		if _, err := fmt.Fprintln(b.s.Stdout, line); err != nil {
			return err
		}
	}
	return nil
}

// heights lists channels with their blocks.
func heights(channels map[string]uint64) string {
	var parts []string
	for name, height := range channels {
		parts = append(parts, fmt.Sprintf("%s at %d", name, height))
	}
	slices.Sort(parts)
	return prefixed(": ", strings.Join(parts, ", "))
}

func risks() []string {
	var names []string
	for _, r := range backup.Risks() {
		names = append(names, string(r))
	}
	return names
}

func orgNames(n *network.Network) []string {
	var names []string
	for _, o := range n.Orgs() {
		names = append(names, o.Name)
	}
	return names
}

func nodeNames(n *network.Network) []string {
	var names []string
	for _, node := range n.Nodes() {
		names = append(names, node.Name())
	}
	return names
}
