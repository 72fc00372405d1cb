package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/network"
)

func newBackupList(s *State, g *globals) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List backups, newest first",
		Long: `List the backups of the repository, newest first: how many nodes, how large when restored, how much was new
to the repository, and whether it has been verified.

An interrupted attempt is no backup; it is listed with --all. A pod in the network's namespace looks into the
repository, so credentials stay in the cluster.

Exit status: 0 done; 1 the repository could not be asked; 2 wrong usage or files.`,
		Example: `  pivt backup list

  # the newest verified one
  pivt backup list -o json | jq -r '[.data[] | select(.verified)][0].key'`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			b, err := g.backups(c.Context(), s, isThere)
			if err != nil {
				return err
			}
			list, err := b.list(c.Context())
			if err != nil {
				return err
			}
			if !all {
				list = slices.DeleteFunc(list, func(one backup.Summary) bool { return !one.Complete })
			}
			return g.printBackups(s, list)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "interrupted attempts, too")
	return c
}

func (g *globals) printBackups(s *State, list []backup.Summary) error {
	if list == nil {
		list = []backup.Summary{}
	}
	if done, err := g.structured(s.Stdout, "BackupList", list); done || err != nil {
		return err
	}
	if g.output == outputName {
		for _, b := range list {
			fmt.Fprintln(s.Stdout, "backup/"+b.Key)
		}
		return nil
	}
	var rows [][]string
	for _, b := range list {
		verified := "no"
		switch {
		case !b.Complete:
			verified = "incomplete"
		case b.Verified != nil:
			verified = "yes"
		}
		rows = append(rows, []string{b.Key, age(s.Now().Sub(began(b))), strconv.Itoa(b.Nodes), deploy.Size(b.Bytes), deploy.Size(b.Uploaded), verified})
	}
	return table(s.Stdout, []string{"KEY", "AGE", "NODES", "SIZE", "UPLOADED", "VERIFIED"}, rows)
}

// began is when a backup's state is from; an interrupted attempt has no end.
func began(b backup.Summary) time.Time {
	if b.Finished.IsZero() {
		return b.Started
	}
	return b.Finished
}

// age is a duration as kubectl's tables have it.
func age(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

func newBackupShow(s *State, g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "show KEY",
		Short: "Show what a backup holds",
		Long: `Show a backup's manifest: of each node when it was copied, its volumes with their sizes, and how far it
was with each channel, with the hash of the last block. With -o json or yaml the whole manifest is printed, the
input files among it.

Exit status: 0 done; 1 there is no such backup, or the repository could not be asked; 2 wrong usage or files.`,
		Example: `  pivt backup show 20261121-030000

  # the network.yaml that was saved
  pivt backup show 20261121-030000 -o json | jq -r '.data.files["network.yaml"]'`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			b, err := g.backups(c.Context(), s, isThere)
			if err != nil {
				return err
			}
			m, err := b.show(c.Context(), a[0])
			if err != nil {
				return err
			}
			if done, err := g.structured(s.Stdout, "Backup", m); done || err != nil {
				return err
			}
			if g.output == outputName {
				_, err := fmt.Fprintln(s.Stdout, "backup/"+m.Key)
				return err
			}
			return printManifest(s.Stdout, m)
		},
	}
}

func printManifest(w io.Writer, m shown) error {
	fmt.Fprintf(w, "backup/%s of namespace %s, Fabric %s\n", m.Key, m.Namespace, m.Fabric)
	fmt.Fprintf(w, "from %s to %s, %s, %s uploaded\n", m.Started.UTC().Format(time.RFC3339), m.Finished.UTC().Format(time.RFC3339), deploy.Size(m.Bytes()), deploy.Size(m.Uploaded()))
	fmt.Fprintf(w, "holds %s\n", strings.Join(holds(m.Manifest), ", "))
	if m.Verified != nil {
		fmt.Fprintf(w, "verified at %s\n\n", m.Verified.UTC().Format(time.RFC3339))
	} else {
		fmt.Fprint(w, "not verified\n\n")
	}
	var volumes, channels [][]string
	for _, n := range m.Nodes {
		for _, v := range n.Volumes {
			volumes = append(volumes, []string{n.Name, v.Name, strconv.Itoa(v.Files), deploy.Size(v.Bytes), deploy.Size(v.Uploaded)})
		}
		for _, c := range n.Channels {
			channels = append(channels, []string{n.Name, c.Name, strconv.FormatUint(c.Height, 10), short(c.Hash)})
		}
	}
	if err := table(w, []string{"NODE", "VOLUME", "FILES", "SIZE", "UPLOADED"}, volumes); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := table(w, []string{"NODE", "CHANNEL", "BLOCKS", "LAST-HASH"}, channels); err != nil {
		return err
	}
	resumes := m.Resumes()
	if len(resumes) > 0 {
		fmt.Fprintln(w)
	}
	for _, channel := range slices.Sorted(maps.Keys(resumes)) {
		fmt.Fprintf(w, "a restore of all nodes takes channel %s back to %d blocks\n", channel, resumes[channel])
	}
	return nil
}

// holds lists the parts that a backup has, in words.
func holds(m *backup.Manifest) []string {
	var parts []string
	kinds := map[string]bool{}
	state := false
	for _, n := range m.Nodes { // what was asked for may not have been there: CAs, mostly
		kinds[n.Kind] = true
		state = state || n.WithState
	}
	peers := kinds[string(network.Peer)]
	for _, p := range []struct {
		there bool
		name  string
	}{
		{peers, "peers"}, {state, "state databases"}, {peers && m.Parts.Chaincodes, "chaincode packages"},
		{peers && m.Parts.Transient, "transient data"}, {kinds[string(network.Orderer)], "orderers"}, {kinds["ca"], "CAs"},
		{len(m.Files) > 0, "input files"}, {len(m.MSPs) > 0, "public MSPs"}, {len(m.CryptoConfig) > 0, "crypto-config (encrypted)"},
	} {
		if p.there {
			parts = append(parts, p.name)
		}
	}
	return parts
}

// short is as much of a hash as tells two apart.
func short(hash string) string {
	const digits = 12
	if len(hash) <= digits {
		return hash
	}
	return hash[:digits]
}
