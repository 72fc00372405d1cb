package workflow

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"pivt.io/pivt/pkg/exit"
)

// ErrNoArgo means that the cluster has never heard of workflows.
var ErrNoArgo = errors.New("no Argo Workflows")

// InstallHint is where to read how Argo Workflows gets into a cluster.
const InstallHint = "https://argo-workflows.readthedocs.io/en/latest/installation/"

// apis tells which kinds a cluster serves; *kube.Client does.
type apis interface {
	Serves(context.Context, schema.GroupVersion, string) (bool, error)
}

// Available is nil if the cluster knows workflows, and ErrNoArgo with the cure if it does not.
func Available(ctx context.Context, c apis) error {
	r := Resource()
	ok, err := c.Serves(ctx, r.GroupVersion(), r.Resource)
	if err != nil {
		return err
	}
	if !ok {
		return exit.WithHint(exit.With(fmt.Errorf("this cluster has %w (resource %s)", ErrNoArgo, r.GroupResource()), exit.NotReady),
			"install its controller, see "+InstallHint+", then repeat this command")
	}
	return nil
}
