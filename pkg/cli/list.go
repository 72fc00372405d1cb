package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/check"
)

func newChaincodeList(s *State, g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List chaincodes per channel: version, package, who lags",
		Long: `List chaincodes as the channels know them: committed version and sequence, the package, and how many of the
channel's organisations have approved it and installed it on all their peers. With -o wide there is a line for
each organisation that says what it still has to do. Chaincodes that a channel has and the files do not are
listed, too.

Organisations are asked as their admins, through the API server's port-forward.

Exit status: 0 done; 1 the cluster could not be asked; 2 wrong usage or files.`,
		Example: `  pivt chaincode list

  # organisation by organisation
  pivt chaincode list -o wide

  # the package id that runs
  pivt chaincode list -o json | jq -r '.data[] | select(.name=="basic").package'`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := g.access(s)
			if err != nil {
				return err
			}
			list, err := check.List(c.Context(), a)
			if err != nil {
				return err
			}
			return g.printDeployed(s.Stdout, list)
		},
	}
}

func (g *globals) printDeployed(w io.Writer, list []check.Deployed) error {
	if done, err := g.structured(w, "ChaincodeList", list); done || err != nil {
		return err
	}
	switch g.output {
	case outputName:
		for _, d := range list {
			fmt.Fprintf(w, "chaincode/%s/%s\n", d.Channel, d.Name)
		}
		return nil
	case outputWide:
		return printDeployedOrgs(w, list)
	}
	var rows [][]string
	for _, d := range list {
		uptodate := 0
		for _, o := range d.Orgs {
			if o.Lags == "" {
				uptodate++
			}
		}
		rows = append(rows, []string{d.Name, d.Channel, dash(d.Version), strconv.FormatInt(d.Sequence, 10), packageColumn(d),
			fmt.Sprintf("%d/%d", uptodate, len(d.Orgs)), dash(d.Reason)})
	}
	return table(w, []string{"CHAINCODE", "CHANNEL", "VERSION", "SEQUENCE", "PACKAGE", "ORGS", "REASON"}, rows)
}

// packageColumn is the hash alone: the label repeats name and version.
func packageColumn(d check.Deployed) string {
	if d.Package == "" {
		for _, o := range d.Orgs {
			if o.Package != "" {
				return "differs" // each organisation has its own server
			}
		}
		return "-"
	}
	_, hash, _ := strings.Cut(check.ShortPackage(d.Package), ":")
	return hash
}

func printDeployedOrgs(w io.Writer, list []check.Deployed) error {
	var rows [][]string
	for _, d := range list {
		if len(d.Orgs) == 0 {
			rows = append(rows, []string{d.Name, d.Channel, dash(d.Version), strconv.FormatInt(d.Sequence, 10), "-", "-", "-", "-", dash(d.Reason)})
		}
		for _, o := range d.Orgs {
			rows = append(rows, []string{d.Name, d.Channel, dash(d.Version), strconv.FormatInt(d.Sequence, 10), o.Name,
				yes(o.Approved, "yes", "no"), fmt.Sprintf("%d/%d", len(o.Installed), o.Peers), dash(check.ShortPackage(o.Package)), dash(o.Lags)})
		}
	}
	return table(w, []string{"CHAINCODE", "CHANNEL", "VERSION", "SEQUENCE", "ORG", "APPROVED", "INSTALLED", "PACKAGE", "LAGS"}, rows)
}
