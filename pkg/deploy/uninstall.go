package deploy

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"pivt.io/pivt/pkg/chart"
	"pivt.io/pivt/pkg/kube"
	"pivt.io/pivt/pkg/network"
)

// UninstallOptions modify Uninstall.
type UninstallOptions struct {
	// DeleteData removes the volumes with the ledgers, too.
	DeleteData bool
}

// Uninstall removes the workflows, the release, chaincode pods, and the Secrets that were
// applied beside the release. Ledgers stay unless DeleteData says otherwise; the files and
// the keys on disk always stay. Every part is tried, so that one failure does not keep the
// rest.
func (d *Deployment) Uninstall(ctx context.Context, o UninstallOptions) ([]Change, error) {
	runs := []schema.GroupVersionResource{resource("argoproj.io", "v1alpha1", "workflows")}
	// A schedule would make workflows again. Who may not see schedules has made none here.
	if may, err := d.Kube.Can(ctx, kube.Access{Verb: "list", Group: "argoproj.io", Resource: cronWorkflows}); err == nil && may {
		runs = append([]schema.GroupVersionResource{resource("argoproj.io", "v1alpha1", cronWorkflows)}, runs...)
	}
	parts := []struct {
		title    string
		selector string
		kinds    []schema.GroupVersionResource
		wanted   bool
	}{
		{"workflows", labelPartOf + "=" + network.Release, runs, true},
		{"release " + network.Release, "", nil, true},
		{"chaincodes", "app.kubernetes.io/component in (chaincode,chaincode-build)", []schema.GroupVersionResource{resource("", "v1", "pods"), resource("", "v1", "secrets")}, true},
		{"secrets", labelPartOf + "=" + network.Release + "," + labelManagedBy + "=" + managedBy,
			[]schema.GroupVersionResource{resource("", "v1", "secrets"), resource("", "v1", "configmaps")}, true},
		// A StatefulSet gives its claims the labels of its selector, and no others.
		{"ledgers", "app.kubernetes.io/instance=" + network.Release + ",app.kubernetes.io/name in (hlf-peer, hlf-orderer)", []schema.GroupVersionResource{resource("", "v1", "persistentvolumeclaims")}, o.DeleteData},
	}
	var changes []Change
	var failed error
	for _, p := range parts {
		if !p.wanted {
			continue
		}
		step := d.Report.Start(p.title)
		var done []Change
		var err error
		if p.kinds == nil {
			done, err = d.uninstallRelease(ctx)
		} else {
			var deleted []kube.Change
			deleted, err = d.Kube.Delete(ctx, p.selector, p.kinds, kube.DeleteOptions{Wait: true})
			for _, c := range deleted {
				done = append(done, objectChange(c))
			}
		}
		changes = append(changes, done...)
		switch {
		case err != nil:
			step.Fail(err)
			if failed != nil {
				err = fmt.Errorf("%w; %w", failed, err)
			}
			failed = err
		case len(done) == 0:
			step.Skip("none")
		default:
			step.Done(fmt.Sprintf("%d deleted", len(done)))
		}
	}
	return changes, failed
}

func (d *Deployment) uninstallRelease(ctx context.Context) ([]Change, error) {
	gone, err := chart.Uninstall(ctx, d.Kube)
	if err != nil || !gone {
		return nil, err
	}
	return []Change{{"release/" + network.Release, Deleted}}, nil
}

func resource(group, version, name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: version, Resource: name}
}
