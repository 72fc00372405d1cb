package deploy_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/deploy/deploytest"
)

// buildPod is a pod that builds, as package runtime makes it.
func (b *bringUp) buildPod(name string, state map[string]any) {
	b.cluster.Put("pods", namespace, map[string]any{"phase": "Pending", "initContainerStatuses": []any{
		map[string]any{"name": "fetch", "state": map[string]any{"terminated": map[string]any{"exitCode": 0}}},
		map[string]any{"name": "build", "state": state},
	}}, map[string]any{"name": name, "uid": name, "labels": map[string]any{
		"app.kubernetes.io/component": "chaincode-build", "pivt.io/node": "hlf-peer--karga--peer0", "pivt.io/chaincode": "basic_1.0",
	}})
}

// TestBuildFailures: the peer says no more than that a build failed; what the compiler said
// is told by whoever watches.
func TestBuildFailures(t *testing.T) {
	t.Parallel()
	const step = "build of basic_1.0 at hlf-peer--karga--peer0"
	ended := func(message string) map[string]any {
		return map[string]any{"terminated": map[string]any{"exitCode": 2, "reason": "Error", "message": message}}
	}
	many := strings.Repeat("line\n", 100) + "./main.go:7:2: undefined: x\n"
	cases := map[string]struct {
		reason  string
		state   map[string]any
		log     string
		flow    bool // the flow fails as well
		end     string
		wantLog []string
	}{
		"WithLog": {
			reason: "The last lines of the log are told, whatever the termination message has room for.",
			state:  ended("cut off"), log: many, flow: true,
			end:     "failed: chaincode basic_1.0 did not build at hlf-peer--karga--peer0: exit status 2: ./main.go:7:2: undefined: x",
			wantLog: append(slices.Repeat([]string{"line"}, 39), "./main.go:7:2: undefined: x"),
		},
		"PodGone": {
			reason: "The launcher deletes the pod at once; Kubernetes' copy of the last lines is then all there is.",
			state:  ended("# basic\n./main.go:7:2: undefined: x\n"), flow: true,
			end:     "failed: chaincode basic_1.0 did not build at hlf-peer--karga--peer0: exit status 2: ./main.go:7:2: undefined: x",
			wantLog: []string{"# basic", "./main.go:7:2: undefined: x"},
		},
		"OverlongLine": {
			reason: "A line without end must not be kept in memory or told.",
			state:  ended(""), log: strings.Repeat("x", 1<<20) + "\nend\n", flow: true,
			end:     "failed: chaincode basic_1.0 did not build at hlf-peer--karga--peer0: exit status 2: end",
			wantLog: []string{strings.Repeat("x", 400), "end"},
		},
		"SecondAttemptWorks": {
			reason: "A failure that did not keep the flow from its end is told but is no failure of the command.",
			state:  ended("network is down"),
			end:    "failed: chaincode basic_1.0 did not build at hlf-peer--karga--peer0: exit status 2: network is down",
		},
		"StillBuilding": {
			reason: "A build that outlives the flow is no longer watched.",
			state:  map[string]any{"running": map[string]any{}}, flow: true,
			end: "warned: no longer watched",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBringUp(t)
			b.mustInstall()
			if tc.flow {
				b.cluster.Undo("install-basic-karga")
				b.cluster.FailTask("install-basic-karga", deploytest.TaskFailure{ExitCode: 1, Message: "could not build chaincode"})
			}
			if tc.log != "" {
				b.cluster.Log("build-x", tc.log)
			}
			b.buildPod("build-x", tc.state)
			_, s, err := b.install(t.Context())
			s.check(t)
			if got := s.ended[step]; !slices.Equal(got, []string{tc.end}) {
				t.Errorf("%s\nthe step ended with %q, want %q", tc.reason, got, tc.end)
			}
			var failed *deploy.BuildError
			found := errors.As(err, &failed)
			if found != (tc.wantLog != nil) {
				t.Fatalf("%s\nerror %v has the build's failure: %v", tc.reason, err, found)
			}
			if found && !slices.Equal(failed.Log, tc.wantLog) {
				t.Errorf("%s\nlog = %q", tc.reason, failed.Log)
			}
			if !tc.flow && err != nil {
				t.Errorf("%s\n%v", tc.reason, err)
			}
		})
	}
}
