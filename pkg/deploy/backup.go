package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/chart"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/workflow"
)

// BackupFlow is the flow that saves, verifies, prunes and restores.
const BackupFlow Flow = "backup-flow"

// BackupAction is what one run of the backup flow is for: chart backup-flow's backup.action.
type BackupAction string

// The actions.
const (
	BackupCreate  BackupAction = "create"
	BackupVerify  BackupAction = "verify"
	BackupPrune   BackupAction = "prune"
	BackupRestore BackupAction = "restore"
)

// Tasks of the backup flow whose ends decide what may be said of a backup.
const (
	taskSeal   = "seal"
	taskVerify = "verify"
)

// BackupRun is one run of the backup flow. What it leaves empty is as the files say.
type BackupRun struct {
	Action BackupAction
	Key    string // of a backup; a prune is of none
	// Files are the input files as they were written, by name.
	Files map[string]string
	// CryptoConfig is the ConfigMap with an encrypted crypto-config/, if one is to be saved.
	CryptoConfig string
	// Selection, Accept and Cancel are for restore.
	Selection backup.Selection
	Accept    backup.Accept
	Cancel    bool
}

// BackupOutcome is what came of a run.
type BackupOutcome struct {
	Key      string
	Workflow string
	Sealed   bool // a manifest was written
	Verified bool
}

// BackupSettings are what the chart makes of the files: the one place that settings come from,
// for pods of the flow and for those that are made beside it.
func (d *Deployment) BackupSettings() (backup.Settings, error) {
	var s backup.Settings
	// An action that asks nothing of the files beyond what all do.
	manifest, err := d.renderBackup(BackupRun{Action: BackupVerify, Key: "settings"})
	if err != nil {
		return s, err
	}
	wf, err := workflow.Decode(manifest)
	if err != nil {
		return s, err
	}
	p := wf.Spec.Arguments.GetParameterByName("settings")
	if p == nil || p.Value == nil {
		return s, fmt.Errorf("chart %s: the workflow has no parameter %q", BackupFlow, "settings")
	}
	if err := json.Unmarshal([]byte(p.Value.String()), &s); err != nil {
		return s, fmt.Errorf("chart %s: parameter %q: %w", BackupFlow, "settings", err)
	}
	return s, nil
}

func (d *Deployment) renderBackup(r BackupRun) ([]byte, error) {
	if err := hasTarget(d.Values); err != nil {
		return nil, err
	}
	return chart.Render(string(BackupFlow), overlay(d.Values, r.values()), chart.RenderOptions{Namespace: d.Kube.Namespace()})
}

// hasTarget refuses files that do not say where backups go, which no default could.
func hasTarget(values map[string]any) error {
	b, _ := values["backup"].(map[string]any)
	if target, _ := b["target"].(map[string]any); len(target) > 0 {
		return nil
	}
	return exit.WithHint(exit.With(errors.New("backup.target is not in the files: where do backups go?"), exit.Invalid),
		`add to network.yaml, for example: backup: {target: {type: s3, s3: {endpoint: "s3.example.com", bucket: "fabric-backups"}}}`)
}

// values are those of the chart that make the run. A schedule of the files is left out: this
// is one run.
func (r BackupRun) values() map[string]any {
	accept := make([]string, len(r.Accept))
	for i, risk := range r.Accept {
		accept[i] = string(risk)
	}
	b := map[string]any{
		"action": string(r.Action), "key": r.Key, "schedule": "", "suspend": false, "cryptoConfigConfigMap": r.CryptoConfig,
		"restore": map[string]any{"orgs": list(r.Selection.Orgs), "nodes": list(r.Selection.Nodes), "accept": list(accept), "cancel": r.Cancel},
	}
	if len(r.Files) > 0 {
		b["files"] = texts(r.Files)
	}
	return map[string]any{"backup": b}
}

func texts(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

func list(items []string) []any {
	out := make([]any, len(items))
	for i, item := range items {
		out[i] = item
	}
	return out
}

// RunBackup submits the flow, or finds the same one under way, and watches it and the pods that
// copy nodes to its end.
func (d *Deployment) RunBackup(ctx context.Context, r BackupRun) (BackupOutcome, error) {
	step := d.Report.Start(r.title())
	manifest, err := d.renderBackup(r)
	if err != nil {
		step.Fail(err)
		return BackupOutcome{Key: r.Key}, err
	}
	run, err := workflow.Submit(ctx, d.Kube, d.Kube.Namespace(), manifest)
	if err != nil {
		step.Fail(err)
		return BackupOutcome{Key: r.Key}, err
	}
	out := BackupOutcome{Key: r.Key, Workflow: run.Name}
	if r.CryptoConfig != "" {
		d.bequeath(ctx, r.CryptoConfig, run)
	}
	step.Update(submitted(run))
	nodes := d.followCopies(ctx, out.Key, r.Action == BackupRestore)
	outcome, err := d.watch(ctx, run, step, func(o workflow.Outcome) error { return refused(o, workflow.Explain(o)) })
	nodes.stop(err)
	out.Sealed, out.Verified = succeeded(outcome, taskSeal), succeeded(outcome, taskVerify)
	if err != nil {
		step.Fail(err)
		return out, err
	}
	step.Done(fmt.Sprintf("%d pods", outcome.Pods))
	return out, nil
}

// refused gives an error the code of a step that would not begin: the state is not one for a
// restore, or the files are not.
func refused(o workflow.Outcome, err error) error {
	for _, t := range o.Tasks {
		if code := exit.Code(t.ExitCode); t.Phase == workflow.Failed && (code == exit.NotReady || code == exit.Invalid) {
			return exit.WithHint(exit.With(errors.New(err.Error()), code), exit.HintOf(err))
		}
	}
	return err
}

func (r BackupRun) title() string {
	text := map[BackupAction]string{BackupCreate: "backup", BackupVerify: "verification of", BackupPrune: "prune", BackupRestore: "restore of"}[r.Action]
	if r.Cancel {
		text = "cancelling the restore of"
	}
	if r.Key == "" {
		return text
	}
	return text + " " + r.Key
}

func submitted(run *workflow.Run) string {
	if run.Adopted {
		return "workflow " + run.Name + ", which is under way"
	}
	return "workflow " + run.Name
}

func succeeded(o workflow.Outcome, task string) bool {
	return slices.ContainsFunc(o.Tasks, func(t workflow.Task) bool { return t.Name == task && t.Phase == workflow.Succeeded })
}
