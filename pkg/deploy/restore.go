package deploy

import (
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/kube"
)

// Missing lists nodes of the files that the cluster does not have.
func (d *Deployment) Missing(ctx context.Context) ([]string, error) {
	sets, err := d.Kube.Core().AppsV1().StatefulSets(d.Kube.Namespace()).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, kube.Explain(fmt.Errorf("listing statefulsets in namespace %s: %w", d.Kube.Namespace(), err))
	}
	var there, missing []string
	for _, s := range sets.Items {
		there = append(there, s.Name)
	}
	for _, n := range d.Network.Nodes() {
		if !slices.Contains(there, n.Name()) {
			missing = append(missing, n.Name())
		}
	}
	return missing, nil
}

// InstallNodes does of Install what comes before channels: namespace, keys, Secrets and nodes
// that are ready, with nothing in them. It is for a restore, which brings the rest.
func (d *Deployment) InstallNodes(ctx context.Context) ([]Change, error) {
	changes, err := d.prepare(ctx)
	if err != nil {
		return changes, err
	}
	launched, err := d.launch(ctx)
	changes = append(changes, launched...)
	if err != nil {
		return changes, err
	}
	return changes, d.waitNodes(ctx)
}
