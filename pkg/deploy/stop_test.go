package deploy_test

import (
	"context"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/pkg/client/clientset/versioned"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/exit"
)

// TestStopWorkflows interrupts a flow, with and without the wish to stop it.
func TestStopWorkflows(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason   string
		stop     bool
		refuse   bool
		code     exit.Code
		shutdown wfv1.ShutdownStrategy
	}{
		"GoesOn":  {"Who interrupts the watcher has not asked for the work to be left half done.", false, false, exit.Interrupted, ""},
		"Stopped": {"Who says so has.", true, false, exit.Interrupted, wfv1.ShutdownStrategyTerminate},
		"Denied":  {"A workflow that could not be stopped goes on, and must not be taken for stopped.", true, true, exit.Failed, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBringUp(t)
			b.mustInstall()
			b.cluster.HoldTasks()
			if tc.refuse {
				b.cluster.Refuse("patch", "workflows", "")
			}
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			s := &story{heard: func(string, string) { interrupt() }} // the first word is the workflow's name
			d := b.deployment(s)
			d.StopWorkflows = tc.stop
			_, err := d.RunFlow(ctx, deploy.ChannelFlow, nil)
			s.check(t)
			if exit.CodeOf(err) != tc.code {
				t.Errorf("%s\nexit %d, %v; want %d", tc.reason, exit.CodeOf(err), err, tc.code)
			}
			config, err := d.Kube.ToRESTConfig()
			if err != nil {
				t.Fatal(err)
			}
			argo, err := versioned.NewForConfig(config)
			if err != nil {
				t.Fatal(err)
			}
			list, err := argo.ArgoprojV1alpha1().Workflows(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "workflows.argoproj.io/completed!=true"})
			if err != nil || len(list.Items) != 1 {
				t.Fatalf("%d workflows under way, %v", len(list.Items), err)
			}
			if got := list.Items[0].Spec.Shutdown; got != tc.shutdown {
				t.Errorf("%s\nthe workflow's shutdown is %q, want %q", tc.reason, got, tc.shutdown)
			}
		})
	}
}
