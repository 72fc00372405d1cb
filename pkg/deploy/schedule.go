package deploy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"pivt.io/pivt/pkg/chart"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/kube"
)

// backupSchedule is the CronWorkflow that chart backup-flow makes when backup.schedule is set.
const backupSchedule = "hlf-backup"

const cronWorkflows = "cronworkflows"

// Schedule makes the CronWorkflow what the files say, or pauses it.
func (d *Deployment) Schedule(ctx context.Context, files map[string]string, suspend bool) (Change, error) {
	change := Change{"cronworkflow/" + backupSchedule, Unchanged}
	if err := hasTarget(d.Values); err != nil {
		return change, err
	}
	b, _ := d.Values["backup"].(map[string]any)
	if cron, _ := b["schedule"].(string); cron == "" {
		return change, exit.WithHint(exit.With(errors.New("backup.schedule is not in the files"), exit.Invalid),
			`add to network.yaml, for example, every night at three: backup: {schedule: "0 3 * * *"}`)
	}
	over := map[string]any{"action": string(BackupCreate), "key": "", "files": texts(files)}
	if suspend {
		over["suspend"] = true
	}
	manifest, err := chart.Render(string(BackupFlow), overlay(d.Values, map[string]any{"backup": over}), chart.RenderOptions{Namespace: d.Kube.Namespace()})
	if err != nil {
		return change, err
	}
	objects, err := decodeAll(manifest)
	if err != nil {
		return change, fmt.Errorf("chart %s: %w", BackupFlow, err)
	}
	applied, err := d.Kube.Apply(ctx, objects, kube.ApplyOptions{})
	for _, c := range applied {
		change = objectChange(c)
	}
	return change, err
}

// Unschedule removes the CronWorkflow. A backup that it has begun goes on.
func (d *Deployment) Unschedule(ctx context.Context) (Change, error) {
	change := Change{"cronworkflow/" + backupSchedule, Unchanged}
	orphan := metav1.DeletePropagationOrphan
	err := d.Kube.Dynamic().Resource(resource("argoproj.io", "v1alpha1", cronWorkflows)).Namespace(d.Kube.Namespace()).
		Delete(ctx, backupSchedule, metav1.DeleteOptions{PropagationPolicy: &orphan})
	switch {
	case apierrors.IsNotFound(err):
		return change, nil
	case err != nil:
		return change, kube.Explain(fmt.Errorf("deleting %s: %w", change.Object, err))
	}
	change.Verb = Deleted
	return change, nil
}

// decodeAll reads the objects of a rendered chart.
func decodeAll(manifest []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifest))); ; {
		doc, err := r.Read()
		switch {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, err
		}
		var fields map[string]any
		if err := yaml.Unmarshal(doc, &fields); err != nil {
			return nil, err
		}
		if len(fields) > 0 { // otherwise comments only
			objects = append(objects, &unstructured.Unstructured{Object: fields})
		}
	}
}
