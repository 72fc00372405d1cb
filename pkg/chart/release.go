package chart

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/kube"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/resource"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// Cluster is what Helm needs to know of a cluster. A kube.Client is one.
type Cluster interface {
	genericclioptions.RESTClientGetter
	Namespace() string
}

// Result is what Apply left behind.
type Result struct {
	Changed  bool
	Revision int
}

// Revision is an entry of the release's history.
type Revision struct {
	Number      int
	Status      string // Helm's word: deployed, superseded, failed…
	Updated     time.Time
	Description string
}

const (
	maxHistory = 10
	// staleAfter is how long a release may say "pending" before we take whoever wrote that
	// for dead. pivt does not wait for pods while it holds the release, so a live one
	// needs a few seconds.
	staleAfter = 15 * time.Second
)

// releaser does to one release what Apply and Uninstall promise.
type releaser struct {
	cfg       *action.Configuration
	namespace string
	// wait pauses between looks at a pending release.
	wait func(ctx context.Context, d time.Duration) error
}

// Apply makes release hlf-kube what chart and values say. A release that says so already,
// and whose objects all exist, is left alone. It does not wait for pods. A release that a
// killed run left pending is taken over.
func Apply(ctx context.Context, c Cluster, values map[string]any) (Result, error) {
	r, err := newReleaser(c)
	if err != nil {
		return Result{}, err
	}
	return r.apply(ctx, values)
}

// Uninstall deletes the release with all its objects and its history. Volume claims stay,
// as Kubernetes keeps them. It reports whether there was a release.
func Uninstall(ctx context.Context, c Cluster) (bool, error) {
	r, err := newReleaser(c)
	if err != nil {
		return false, err
	}
	return r.uninstall(ctx)
}

// History lists the release's revisions, oldest first; none if there is no release.
func History(c Cluster) ([]Revision, error) {
	r, err := newReleaser(c)
	if err != nil {
		return nil, err
	}
	return r.history()
}

func newReleaser(c Cluster) (*releaser, error) {
	cfg := &action.Configuration{}
	if err := cfg.Init(c, c.Namespace(), "secret", func(string, ...any) {}); err != nil {
		return nil, fmt.Errorf("preparing Helm: %w", err)
	}
	if k, ok := cfg.KubeClient.(*kube.Client); ok {
		k.Namespace = c.Namespace()
	}
	return &releaser{cfg: cfg, namespace: c.Namespace(), wait: pause}, nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (r *releaser) apply(ctx context.Context, values map[string]any) (Result, error) {
	c, err := load(Network)
	if err != nil {
		return Result{}, err
	}
	last, err := r.settled(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("reading release %s: %w", network.Release, err)
	}
	if last != nil {
		same, err := r.unchanged(last, c, values)
		if err != nil {
			return Result{}, err
		}
		if same {
			return Result{Revision: last.Version}, nil
		}
	}
	rel, err := r.write(ctx, last, c, clone(values))
	if err != nil {
		return Result{}, fmt.Errorf("applying release %s: %w", network.Release, explain(err))
	}
	return Result{Changed: true, Revision: rel.Version}, nil
}

// write installs, or upgrades from last.
func (r *releaser) write(ctx context.Context, last *release.Release, c *chart.Chart, values map[string]any) (*release.Release, error) {
	if last == nil || last.Info.Status == release.StatusUninstalled {
		in := action.NewInstall(r.cfg)
		in.ReleaseName = network.Release
		in.Namespace = r.namespace
		in.Replace = last != nil
		return in.RunWithContext(ctx, c, values)
	}
	up := action.NewUpgrade(r.cfg)
	up.Namespace = r.namespace
	up.MaxHistory = maxHistory
	up.ResetValues = true // the files are the only source of values
	return up.RunWithContext(ctx, network.Release, c, values)
}

// settled returns the newest revision, or nil, once nobody is at work on it. What a killed
// run left pending is marked failed, which Helm takes as a base for an upgrade.
func (r *releaser) settled(ctx context.Context) (*release.Release, error) {
	const look = time.Second
	for waited := time.Duration(0); ; waited += look {
		last, err := r.last()
		switch {
		case err != nil || last == nil:
			return nil, err
		case last.Info.Status == release.StatusUninstalling:
			if _, err := r.uninstall(ctx); err != nil {
				return nil, err
			}
			return nil, nil
		case !last.Info.Status.IsPending():
			return last, nil
		}
		// Whose clock wrote the time is not known, so never wait longer than our own says.
		if age := time.Since(last.Info.LastDeployed.Time); waited < staleAfter && age < staleAfter {
			if err := r.wait(ctx, look); err != nil {
				return nil, err
			}
			continue
		}
		last.SetStatus(release.StatusFailed, "interrupted while "+last.Info.Status.String())
		if err := r.cfg.Releases.Update(last); err != nil {
			return nil, err
		}
		return last, nil
	}
}

func (r *releaser) last() (*release.Release, error) {
	last, err := r.cfg.Releases.Last(network.Release)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return nil, nil
	}
	return last, err
}

// unchanged reports whether an upgrade would change nothing: deployed, same values, same
// chart, same manifest, and nobody deleted an object by hand.
func (r *releaser) unchanged(last *release.Release, c *chart.Chart, values map[string]any) (bool, error) {
	if last.Info.Status != release.StatusDeployed || !equal(last.Config, values) || last.Chart.Metadata.Version != c.Metadata.Version {
		return false, nil
	}
	manifest, err := Render(Network, values, RenderOptions{Release: network.Release, Namespace: r.namespace})
	if err != nil {
		return false, err
	}
	if strings.TrimSpace(last.Manifest) != strings.TrimSpace(string(manifest)) {
		return false, nil
	}
	objects, err := r.cfg.KubeClient.Build(strings.NewReader(last.Manifest), false)
	if err != nil {
		return false, fmt.Errorf("reading the objects of release %s: %w", network.Release, err)
	}
	missing := false
	err = objects.Visit(func(o *resource.Info, err error) error {
		if err != nil {
			return err
		}
		if err := o.Get(); apierrors.IsNotFound(err) {
			missing = true
			return io.EOF // enough is known
		} else if err != nil {
			return err
		}
		return nil
	})
	if err != nil && !missing {
		return false, fmt.Errorf("looking for the objects of release %s: %w", network.Release, err)
	}
	return !missing, nil
}

// equal compares values as they are once stored, where every number is a float.
func equal(a, b map[string]any) bool {
	var x, y any
	return roundTrip(a, &x) == nil && roundTrip(b, &y) == nil && reflect.DeepEqual(x, y)
}

func roundTrip(values map[string]any, into *any) error {
	if len(values) == 0 { // none, and an empty map, are the same
		return nil
	}
	data, err := json.Marshal(values)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

func (r *releaser) uninstall(ctx context.Context) (bool, error) {
	last, err := r.last()
	if err != nil {
		return false, fmt.Errorf("reading release %s: %w", network.Release, err)
	}
	if last == nil {
		return false, nil
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	un := action.NewUninstall(r.cfg)
	un.IgnoreNotFound = true
	un.DeletionPropagation = "background"
	if _, err := un.Run(network.Release); err != nil {
		return false, exit.WithHint(fmt.Errorf("uninstalling release %s: %w", network.Release, err), "repeat this command; what is deleted stays deleted")
	}
	return true, nil
}

func (r *releaser) history() ([]Revision, error) {
	all, err := r.cfg.Releases.History(network.Release)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the history of release %s: %w", network.Release, err)
	}
	var revisions []Revision
	for _, rel := range all {
		revisions = append(revisions, Revision{
			Number:      rel.Version,
			Status:      rel.Info.Status.String(),
			Updated:     rel.Info.LastDeployed.Time,
			Description: rel.Info.Description,
		})
	}
	slices.SortFunc(revisions, func(a, b Revision) int { return a.Number - b.Number })
	return revisions, nil
}
