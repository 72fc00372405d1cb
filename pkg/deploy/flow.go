package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"pivt.io/pivt/pkg/chart"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/workflow"
)

// Flow is a chart that renders a workflow.
type Flow string

// The flows of this version.
const (
	ChannelFlow   Flow = "channel-flow"
	ChaincodeFlow Flow = "chaincode-flow"
)

// kind is the flow's subject, as in flow.<kind>.include.
func (f Flow) kind() string { return strings.TrimSuffix(string(f), "-flow") }

// RunFlow renders, submits and watches one flow, after the packages that it needs have been
// stored and chaincode servers told of theirs. With include, only these channels or chaincodes are looked at.
func (d *Deployment) RunFlow(ctx context.Context, f Flow, include []string) ([]Change, error) {
	var stored []Change
	if f == ChaincodeFlow {
		var err error
		if stored, err = d.deposit(ctx, include); err != nil {
			return stored, err
		}
		served, err := d.serve(ctx, include)
		if stored = append(stored, served...); err != nil {
			return stored, err
		}
	}
	changes, err := d.runFlow(ctx, f, include)
	return append(stored, changes...), err
}

func (d *Deployment) runFlow(ctx context.Context, f Flow, include []string) ([]Change, error) {
	subjects := d.subjects(f, include)
	step := d.Report.Start(title(f, subjects))
	if len(subjects) == 0 {
		step.Skip("none in the files")
		return nil, nil
	}
	manifest, err := chart.Render(string(f), withInclude(d.Values, f, include), chart.RenderOptions{Namespace: d.Kube.Namespace()})
	if err != nil {
		step.Fail(err)
		return nil, err
	}
	outcome, err := d.follow(ctx, f, manifest, step)
	changes := flowChanges(f, subjects, outcome)
	switch {
	case err != nil && abandoned(ctx):
		step.Warn("no longer watched")
		return changes, err
	case err != nil:
		step.Fail(err)
		return changes, err
	case !Changed(changes):
		step.Skip("up to date")
	default:
		step.Done(sentence(outcome))
	}
	return changes, nil
}

// follow submits a workflow and watches it to its end.
func (d *Deployment) follow(ctx context.Context, f Flow, manifest []byte, step Step) (workflow.Outcome, error) {
	run, err := workflow.Submit(ctx, d.Kube, d.Kube.Namespace(), manifest)
	if err != nil {
		return workflow.Outcome{}, err
	}
	step.Update("workflow " + run.Name)
	explained := func(err error) error { return err }
	if f == ChaincodeFlow {
		explained = d.followChaincodes(ctx, step.Update).stop
	}
	outcome, err := d.watch(ctx, run, step, workflow.Explain)
	return outcome, explained(err)
}

// watch tells the step what a workflow does, until it ends, which is explained, or nobody looks any more.
func (d *Deployment) watch(ctx context.Context, run *workflow.Run, step Step, explain func(workflow.Outcome) error) (workflow.Outcome, error) {
	outcome, err := workflow.Watch(ctx, d.Kube, run, func(e workflow.Event) {
		if e.Task == nil || e.Task.Phase != workflow.Skipped { // what need not be done is no news
			step.Update(e.String())
		}
	})
	switch {
	case err == nil:
		err = explain(outcome)
	case d.StopWorkflows && exit.CodeOf(err) == exit.Interrupted:
		err = d.stop(ctx, run, step)
	}
	return outcome, err
}

// stopFor is how long stopping a workflow may take; the person who pressed Ctrl-C waits.
const stopFor = 10 * time.Second

// stop ends a workflow after an interrupt, whose error it returns unless that fails.
func (d *Deployment) stop(ctx context.Context, run *workflow.Run, step Step) error {
	step.Update("stopping workflow " + run.Name)
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopFor)
	defer cancel()
	if err := workflow.Stop(stopping, d.Kube, run); err != nil {
		return exit.With(fmt.Errorf("interrupted: %w", err), exit.Failed)
	}
	return fmt.Errorf("workflow %s was stopped: %w", run.Name, context.Cause(ctx))
}

func title(f Flow, subjects []subject) string {
	names := make([]string, len(subjects))
	for i, s := range subjects {
		names[i] = s.name
	}
	switch len(names) {
	case 0:
		return f.kind() + "s"
	case 1:
		return f.kind() + " " + names[0]
	}
	return f.kind() + "s " + strings.Join(names, ", ")
}

// subject is a channel or chaincode that a flow is about.
type subject struct {
	name  string
	tasks []string // what the flow does for it
}

// subjects are what the flow is about, in file order: what include names, or else what the
// files do.
func (d *Deployment) subjects(f Flow, include []string) []subject {
	channels, chaincodes := d.Network.FlowChannels, d.Network.FlowChaincodes
	if len(include) > 0 {
		channels, chaincodes = d.Network.Channels, d.Network.Chaincodes
	}
	var all []subject
	switch f {
	case ChannelFlow:
		for _, ch := range channels {
			s := subject{name: ch.Name}
			for _, o := range ch.OrdererOrgs {
				s.tasks = append(s.tasks, ch.CreateTask(o))
			}
			for _, o := range ch.Orgs {
				s.tasks = append(s.tasks, ch.JoinTask(o))
			}
			all = append(all, s)
		}
	case ChaincodeFlow:
		for _, cc := range chaincodes {
			if !cc.Deployable() { // the flow leaves these out, and loading the files has warned
				continue
			}
			s := subject{name: cc.Name, tasks: []string{cc.CommitTask(), cc.SmokeTask()}}
			for _, o := range cc.Orgs {
				s.tasks = append(s.tasks, cc.InstallTask(o))
			}
			all = append(all, s)
		}
	}
	return slices.DeleteFunc(all, func(s subject) bool { return len(include) > 0 && !slices.Contains(include, s.name) })
}

// withInclude returns values with flow.<kind>.include set, sharing the rest.
func withInclude(values map[string]any, f Flow, include []string) map[string]any {
	if len(include) == 0 {
		return values
	}
	list := make([]any, len(include))
	for i, n := range include {
		list[i] = n
	}
	return overlay(values, map[string]any{"flow": map[string]any{f.kind(): map[string]any{"include": list}}})
}

// overlay merges b over a into a new map.
func overlay(a, b map[string]any) map[string]any {
	out := make(map[string]any, len(a)+len(b))
	for k, v := range a {
		out[k] = v
	}
	for k, v := range b {
		inner, isMap := v.(map[string]any)
		old, wasMap := out[k].(map[string]any)
		if isMap && wasMap {
			out[k] = overlay(old, inner)
			continue
		}
		out[k] = v
	}
	return out
}

// flowChanges tells what became of each subject. The probe's list is no measure: it names
// what it could not see as well. Of a subject whose tasks have not all ended well, only what
// they said they did is told.
func flowChanges(f Flow, subjects []subject, o workflow.Outcome) []Change {
	var changes []Change
	for _, s := range subjects {
		changed := false
		for _, t := range o.Tasks {
			if slices.Contains(s.tasks, t.Name) {
				changed = changed || len(t.Result) > 0
			}
		}
		switch object := f.kind() + "/" + s.name; {
		case changed:
			changes = append(changes, Change{object, Configured})
		case o.Phase == workflow.Succeeded:
			changes = append(changes, Change{object, Unchanged})
		}
	}
	return changes
}

// sentence sums up what the flow's steps said they changed.
func sentence(o workflow.Outcome) string {
	n := 0
	for _, t := range o.Tasks {
		n += len(t.Result)
	}
	return fmt.Sprintf("%d changes, %d pods", n, o.Pods)
}
