package deploy

import (
	"context"
	"fmt"
	"strings"

	"pivt.io/pivt/pkg/chart"
	"pivt.io/pivt/pkg/network"
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

// RunFlow renders, submits and watches one flow. With include, only these channels or
// chaincodes are looked at.
func (d *Deployment) RunFlow(ctx context.Context, f Flow, include []string) ([]Change, error) {
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
	run, err := workflow.Submit(ctx, d.Kube, d.Kube.Namespace(), manifest)
	if err != nil {
		step.Fail(err)
		return nil, err
	}
	step.Update("workflow " + run.Name)
	outcome, err := workflow.Watch(ctx, d.Kube, run, func(e workflow.Event) {
		if e.Task == nil || e.Task.Phase != workflow.Skipped { // what need not be done is no news
			step.Update(e.String())
		}
	})
	if err == nil {
		err = workflow.Explain(outcome)
	}
	changes := d.flowChanges(f, subjects, outcome)
	switch {
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

func title(f Flow, subjects []string) string {
	if len(subjects) == 1 {
		return f.kind() + " " + subjects[0]
	}
	return f.kind() + "s " + strings.Join(subjects, ", ")
}

// subjects are the channels or chaincodes the flow is about, in file order.
func (d *Deployment) subjects(f Flow, include []string) []string {
	var names []string
	if f == ChannelFlow {
		for _, c := range d.Network.Channels {
			names = append(names, c.Name)
		}
	} else {
		for _, c := range d.Network.Chaincodes {
			if c.Image != "" {
				names = append(names, c.Name)
			}
		}
	}
	if len(include) == 0 {
		include = fileInclude(d.Values, f)
	}
	if len(include) == 0 {
		return names
	}
	var kept []string
	for _, n := range names {
		for _, i := range include {
			if n == i {
				kept = append(kept, n)
			}
		}
	}
	return kept
}

// fileInclude reads flow.<kind>.include of the files.
func fileInclude(values map[string]any, f Flow) []string {
	flow, _ := values["flow"].(map[string]any)
	kind, _ := flow[f.kind()].(map[string]any)
	list, _ := kind["include"].([]any)
	var names []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			names = append(names, s)
		}
	}
	return names
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

// flowChanges tells per subject whether the probe found anything to do for it.
func (d *Deployment) flowChanges(f Flow, subjects []string, o workflow.Outcome) []Change {
	var changes []Change
	for _, name := range subjects {
		verb := Unchanged
		for _, task := range o.Todo {
			if d.about(f, name, task) {
				verb = Configured
			}
		}
		changes = append(changes, Change{f.kind() + "/" + name, verb})
	}
	return changes
}

// about reports whether a task of the flow is one of the subject's.
func (d *Deployment) about(f Flow, subject, task string) bool {
	for _, name := range d.taskNames(f, subject) {
		if name == task {
			return true
		}
	}
	return false
}

func (d *Deployment) taskNames(f Flow, subject string) []string {
	var names []string
	if f == ChannelFlow {
		ch := d.Network.Channel(subject)
		names = append(names, network.TaskName("create", subject))
		for _, o := range ch.OrdererOrgs {
			names = append(names, network.TaskName("create", subject, o.Name))
		}
		for _, o := range ch.Orgs {
			names = append(names, network.TaskName("join", subject, o.Name))
		}
		return names
	}
	cc := d.Network.Chaincode(subject)
	for _, o := range cc.Orgs {
		names = append(names, network.TaskName("install", subject, o.Name))
	}
	return append(names, network.TaskName("commit", subject), network.TaskName("smoke", subject))
}

// sentence sums up what the flow's steps said they changed.
func sentence(o workflow.Outcome) string {
	n := 0
	for _, t := range o.Tasks {
		n += len(t.Result)
	}
	return fmt.Sprintf("%d changes, %d pods", n, o.Pods)
}
