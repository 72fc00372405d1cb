package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/depot"
	"pivt.io/pivt/pkg/network"
)

// packageFile is a package that was written or pushed. Its JSON is documented.
type packageFile struct {
	Chaincode string `json:"chaincode"`
	Label     string `json:"label"`
	ID        string `json:"id"`
	// Org is set where organisations' packages differ: a server of their own is in theirs.
	Org   string `json:"org,omitempty"`
	File  string `json:"file,omitempty"`
	Ref   string `json:"ref,omitempty"` // oci://…@sha256:…
	Bytes int    `json:"bytes"`
}

func newChaincodePackage(s *State, g *globals) *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "package [NAME...]",
		Short: "Write chaincode packages to files",
		Long: `Write the packages that peers install to LABEL.tar.gz, and print their ids. Without names: all chaincodes.

The bytes depend on the source's files and on nothing else, so everybody who has the same source gets the
same package id. "peer lifecycle chaincode install" takes these files. No cluster is needed.

Exit status: 0 done; 1 failed; 2 wrong usage or files.`,
		Example: `  # the packages of all chaincodes, here
  pivt chaincode package

  # only the ids
  pivt chaincode package basic -d /tmp -o json | jq -r '.data[].id'`,
		ValidArgsFunction: completeNames(s, g, chaincodeNames),
		RunE: func(c *cobra.Command, names []string) error {
			in, err := g.load(s)
			if err != nil {
				return err
			}
			ccs, err := deployable(in.network, names, func(*network.Chaincode) bool { return true })
			if err != nil {
				return err
			}
			return g.writePackages(c.Context(), s, ccs, dir)
		},
	}
	c.Flags().StringVarP(&dir, "dir", "d", ".", "directory to write to")
	return c
}

// deployable are the named chaincodes, or all of a kind, whose code the files name.
func deployable(n *network.Network, names []string, kind func(*network.Chaincode) bool) ([]*network.Chaincode, error) {
	for _, name := range names {
		cc := n.Chaincode(name)
		switch {
		case cc == nil:
			return nil, usageErrorf("chaincode %q is not in the files; known: %s", name, strings.Join(chaincodeNames(n), ", "))
		case !cc.Deployable():
			return nil, usageErrorf("the files do not say where the code of chaincode %q is", name)
		}
	}
	return slices.DeleteFunc(slices.Clone(n.Chaincodes), func(cc *network.Chaincode) bool {
		return !cc.Deployable() || len(names) == 0 && !kind(cc) || len(names) > 0 && !slices.Contains(names, cc.Name)
	}), nil
}

func (g *globals) writePackages(ctx context.Context, s *State, ccs []*network.Chaincode, dir string) error {
	if err := os.MkdirAll(s.path(dir), 0o755); err != nil {
		return fmt.Errorf("making %s: %w", dir, pathless(err))
	}
	packages := g.packages(s)
	written := []packageFile{}
	for _, cc := range ccs {
		made, err := packagesOf(ctx, packages, cc)
		if err != nil {
			return err
		}
		for _, m := range made {
			id, err := chaincode.ID(m.pkg)
			if err != nil {
				return fmt.Errorf("chaincode %q: %w", cc.Name, err)
			}
			name := chaincode.Label(id) // of a package that somebody else made it is theirs
			if m.org != "" {
				name += "." + network.Label(m.org)
			}
			file := filepath.Join(dir, name+".tar.gz")
			if err := os.WriteFile(s.path(file), m.pkg, 0o644); err != nil {
				return fmt.Errorf("writing %s: %w", file, pathless(err))
			}
			written = append(written, packageFile{Chaincode: cc.Name, Label: chaincode.Label(id), ID: id, Org: m.org, File: file, Bytes: len(m.pkg)})
		}
	}
	if done, err := g.structured(s.Stdout, "PackageList", written); done || err != nil {
		return err
	}
	for _, w := range written {
		if g.output == outputName {
			fmt.Fprintln(s.Stdout, w.File)
			continue
		}
		fmt.Fprintf(s.Stdout, "%s %s\n", w.File, w.ID)
	}
	return nil
}

// madePackage is a package of one organisation, or of all if org is empty.
type madePackage struct {
	org string
	pkg []byte
}

func packagesOf(ctx context.Context, p *deploy.Packages, cc *network.Chaincode) ([]madePackage, error) {
	var all []madePackage
	same := true
	for _, o := range cc.Orgs {
		pkg, err := p.Of(ctx, cc, o)
		if err != nil {
			return nil, err
		}
		all = append(all, madePackage{o.Name, pkg})
		same = same && slices.Equal(pkg, all[0].pkg)
	}
	if same && len(all) > 0 {
		return []madePackage{{"", all[0].pkg}}, nil
	}
	return all, nil
}

func newChaincodePush(s *State, g *globals) *cobra.Command {
	var to string
	c := &cobra.Command{
		Use:   "push [NAME...]",
		Short: "Store packages of source chaincodes where peers' installs find them",
		Long: `Package chaincodes from source and store them in the network's namespace, in ConfigMaps, where the pods of
the chaincode flow read them. "pivt chaincode install" does so by itself; the command is for those who submit
the flow with "pivt render chaincode-flow | argo submit -". Without names: all chaincodes with a source.

With --to, one package goes to a container registry instead, and the line to write into network.yaml in place
of source and language is printed. Credentials are those of docker login.

Exit status: 0 done or nothing to do; 1 failed; 2 wrong usage or files, or the version has other code already.`,
		Example: `  # into the namespace, then the flow without pivt
  pivt chaincode push -n fabric
  pivt render chaincode-flow | argo submit -n fabric -

  # to a registry
  pivt chaincode push basic --to oci://registry.example.com/chaincode/basic`,
		ValidArgsFunction: completeNames(s, g, chaincodeNames),
		RunE: func(c *cobra.Command, names []string) error {
			if to != "" {
				return g.pushTo(c.Context(), s, names, to)
			}
			d, err := g.deployment(s)
			if err != nil {
				return err
			}
			ccs, err := deployable(d.Network, names, fromSource)
			if err != nil {
				return err
			}
			for _, cc := range ccs {
				if !fromSource(cc) {
					return usageErrorf("chaincode %q is not from source; its package is made when it is installed", cc.Name)
				}
			}
			return g.push(c.Context(), s, d, ccs)
		},
	}
	c.Flags().StringVar(&to, "to", "", "push one package to this registry, oci://HOST/REPOSITORY[:TAG]")
	return c
}

func fromSource(cc *network.Chaincode) bool { return cc.Source != "" }

func (g *globals) push(ctx context.Context, s *State, d *deploy.Deployment, ccs []*network.Chaincode) error {
	if _, err := g.guard(ctx, s, d, ccs); err != nil {
		return err
	}
	changes := []deploy.Change{}
	for _, cc := range ccs {
		step := d.Report.Start("package " + cc.Label())
		change, err := d.Deposit(ctx, cc, step.Update)
		if err != nil {
			step.Fail(err)
			return err
		}
		changes = append(changes, change)
		if change.Verb == deploy.Unchanged {
			step.Skip("is stored")
			continue
		}
		step.Done("stored in namespace " + d.Kube.Namespace())
	}
	return g.changes(s.Stdout, changes)
}

// pushTo pushes one package to a registry.
func (g *globals) pushTo(ctx context.Context, s *State, names []string, to string) error {
	in, err := g.load(s)
	if err != nil {
		return err
	}
	ccs, err := deployable(in.network, names, fromSource)
	if err != nil {
		return err
	}
	if len(ccs) != 1 {
		return usageErrorf("--to takes the package of one chaincode, and %d would be pushed; name one of: %s", len(ccs), strings.Join(chaincodeNames(in.network), ", "))
	}
	cc := ccs[0]
	made, err := packagesOf(ctx, g.packages(s), cc)
	if err != nil {
		return err
	}
	if len(made) != 1 {
		return usageErrorf("chaincode %q has a server of its own in each organisation, so there is no one package", cc.Name)
	}
	id, err := chaincode.ID(made[0].pkg)
	if err != nil {
		return fmt.Errorf("chaincode %q: %w", cc.Name, err)
	}
	step := newReporter(s, g).Start("package " + chaincode.Label(id))
	step.Update("pushing to " + to)
	ref, err := depot.Push(ctx, tagged(to, cc.Version), made[0].pkg, authn.DefaultKeychain)
	if err != nil {
		step.Fail(err)
		return err
	}
	step.Done("pushed to " + to)
	pushed := packageFile{Chaincode: cc.Name, Label: chaincode.Label(id), ID: id, Ref: ref, Bytes: len(made[0].pkg)}
	if done, err := g.structured(s.Stdout, "PackageList", []packageFile{pushed}); done || err != nil {
		return err
	}
	if g.output == outputName {
		fmt.Fprintln(s.Stdout, ref)
		return nil
	}
	fmt.Fprintf(s.Stdout, "package: %s\n", ref)
	if !g.quiet {
		fmt.Fprintf(s.Stderr, "write this line into network.yaml at chaincode %q, in place of source and language\n", cc.Name)
	}
	return nil
}

var notInTag = regexp.MustCompile(`[^A-Za-z0-9_.-]`)

// tagged gives the address the version as its tag if it has none: registries forget what no tag
// leads to.
func tagged(to, version string) string {
	if strings.Contains(to[strings.LastIndex(to, "/")+1:], ":") || strings.Contains(to, "@") {
		return to
	}
	return to + ":" + strings.TrimLeft(notInTag.ReplaceAllString(version, "_"), ".-")
}
