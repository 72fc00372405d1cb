package deploy

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"pivt.io/pivt/pkg/chart"
	"pivt.io/pivt/pkg/kube"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
	"pivt.io/pivt/pkg/workflow"
)

// DefaultTimeout bounds a whole install.
const DefaultTimeout = 15 * time.Minute

// Deployment is one network on its way to one namespace.
type Deployment struct {
	Kube      *kube.Client
	Network   *network.Network
	Values    map[string]any // the merged files, as charts get them
	CryptoDir string         // cryptogen's layout, made where missing
	Now       func() time.Time
	Report    Reporter
	// Packages makes the packages of chaincodes from source.
	Packages *Packages
	// MayReplace says whether a stored package may give way to another one of the same version: as
	// long as no channel has committed that. Nil means no.
	MayReplace func(*network.Chaincode) bool
	// StopWorkflows makes an interrupt end the workflows that are under way, instead of only
	// looking away.
	StopWorkflows bool
}

// Install brings the network up, or up to date: namespace, keys, nodes, channels and
// chaincodes. The returned changes name what happened, also when it ends with an error.
//
// The flows are submitted as soon as the nodes' objects exist, and both at once, because
// their steps wait for what they need; a workflow controller takes ten seconds for each
// level of a graph, and these ten seconds are better spent while nodes start.
func (d *Deployment) Install(ctx context.Context) ([]Change, error) {
	changes, err := d.prepare(ctx)
	if err != nil {
		return changes, err
	}
	stored, err := d.deposit(ctx, nil)
	changes = append(changes, stored...)
	if err != nil {
		return changes, err
	}
	launched, err := d.launch(ctx)
	changes = append(changes, launched...)
	if err != nil {
		return changes, err
	}
	flows, err := d.populate(ctx)
	return append(changes, flows...), err
}

// launch makes keys, Secrets and the nodes' objects. It does not wait for the nodes.
func (d *Deployment) launch(ctx context.Context) ([]Change, error) {
	material, changes, err := d.keys(ctx)
	if err != nil {
		return changes, err
	}
	applied, err := d.secrets(ctx, material)
	changes = append(changes, applied...)
	if err != nil {
		return changes, err
	}
	released, err := d.release(ctx)
	return append(changes, released...), err
}

// prepare asks for a workflow controller's API, before anything is made, and makes sure of the
// namespace.
func (d *Deployment) prepare(ctx context.Context) ([]Change, error) {
	ns := d.Kube.Namespace()
	step := d.Report.Start("namespace " + ns)
	version, err := d.Kube.ServerVersion(ctx)
	if err != nil {
		step.Fail(err)
		return nil, err
	}
	if err := workflow.Available(ctx, d.Kube); err != nil {
		step.Fail(err)
		return nil, err
	}
	if err := d.NotHeld(ctx); err != nil {
		step.Fail(err)
		return nil, err
	}
	made, err := d.Kube.EnsureNamespace(ctx, ns, map[string]string{
		"pod-security.kubernetes.io/enforce": "restricted",
		labelManagedBy:                       managedBy,
	})
	if err != nil {
		step.Fail(err)
		return nil, err
	}
	if made.Action == kube.Created {
		step.Done("created, its pods must be restricted; Kubernetes " + version.GitVersion)
		return []Change{{"namespace/" + ns, Created}}, nil
	}
	step.Skip("Kubernetes " + version.GitVersion)
	return nil, nil
}

func (d *Deployment) keys(ctx context.Context) (*pki.Material, []Change, error) {
	step := d.Report.Start("keys and certificates")
	if err := d.sameCAs(ctx); err != nil {
		step.Fail(err)
		return nil, nil, err
	}
	made, err := pki.Ensure(d.CryptoDir, d.Network, pki.Options{Now: d.Now})
	if err != nil {
		step.Fail(err)
		return nil, nil, err
	}
	m, err := pki.Load(d.CryptoDir, d.Network)
	if err != nil {
		step.Fail(err)
		return nil, nil, err
	}
	if len(made) == 0 {
		step.Skip("complete")
		return m, nil, nil
	}
	step.Done(fmt.Sprintf("%d made", len(made)))
	return m, d.keyChanges(made), nil
}

// keyChanges sums up by organisation what was made: all of it, or what was missing.
func (d *Deployment) keyChanges(made []pki.Change) []Change {
	tree := pki.Tree{Dir: d.CryptoDir}
	var changes []Change
	for _, o := range d.Network.Orgs() {
		verb := ""
		for _, m := range made {
			switch {
			case within(m.Path, tree.CADir(o)):
				verb = Created
			case within(m.Path, tree.OrgDir(o)) && verb == "":
				verb = Configured
			}
		}
		if verb != "" {
			changes = append(changes, Change{"crypto/" + o.Domain, verb})
		}
	}
	return changes
}

// within reports whether path is dir or below it.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

func (d *Deployment) secrets(ctx context.Context, m *pki.Material) ([]Change, error) {
	step := d.Report.Start("secrets")
	objects, err := Objects(d.Network, m, d.Values)
	if err != nil {
		step.Fail(err)
		return nil, err
	}
	applied, err := d.Kube.Apply(ctx, objects, kube.ApplyOptions{})
	var changes []Change
	for _, c := range applied {
		if c.Action != kube.Unchanged {
			changes = append(changes, objectChange(c))
		}
	}
	switch {
	case err != nil:
		step.Fail(err)
	case len(changes) == 0:
		step.Skip(fmt.Sprintf("%d unchanged", len(applied)))
	default:
		step.Done(fmt.Sprintf("%d applied, %d unchanged", len(changes), len(applied)-len(changes)))
	}
	return changes, err
}

func (d *Deployment) release(ctx context.Context) ([]Change, error) {
	step := d.Report.Start("release " + network.Release)
	r, err := chart.Apply(ctx, d.Kube, d.Values)
	if err = kube.Explain(err); err != nil {
		step.Fail(err)
		return nil, err
	}
	object := "release/" + network.Release
	if !r.Changed {
		step.Skip(fmt.Sprintf("revision %d unchanged", r.Revision))
		return []Change{{object, Unchanged}}, nil
	}
	step.Done(fmt.Sprintf("revision %d", r.Revision))
	if r.Revision == 1 {
		return []Change{{object, Created}}, nil
	}
	return []Change{{object, Configured}}, nil
}

// populate waits for the nodes while both flows run.
func (d *Deployment) populate(ctx context.Context) ([]Change, error) {
	g, flowCtx := errgroup.WithContext(ctx)
	results := make([][]Change, 2)
	g.Go(func() error { return d.waitNodes(flowCtx) })
	for i, f := range []Flow{ChannelFlow, ChaincodeFlow} {
		g.Go(func() error {
			var err error
			results[i], err = d.runFlow(flowCtx, f, nil)
			return err
		})
	}
	err := g.Wait()
	return append(results[0], results[1]...), err
}

func (d *Deployment) waitNodes(ctx context.Context) error {
	step := d.Report.Start("nodes")
	last, err := d.Kube.WaitReady(ctx, labelPartOf+"="+network.Release, func(s kube.State) { step.Update(nodesSentence(s)) })
	switch {
	case err != nil && abandoned(ctx):
		step.Warn(nodesSentence(last) + "; no longer watched")
		return err
	case err != nil:
		step.Fail(err)
		return err
	}
	step.Done(fmt.Sprintf("%d ready", len(last.Workloads)))
	return nil
}

// abandoned reports whether ctx ended because something beside it failed, which is what the
// run ends with: to call this a failure, too, would hide the one that counts.
func abandoned(ctx context.Context) bool {
	return errors.Is(ctx.Err(), context.Canceled) && !errors.Is(context.Cause(ctx), context.Canceled)
}

// nodesSentence says how many nodes are ready, and of one that is not, why.
func nodesSentence(s kube.State) string {
	text := fmt.Sprintf("%d of %d ready", s.Ready(), len(s.Workloads))
	if s.Trouble != "" {
		return text + "; " + s.Trouble
	}
	for _, stuck := range []bool{true, false} {
		for _, w := range s.Workloads {
			if !w.Ready && w.Stuck == stuck && w.Reason != "" {
				return fmt.Sprintf("%s; %s: %s", text, w.Name, w.Reason)
			}
		}
	}
	return text
}

func objectChange(c kube.Change) Change {
	return Change{strings.ToLower(c.Kind) + "/" + c.Name, string(c.Action)}
}
