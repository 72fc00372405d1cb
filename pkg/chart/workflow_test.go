package chart

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/validate"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"pivt.io/pivt/pkg/network"
)

func flows() []string { return []string{ChannelFlow, ChaincodeFlow} }

// decode reads a workflow as strictly as "argo submit --strict" does.
func decode(t testing.TB, manifest []byte) *wfv1.Workflow {
	t.Helper()
	if n := bytes.Count(manifest, []byte("\n---\n")); n != 0 {
		t.Fatalf("the flow renders %d documents; argo submit passes over anything but one Workflow", n+1)
	}
	wf := &wfv1.Workflow{}
	if err := yaml.UnmarshalStrict(manifest, wf); err != nil {
		t.Fatalf("decoding strictly: %v", err)
	}
	return wf
}

func tasks(t testing.TB, wf *wfv1.Workflow) []wfv1.DAGTask {
	t.Helper()
	main := wf.GetTemplateByName(wf.Spec.Entrypoint)
	if main == nil || main.DAG == nil {
		t.Fatal("the entrypoint is no DAG")
	}
	return main.DAG.Tasks
}

// after lists what a task waits for.
func after(task wfv1.DAGTask) []string {
	if task.Depends == "" {
		return nil
	}
	return strings.Split(task.Depends, " && ")
}

// depth is the number of pods one after another.
func depth(t testing.TB, wf *wfv1.Workflow) int {
	t.Helper()
	level, deepest := map[string]int{}, 0
	for _, task := range tasks(t, wf) {
		l := 1
		for _, before := range after(task) {
			if level[before] == 0 {
				t.Fatalf("task %s depends on %q, which is not a task before it", task.Name, before)
			}
			l = max(l, level[before]+1)
		}
		level[task.Name] = l
		deepest = max(deepest, l)
	}
	return deepest
}

func TestFlowsPassArgo(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t) {
		for _, name := range flows() {
			t.Run(s.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				wf := decode(t, mustRender(t, name, s.values(t)))
				if err := validate.ValidateWorkflow(nil, nil, wf, nil, validate.ValidateOpts{Submit: true}); err != nil {
					t.Errorf("Argo's validator: %v", err)
				}
				checkTemplates(t, wf)
			})
		}
	}
}

func checkTemplates(t *testing.T, wf *wfv1.Workflow) {
	t.Helper()
	for _, tmpl := range wf.Spec.Templates {
		if tmpl.Container == nil {
			continue
		}
		if len(tmpl.Container.Command) == 0 {
			t.Errorf("template %s names no command: the controller would ask a registry for it", tmpl.Name)
		}
		if tmpl.RetryStrategy == nil || tmpl.RetryStrategy.RetryPolicy != wfv1.RetryPolicyAlways || tmpl.RetryStrategy.Expression == "" {
			t.Errorf("template %s must retry by exit code only: %+v", tmpl.Name, tmpl.RetryStrategy)
		}
	}
}

// The probe's answer is a list of task names, so the chart and package network must agree
// on every one of them, and on what waits for what.
func TestTasksAreThoseOfNetwork(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			n, values := s.network(t), s.values(t)
			channels, chaincodes := map[string][]string{"probe": nil}, map[string][]string{"probe": nil}
			for _, ch := range n.FlowChannels {
				var creates []string
				for _, o := range ch.OrdererOrgs {
					creates = append(creates, ch.CreateTask(o))
					channels[ch.CreateTask(o)] = []string{"probe"}
				}
				for _, o := range ch.Orgs {
					channels[ch.JoinTask(o)] = creates
				}
			}
			for _, cc := range n.FlowChaincodes {
				if !cc.Deployable() {
					continue
				}
				installs := []string{}
				for _, o := range cc.Orgs {
					installs = append(installs, cc.InstallTask(o))
					chaincodes[cc.InstallTask(o)] = []string{"probe"}
				}
				if len(cc.Channels) > 0 {
					chaincodes[cc.CommitTask()] = installs
					chaincodes[cc.SmokeTask()] = []string{cc.CommitTask()}
				}
			}
			for name, want := range map[string]map[string][]string{ChannelFlow: channels, ChaincodeFlow: chaincodes} {
				got := map[string][]string{}
				for _, task := range tasks(t, decode(t, mustRender(t, name, values))) {
					got[task.Name] = after(task)
					if task.Name == "probe" {
						continue
					}
					if when := fmt.Sprintf("{{=%q in fromJSON(tasks.probe.outputs.parameters.todo)}}", task.Name); task.When != when {
						t.Errorf("task %s runs when %s, want %s", task.Name, task.When, when)
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("tasks of %s: -network, +chart:\n%s", name, diff)
				}
			}
		})
	}
}

// Each task must mount its own organisation's admin, and no other.
func TestAdminsOfTasks(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			n := s.network(t)
			for _, name := range flows() {
				wf := decode(t, mustRender(t, name, s.values(t)))
				for _, task := range tasks(t, wf) {
					given := map[string]string{}
					for _, p := range task.Arguments.Parameters {
						given[p.Name] = p.Value.String()
					}
					tmpl := wf.GetTemplateByName(task.Template)
					mounts := slices.ContainsFunc(tmpl.Volumes, func(v corev1.Volume) bool {
						return v.Secret != nil && v.Secret.SecretName == "{{inputs.parameters.admin}}"
					})
					if _, has := given["admin"]; has != mounts {
						t.Errorf("task %s names an admin: %v; its template mounts one: %v", task.Name, has, mounts)
					}
					if !mounts {
						continue
					}
					org := n.Org(given["org"])
					if org == nil || org.AdminSecret() != given["admin"] {
						t.Errorf("task %s acts for org %q with the admin in Secret %q", task.Name, given["org"], given["admin"])
					}
				}
			}
		})
	}
}

// The pods that act as clients hold one of every channel they look at.
func TestClientsOfFlows(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			n := s.network(t)
			want := map[string][]string{}
			add := func(flow string, orgs []*network.Org) {
				if len(orgs) == 0 {
					return
				}
				o := orgs[0]
				line := o.ClientSecret() + ": " + o.Label() + "/cert.pem " + o.Label() + "/key.pem"
				if !slices.Contains(want[flow], line) {
					want[flow] = append(want[flow], line)
				}
			}
			for _, ch := range n.FlowChannels {
				add(ChannelFlow, ch.Orgs)
			}
			for _, cc := range n.FlowChaincodes {
				for _, def := range cc.Channels {
					if cc.Deployable() {
						add(ChaincodeFlow, def.Orgs)
					}
				}
			}
			for _, name := range flows() {
				var got []string
				for _, v := range decode(t, mustRender(t, name, s.values(t))).Spec.Volumes {
					if v.Name != "client" {
						continue
					}
					for _, src := range v.Projected.Sources {
						line := src.Secret.Name + ":"
						for _, item := range src.Secret.Items {
							line += " " + item.Path
						}
						got = append(got, line)
					}
				}
				slices.Sort(got)
				slices.Sort(want[name])
				if diff := cmp.Diff(want[name], got); diff != "" {
					t.Errorf("clients of %s: -network, +chart:\n%s", name, diff)
				}
			}
		})
	}
}

// A step that loads what travels in the workflow must see the network that the user's
// files describe. Nothing in it may look like a variable to Argo.
func TestNetworkOfFlows(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			n := s.network(t)
			for _, name := range flows() {
				wf := decode(t, mustRender(t, name, s.values(t)))
				text := parameter(t, wf, "network")
				if strings.Contains(text, "{{") {
					t.Errorf("%s: parameter network contains {{, which Argo would replace", name)
				}
				got, problems, err := network.Load([]network.Source{{Name: "network.yaml", Data: []byte(text)}}, nil)
				if err != nil {
					t.Fatalf("%s: %v\n%v", name, err, problems)
				}
				if diff := cmp.Diff(describe(t, n, name), describe(t, got, name)); diff != "" {
					t.Errorf("%s: -files, +parameter:\n%s", name, diff)
				}
			}
		})
	}
}

// describe is what a flow's steps need of a network, as text. A network is a graph with
// cycles, which JSON and cmp do not follow.
func describe(t *testing.T, n *network.Network, flow string) string {
	t.Helper()
	var b strings.Builder
	line := func(args ...any) {
		data, err := json.Marshal(args)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(data, '\n'))
	}
	names := func(orgs []*network.Org) []string {
		var s []string
		for _, o := range orgs {
			s = append(s, o.Name)
		}
		return s
	}
	line(n.Version)
	for _, o := range n.Orgs() {
		line("org", o.Kind, o.Name, o.MSPID, o.Domain, o.NodeOUs, o.Users)
		for _, node := range o.Nodes {
			line("node", node.Name(), node.CommonName, node.SANS)
		}
	}
	for _, ch := range n.Channels {
		line("channel", ch.Name, names(ch.Orgs), names(ch.OrdererOrgs), ch.Consensus, ch.Batch)
	}
	if flow == ChannelFlow {
		for _, ch := range n.FlowChannels {
			line("look at", ch.Name)
		}
		return b.String()
	}
	for _, cc := range n.Chaincodes {
		line("chaincode", cc.Name, cc.Version, cc.Image, cc.Service, cc.Source, cc.Path, cc.Package, cc.Language, names(cc.Orgs), cc.Init, cc.Smoke)
		for _, def := range cc.Channels {
			line("on", def.Channel.Name, names(def.Orgs), def.Policy, def.Collections)
		}
	}
	for _, cc := range n.FlowChaincodes {
		line("look at", cc.Name)
	}
	return b.String()
}

func parameter(t testing.TB, wf *wfv1.Workflow, name string) string {
	t.Helper()
	for _, p := range wf.Spec.Arguments.Parameters {
		if p.Name == name {
			return p.Value.String()
		}
	}
	t.Fatalf("no parameter %s", name)
	return ""
}
