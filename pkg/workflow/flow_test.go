package workflow_test

import "fmt"

// flow is a small flow of the shape that the charts print; scripts say what its pods do.
func flow(image, probe, join string) []byte {
	step := func(script, output string) string {
		return fmt.Sprintf(`
    volumes: [{name: out, emptyDir: {}}]
    outputs: {parameters: [{name: %[3]s, valueFrom: {path: /out/%[3]s, default: "[]"}}]}
    retryStrategy:
      retryPolicy: Always
      expression: asInt(lastRetry.exitCode) in [75, -1]
      limit: "2"
      backoff: {duration: 1s}
    container:
      image: %[1]s
      command: [/bin/sh, -c, %[2]q]
      volumeMounts: [{name: out, mountPath: /out}]`, image, script, output)
	}
	return []byte(`---
# Source: story
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata:
  generateName: story-
spec:
  entrypoint: main
  serviceAccountName: flow
  activeDeadlineSeconds: 120
  podGC: {strategy: OnPodSuccess}
  templates:
  - name: main
    dag:
      failFast: false
      tasks:
      - {name: probe, template: probe}
      - name: join-a
        template: join
        depends: probe
        when: '{{="join-a" in fromJSON(tasks.probe.outputs.parameters.todo)}}'
        arguments: {parameters: [{name: org, value: A}]}
      - name: join-b
        template: join
        depends: probe
        when: '{{="join-b" in fromJSON(tasks.probe.outputs.parameters.todo)}}'
        arguments: {parameters: [{name: org, value: B}]}
  - name: probe
    metadata: {annotations: {workflows.argoproj.io/title: Look}}` + step(probe, "todo") + `
  - name: join
    metadata: {annotations: {workflows.argoproj.io/title: "Join {{inputs.parameters.org}}"}}
    inputs: {parameters: [{name: org}]}` + step(join, "result") + `
`)
}
