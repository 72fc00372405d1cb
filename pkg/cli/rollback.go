package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/check"
	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

type rollbackOptions struct {
	flowOptions
	yes    bool
	dryRun dryRun
}

func newChaincodeRollback(s *State, g *globals) *cobra.Command {
	var o rollbackOptions
	c := &cobra.Command{
		Use:   "rollback NAME",
		Short: "Go back to a chaincode's former definition",
		Long: `Go back to what a chaincode was on its channels before its last change: version, package, endorsement policy,
collections and whether it needs Init. Fabric never goes back, so the former definition becomes the next sequence.

The former definition is what the organisations' admins approved for the sequence before; the package is fetched
from a peer that has it. Version and image are written into network.yaml. Policy and collections are not: what the
file then still says differently is told, because the next install would bring it back. State that newer code has
written to the ledger stays.

What network.yaml cannot express is refused, with the reason; nothing is changed then.

Exit status: 0 done; 1 failed; 2 wrong usage or files, nothing to go back to, or not confirmed; 4 timed out;
130 interrupted.`,
		Example: `  # see what it would do
  pivt chaincode rollback basic --dry-run=server

  # without being asked
  pivt chaincode rollback basic --yes`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: completeNames(s, g, chaincodeNames),
		RunE: func(c *cobra.Command, a []string) error {
			if o.dryRun == dryRunClient {
				return usageErrorf("--dry-run=client: what a chaincode was before only the peers know; use --dry-run=server")
			}
			access, err := g.access(s)
			if err != nil {
				return err
			}
			return o.run(c, s, g, access, a[0])
		},
	}
	c.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	o.dryRun.addFlag(c)
	o.addFlags(c.Flags())
	return c
}

// rollback is the way back, worked out before anything is changed.
type rollback struct {
	formers []check.Former
	version string
	edit    *edit   // network.yaml with version and image
	in      *inputs // as the flow gets it: the former parameters, too
	use     []byte  // the package of a source; nil for others
}

func (o *rollbackOptions) run(c *cobra.Command, s *State, g *globals, a *check.Access, name string) error {
	cc := a.Network.Chaincode(name)
	if cc == nil {
		return usageErrorf("chaincode %q is not in the files; known: %s", name, strings.Join(chaincodeNames(a.Network), ", "))
	}
	ctx, cancel := withTimeout(c.Context(), o.timeout)
	defer cancel()
	r, err := g.planRollback(ctx, s, a, cc)
	if err != nil {
		return err
	}
	plan := r.moves(cc)
	if o.dryRun == dryRunServer {
		if err := g.printMoves(s, r.edit, plan); err != nil {
			return err
		}
		r.tellStays(g, s)
		return nil
	}
	g.tellMoves(s, plan)
	if err := confirm(s, "replaces version "+dash(r.formers[0].Now.Version)+" of chaincode "+name+" by version "+r.version, "nothing was changed", o.yes); err != nil {
		return err
	}
	d, err := g.deploymentOf(s, r.in)
	if err != nil {
		return err
	}
	if r.use != nil {
		d.Packages.Use(r.in.network.Chaincode(name), r.use)
	}
	if _, err := g.guard(ctx, s, d, []*network.Chaincode{r.in.network.Chaincode(name)}); err != nil {
		return err
	}
	written, err := g.writeEdit(s, r.edit)
	if err != nil {
		return err
	}
	if err := g.follow(ctx, c, s, d, deploy.ChaincodeFlow, []string{name}, o.flowOptions, written); err != nil {
		return err
	}
	r.tellStays(g, s)
	if r.use != nil && !g.quiet && g.output != outputJSON {
		fmt.Fprintf(s.Stderr, "%s holds newer code than version %s; bring it back too before the next install, or raise the version\n", cc.Source, r.version)
	}
	return nil
}

func (g *globals) planRollback(ctx context.Context, s *State, a *check.Access, cc *network.Chaincode) (*rollback, error) {
	formers, err := check.Formers(ctx, a, cc)
	if err != nil {
		return nil, err
	}
	r := &rollback{formers: formers, version: formers[0].Before.Version}
	for _, f := range formers {
		if f.Before.Version != r.version {
			return nil, cannot(cc, "its former versions differ: %s on channel %s, %s on channel %s, and the file has one for all", r.version, formers[0].On.Channel.Name, f.Before.Version, f.On.Channel.Name)
		}
	}
	set, err := r.code(ctx, a, cc)
	if err != nil {
		return nil, err
	}
	in, err := g.load(s)
	if err != nil {
		return nil, err
	}
	if r.edit, err = g.edit(s, in, map[string]map[string]string{cc.Name: set}); err != nil {
		return nil, err
	}
	if r.in, err = g.overlaid(s, r.edit.in, cc.Name, formers); err != nil {
		return nil, err
	}
	return r, r.verify(ctx, g, s, cc.Name)
}

// cannot is a way back that is closed.
func cannot(cc *network.Chaincode, format string, args ...any) error {
	return exit.WithHint(exit.With(fmt.Errorf("chaincode %q cannot be rolled back: %s; nothing was changed", cc.Name, fmt.Sprintf(format, args...)), exit.Invalid),
		fmt.Sprintf("write what it shall be into network.yaml and run \"pivt chaincode install %s\"", cc.Name))
}

// code finds out what to write into the file for the former package: its version, and the image
// of a package that is one.
func (r *rollback) code(ctx context.Context, a *check.Access, cc *network.Chaincode) (map[string]string, error) {
	set := map[string]string{"version": r.version}
	if cc.Service != nil && cc.Service.Image != "" && r.formers[0].Now.Version != r.version {
		return nil, cannot(cc, "pivt runs its server, and which image that had is in no package")
	}
	var pkg []byte
	id := ""
	for _, f := range r.formers {
		for _, org := range a.Network.PeerOrgs { // in the order of the file, not of a map
			if f.Packages[org] == "" {
				continue
			}
			if id != "" && f.Packages[org] != id && cc.Service == nil {
				return nil, cannot(cc, "organisations ran different packages, %s and %s", id, f.Packages[org])
			}
			if id = f.Packages[org]; pkg != nil {
				continue
			}
			var err error
			if pkg, err = check.Fetch(ctx, a, org, id); err != nil {
				return nil, err
			}
		}
	}
	if pkg == nil {
		return nil, cannot(cc, "no organisation ran it")
	}
	contents, err := chaincode.Read(pkg)
	if err != nil {
		return nil, err
	}
	isImage := contents.Image != nil
	switch {
	case isImage != (cc.Image != "") || (contents.Connection != nil) != (cc.Service != nil):
		return nil, cannot(cc, "its former package is of type %s, and network.yaml says otherwise", contents.Metadata.Type)
	case isImage:
		set["image"] = contents.Image.String()
	case cc.Source != "":
		r.use = pkg
	}
	return set, nil
}

// overlaid is the network with the former parameters of one chaincode, which the flow gets and
// the file does not.
func (g *globals) overlaid(s *State, in *inputs, name string, formers []check.Former) (*inputs, error) {
	top, _ := in.values["network"].(map[string]any)
	list, _ := top["chaincodes"].([]any)
	list = slices.Clone(list)
	cc := in.network.Chaincode(name)
	for i, item := range list {
		old, _ := item.(map[string]any)
		if old["name"] != name {
			continue
		}
		entry := map[string]any{}
		for k, v := range old {
			entry[k] = v
		}
		delete(entry, "collections") // each channel has its own now
		if !formers[0].Before.InitRequired {
			delete(entry, "init")
		}
		channels, err := formerChannels(cc, formers)
		if err != nil {
			return nil, err
		}
		entry["channels"] = channels
		list[i] = entry
	}
	data, err := yaml.Marshal(map[string]any{"network": map[string]any{"chaincodes": list}})
	if err != nil {
		return nil, fmt.Errorf("writing the former definition: %w", err)
	}
	return g.loadFrom(s, append(slices.Clone(in.sources), network.Source{Name: "former definition of " + name, Data: data}))
}

func formerChannels(cc *network.Chaincode, formers []check.Former) ([]any, error) {
	var channels []any
	for i, f := range formers {
		entry := map[string]any{"name": f.On.Channel.Name}
		var orgs []any
		for _, o := range cc.Channels[i].Orgs {
			orgs = append(orgs, o.Name)
		}
		entry["orgs"] = orgs
		policy, err := chaincode.ParsePolicy(f.Before.Policy)
		if err != nil {
			return nil, cannot(cc, "the former endorsement policy on channel %s: %v", f.On.Channel.Name, err)
		}
		if policy != "" {
			entry["policy"] = policy
		}
		collections, err := chaincode.CollectionsOf(f.Before.Collections)
		if err != nil {
			return nil, cannot(cc, "the former collections on channel %s: %v", f.On.Channel.Name, err)
		}
		var all []any
		for _, c := range collections {
			all = append(all, collectionEntry(c))
		}
		if all != nil {
			entry["collections"] = all
		}
		channels = append(channels, entry)
	}
	return channels, nil
}

// collectionEntry is a collection as the files write it.
func collectionEntry(c *network.Collection) map[string]any {
	entry := map[string]any{
		"name": c.Name, "policy": c.Policy, "requiredPeerCount": c.RequiredPeerCount, "maxPeerCount": c.MaxPeerCount,
		"blockToLive": c.BlockToLive, "memberOnlyRead": c.MemberOnlyRead, "memberOnlyWrite": c.MemberOnlyWrite,
	}
	switch {
	case strings.HasPrefix(c.EndorsementPolicy, "/"):
		entry["endorsementPolicy"] = map[string]any{"channelConfigPolicy": c.EndorsementPolicy}
	case c.EndorsementPolicy != "":
		entry["endorsementPolicy"] = map[string]any{"signaturePolicy": c.EndorsementPolicy}
	}
	return entry
}

// verify proves that what the flow gets is the former definition, and its package the former
// package: whatever the file could not express shows here.
func (r *rollback) verify(ctx context.Context, g *globals, s *State, name string) error {
	cc := r.in.network.Chaincode(name)
	if cc.Version != r.version {
		return usageErrorf("chaincode %q: a --set flag overrides its version; leave it out", name)
	}
	packages := g.packages(s)
	if r.use != nil {
		packages.Use(cc, r.use)
	}
	for i, f := range r.formers {
		wanted, err := chaincode.Wanted(cc, cc.Channels[i])
		if err != nil {
			return err
		}
		if d := f.Before.Differences(wanted); len(d) > 0 {
			return cannot(cc, "on channel %s it was defined with %s, which network.yaml cannot express or its init key lacks", f.On.Channel.Name, strings.Join(d, ", "))
		}
		for _, org := range r.in.network.PeerOrgs {
			former, ran := "", false
			for o, id := range f.Packages {
				if o.Name == org.Name && id != "" {
					former, ran = id, true
				}
			}
			if !ran || !slices.Contains(cc.Orgs, org) {
				continue
			}
			pkg, err := packages.Of(ctx, cc, org)
			if err != nil {
				return err
			}
			id, err := chaincode.ID(pkg)
			if err != nil {
				return err
			}
			if id != former {
				return cannot(cc, "%s ran package %s, and what network.yaml says makes %s", org.Name, former, id)
			}
		}
	}
	return nil
}

func (r *rollback) moves(cc *network.Chaincode) []move {
	var all []move
	for _, f := range r.formers {
		all = append(all, move{Chaincode: cc.Name, Channel: f.On.Channel.Name, From: f.Now.Version, Sequence: f.Now.Sequence,
			To: f.Before.Version, Differences: f.Before.Differences(f.Now.Parameters)})
	}
	return all
}

// tellStays names what the file still says differently.
func (r *rollback) tellStays(g *globals, s *State) {
	if g.quiet || g.output == outputJSON {
		return
	}
	name := r.formers[0].Before.Name
	cc := r.edit.in.network.Chaincode(name)
	for i, f := range r.formers {
		wanted, err := chaincode.Wanted(cc, cc.Channels[i])
		if err != nil {
			continue // the file was valid when it was loaded
		}
		if d := wanted.Differences(f.Before.Parameters); len(d) > 0 {
			fmt.Fprintf(s.Stderr, "%s still asks for %s on channel %s; the next install brings that back unless you change the file\n",
				r.edit.file, strings.Join(d, ", "), f.On.Channel.Name)
		}
	}
}
