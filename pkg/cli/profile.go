package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/profile"
)

// profileOptions choose what is written about an organisation, and where.
type profileOptions struct {
	dir       string
	external  string
	addresses []string
	example   string
}

const exampleGo = "go"

func newProfile(s *State, g *globals) *cobra.Command {
	var o profileOptions
	c := &cobra.Command{
		Use:   "profile ORG",
		Short: "Write a connection profile for applications of an org",
		Long: `Print the connection profile that Fabric's SDKs read: the organisation's channels with their peers and
orderers, their addresses and TLS CA certificates. It holds no private key. No cluster is needed.

Addresses are those of the Services, for applications in the network's namespace. For others, name the way
in: --external DOMAIN if every node is at <service>.DOMAIN, or --address for single nodes. The node's
certificate is then checked for the node's own name, which the profile says as ssl-target-name-override.

With --example go a client program is printed instead, which reads the profile in JSON and calls a chaincode
through Fabric Gateway.

Exit status: 0 done; 1 failed; 2 wrong usage or files.`,
		Example: `  # for an application in the network's namespace
  pivt profile Org1 > connection-org1.yaml

  # for one on this machine, through kubectl port-forward svc/hlf-peer--org1--peer0 7051
  pivt profile Org1 --address peer0=localhost:7051 -o json > connection-org1.json

  # the profile in both formats and a client program, into a directory
  pivt profile Org1 --example go -d client`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: completeNames(s, g, peerOrgNames),
		RunE: func(_ *cobra.Command, a []string) error {
			in, err := g.load(s)
			if err != nil {
				return err
			}
			return o.run(s, g, in.network, a[0])
		},
	}
	f := c.Flags()
	f.StringVarP(&o.dir, "dir", "d", "", "write connection-ORG.yaml and .json, and the example, to this directory")
	f.StringVar(&o.external, "external", "", "domain that holds the nodes' service names, DOMAIN or DOMAIN:PORT")
	f.StringArrayVar(&o.addresses, "address", nil, "address of one node, NODE=HOST:PORT; may be repeated")
	f.StringVar(&o.example, "example", "", "print a client program instead: go")
	if err := c.RegisterFlagCompletionFunc("example", cobra.FixedCompletions([]string{exampleGo}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic("unreachable: the flag was added before: " + err.Error())
	}
	return c
}

func (o *profileOptions) run(s *State, g *globals, n *network.Network, name string) error {
	org := n.Org(name)
	if org == nil || org.Kind != network.Peer {
		return usageErrorf("peer org %q is not in the files; known: %s", name, strings.Join(peerOrgNames(n), ", "))
	}
	if o.example != "" && o.example != exampleGo {
		return usageErrorf("there is no example %q; known: %s", o.example, exampleGo)
	}
	where, err := o.where(n, org)
	if err != nil {
		return err
	}
	var example []byte
	if o.example != "" {
		if example, err = profile.Example(n, org, g.cryptoDir); err != nil {
			return exit.With(err, exit.Invalid)
		}
		if o.dir == "" {
			_, err := s.Stdout.Write(example)
			return err
		}
	}
	m, err := g.material(s, n)
	if err != nil {
		return err
	}
	p, err := profile.New(n, m, org, where)
	if err != nil {
		return err
	}
	asJSON, asYAML, err := encodeProfile(p)
	if err != nil {
		return err
	}
	if o.dir != "" {
		return o.write(s, profile.FileName(org), asJSON, asYAML, example)
	}
	if g.output == outputJSON {
		_, err = s.Stdout.Write(asJSON)
		return err
	}
	_, err = s.Stdout.Write(asYAML)
	return err
}

func (o *profileOptions) where(n *network.Network, org *network.Org) (profile.Options, error) {
	if o.external != "" {
		if err := profile.CheckDomain(o.external); err != nil {
			return profile.Options{}, usageErrorf("--external %w", err)
		}
	}
	where := profile.Options{Domain: o.external, Addresses: map[string]string{}}
	for _, a := range o.addresses {
		node, address, err := profile.ParseAddress(n, org, a)
		if err != nil {
			return profile.Options{}, usageErrorf("--address %w", err)
		}
		where.Addresses[node.Name()] = address
	}
	return where, nil
}

func encodeProfile(p *profile.Profile) (asJSON, asYAML []byte, err error) {
	if asJSON, err = json.MarshalIndent(p, "", "  "); err != nil {
		return nil, nil, fmt.Errorf("printing the profile: %w", err)
	}
	if asYAML, err = yaml.Marshal(p); err != nil {
		return nil, nil, fmt.Errorf("printing the profile: %w", err)
	}
	return append(asJSON, '\n'), asYAML, nil
}

// write puts all of it into the directory and tells the names, as they may be piped.
func (o *profileOptions) write(s *State, name string, asJSON, asYAML, example []byte) error {
	files := []struct {
		name string
		data []byte
	}{{name + ".json", asJSON}, {name + ".yaml", asYAML}, {"main.go", example}}
	if err := os.MkdirAll(s.path(o.dir), 0o755); err != nil {
		return fmt.Errorf("making %s: %w", o.dir, pathless(err))
	}
	for _, f := range files {
		if f.data == nil {
			continue
		}
		file := filepath.Join(o.dir, f.name)
		if err := os.WriteFile(s.path(file), f.data, 0o644); err != nil {
			return fmt.Errorf("writing %s: %w", file, pathless(err))
		}
		fmt.Fprintf(s.Stdout, "%s created\n", file)
	}
	return nil
}

func peerOrgNames(n *network.Network) []string {
	var names []string
	for _, o := range n.PeerOrgs {
		names = append(names, o.Name)
	}
	return names
}
