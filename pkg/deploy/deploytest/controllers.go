package deploytest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// control does at once what controllers do in time. The lock is held.
func (c *Cluster) control(path string, o object) {
	switch {
	case strings.Contains(path, "/statefulsets/"):
		c.statefulSet(path, o)
	case strings.Contains(path, "/workflows/"):
		c.workflow(o)
	}
}

// statefulSet makes a set's pod ready, and its volume claims.
func (c *Cluster) statefulSet(path string, o object) {
	spec, _ := o["spec"].(object)
	generation := o["metadata"].(object)["generation"]
	o["status"] = object{"observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "currentReplicas": 1}
	if c.pending {
		o["status"] = object{"observedGeneration": generation, "replicas": 1, "updatedReplicas": 1}
	}
	if fmt.Sprint(spec["replicas"]) == "0" {
		o["status"] = object{"observedGeneration": generation, "replicas": 0}
	}
	name := o["metadata"].(object)["name"].(string)
	namespace := strings.Split(path, "/")[4]
	selector, _ := spec["selector"].(object)
	claims, _ := spec["volumeClaimTemplates"].([]any)
	for _, claim := range claims {
		claimName := fmt.Sprintf("%s-%s-0", claim.(object)["metadata"].(object)["name"], name)
		path := "api/v1/namespaces/" + namespace + "/persistentvolumeclaims/" + claimName
		if c.objects[path] == nil {
			// The real controller, too, labels claims with the selector's labels alone.
			c.store("ADDED", path, object{"metadata": object{"name": claimName, "namespace": namespace, "labels": selector["matchLabels"]}})
		}
	}
}

// workflow runs a workflow's graph: the probe finds what has not been done, the rest does it. In
// a graph without a probe, everything is done.
func (c *Cluster) workflow(o object) {
	if status, _ := o["status"].(object); status["phase"] != nil {
		return
	}
	name := o["metadata"].(object)["name"].(string)
	nodes, failed := object{}, false
	add := func(task, phase, message string, outputs object) {
		id := name + "-" + task
		nodes[id] = object{"id": id, "name": name + "." + task, "displayName": task, "type": "Pod", "phase": phase, "message": message, "outputs": outputs}
	}
	ended := map[string]string{}
	tasks := dag(o)
	var todo []string
	probe := tasks[0].name == "probe"
	for _, t := range tasks[1:] {
		if !c.done[t.name] {
			todo = append(todo, t.name)
		}
	}
	for i, t := range tasks {
		phase, message, outputs := "Succeeded", "", object{}
		failure, fails := c.fails[t.name]
		switch {
		case c.stuck && i == 0:
			phase = "Running"
		case c.stuck:
			continue
		case slices.ContainsFunc(t.after, func(d string) bool { return ended[d] == "Failed" || ended[d] == "Omitted" }):
			phase = "Omitted"
		case probe && i > 0 && !slices.Contains(todo, t.name):
			phase = "Skipped"
		case fails:
			phase, message, failed = "Failed", fmt.Sprintf("main: Error (exit code %d): %s", failure.ExitCode, failure.Message), true
			outputs = object{"exitCode": strconv.Itoa(failure.ExitCode)}
		case probe && i == 0:
			outputs = object{"parameters": []object{{"name": "todo", "value": list(todo)}}}
		default:
			c.done[t.name] = probe
			outputs = object{"exitCode": "0", "parameters": []object{{"name": "result", "value": list([]string{t.name + " did it"})}}}
		}
		ended[t.name] = phase
		add(t.name, phase, message, outputs)
	}
	labels, _ := o["metadata"].(object)["labels"].(object)
	phase := "Succeeded"
	switch {
	case c.stuck:
		phase = "Running"
	case failed:
		phase = "Failed"
		fallthrough
	default:
		labels["workflows.argoproj.io/completed"] = "true"
	}
	o["status"] = object{"phase": phase, "nodes": nodes, "startedAt": "2026-11-21T12:00:00Z"}
}

type task struct {
	name  string
	after []string
}

// dag lists the tasks of a workflow's entrypoint, the probe first.
func dag(o object) []task {
	spec := o["spec"].(object)
	var tasks []task
	for _, t := range spec["templates"].([]any) {
		template := t.(object)
		graph, ok := template["dag"].(object)
		if !ok || template["name"] != spec["entrypoint"] {
			continue
		}
		for _, t := range graph["tasks"].([]any) {
			one := task{name: t.(object)["name"].(string)}
			after, _ := t.(object)["dependencies"].([]any)
			for _, d := range after {
				one.after = append(one.after, d.(string))
			}
			depends, _ := t.(object)["depends"].(string)
			for _, word := range strings.FieldsFunc(depends, func(r rune) bool { return strings.ContainsRune(" ()&|", r) }) {
				one.after = append(one.after, strings.Split(word, ".")[0])
			}
			tasks = append(tasks, one)
		}
	}
	return tasks
}

func list(items []string) string {
	b, err := json.Marshal(append([]string{}, items...))
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(b)
}
