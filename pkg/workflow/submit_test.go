package workflow_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	argofake "github.com/argoproj/argo-workflows/v3/pkg/client/clientset/versioned/fake"
	"github.com/argoproj/argo-workflows/v3/workflow/templateresolution"
	"github.com/argoproj/argo-workflows/v3/workflow/validate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/workflow"
)

func TestDecode(t *testing.T) {
	t.Parallel()
	good := string(flow(image, "true", "true"))
	cases := map[string]struct {
		reason   string
		manifest string
		text     string // of the error; "" for none
	}{
		"Rendered":  {"What helm template prints begins with a separator and a comment.", good, ""},
		"Comments":  {"Documents without content are passed over.", "# nothing\n---\n" + good + "\n---\n# end\n", ""},
		"Empty":     {"A chart that rendered nothing is not a run that succeeded.", "", "there is none"},
		"Two":       {"Only one workflow can be watched.", good + "\n---\n" + good, "more than one"},
		"OtherKind": {"argo submit would pass over it without a word.", "apiVersion: v1\nkind: ConfigMap\n", "ConfigMap of v1 is not a Workflow"},
		"Unknown":   {"The API server would drop a misspelt field without a word.", strings.Replace(good, "podGC", "podGc2", 1), "podGc2"},
		"Twice":     {"A key given twice is a mistake of the chart.", strings.Replace(good, "spec:\n", "spec:\n  entrypoint: x\n", 1), "entrypoint"},
		"NoName":    {"Without a name the API server would refuse it.", strings.Replace(good, "generateName: story-", "annotations: {}", 1), "neither name"},
		"Broken":    {"YAML that does not parse.", "a: [", "reading the workflow"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wf, err := workflow.Decode([]byte(tc.manifest))
			switch {
			case tc.text == "" && (err != nil || wf.GenerateName != "story-"):
				t.Errorf("%s\nDecode = %v, %v", tc.reason, wf, err)
			case tc.text != "" && (err == nil || !strings.Contains(err.Error(), tc.text)):
				t.Errorf("%s\nDecode = %v, want an error with %q", tc.reason, err, tc.text)
			}
		})
	}
}

// TestStoryIsValid keeps the flow of these tests one that Argo would take.
func TestStoryIsValid(t *testing.T) {
	t.Parallel()
	wf, err := workflow.Decode(flow(image, "true", "true"))
	if err != nil {
		t.Fatal(err)
	}
	argo := argofake.NewSimpleClientset().ArgoprojV1alpha1()
	err = validate.ValidateWorkflow(templateresolution.WrapWorkflowTemplateInterface(argo.WorkflowTemplates("")),
		templateresolution.WrapClusterWorkflowTemplateInterface(argo.ClusterWorkflowTemplates()), wf, &wfv1.Workflow{}, validate.ValidateOpts{Submit: true})
	if err != nil {
		t.Error(err)
	}
}

func TestSubmitAdopts(t *testing.T) {
	t.Parallel()
	yes := true
	cases := map[string]struct {
		reason string
		change func(*wfv1.Workflow)
		other  bool // submit another workflow
		adopt  bool
	}{
		"New":       {"One that no controller has seen yet is adopted, too.", func(*wfv1.Workflow) {}, false, true},
		"Running":   {"An interrupted pivt goes on with what it had started.", func(wf *wfv1.Workflow) { wf.Status.Phase = wfv1.WorkflowRunning }, false, true},
		"Different": {"Changed files are other work.", func(*wfv1.Workflow) {}, true, false},
		"Completed": {"What is over is no answer to a new question.", func(wf *wfv1.Workflow) { wf.Status.Phase = wfv1.WorkflowSucceeded }, false, false},
		"Stopped":   {"A run that is being stopped will fail.", func(wf *wfv1.Workflow) { wf.Spec.Shutdown = wfv1.ShutdownStrategyTerminate }, false, false},
		"Suspended": {"A suspended run would never end.", func(wf *wfv1.Workflow) { wf.Spec.Suspend = &yes }, false, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(nil)
			first, err := workflow.Submit(t.Context(), c, namespace, flow(image, "true", "true"))
			if err != nil || first.Adopted {
				t.Fatalf("the first Submit = %+v, %v", first, err)
			}
			wf := c.workflows(t)[0]
			tc.change(&wf)
			c.update(t, &wf)
			manifest := flow(image, "true", "true")
			if tc.other {
				manifest = flow(image, "true", "false")
			}
			second, err := workflow.Submit(t.Context(), c, namespace, manifest)
			if err != nil {
				t.Fatal(err)
			}
			if second.Adopted != tc.adopt || (second.Name == first.Name) != tc.adopt {
				t.Errorf("%s\nsecond Submit = %+v, first %+v", tc.reason, second, first)
			}
		})
	}
}

func TestSubmitLostAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(nil)
		c.swallow = true
		run, err := workflow.Submit(t.Context(), c, namespace, flow(image, "true", "true"))
		if err != nil || len(c.workflows(t)) != 1 || run.Name != c.workflows(t)[0].Name {
			t.Errorf("Submit = %+v, %v with %d workflows; a lost answer must not make a second one", run, err, len(c.workflows(t)))
		}
	})
}

func TestSubmitErrors(t *testing.T) {
	t.Parallel()
	t.Run("NoArgo", func(t *testing.T) {
		t.Parallel()
		c := newCluster(nil)
		c.argo.PrependReactor("list", "workflows", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewNotFound(schema.GroupResource{Group: "argoproj.io", Resource: "workflows"}, "")
		})
		_, err := workflow.Submit(t.Context(), c, namespace, flow(image, "true", "true"))
		if exit.CodeOf(err) != exit.NotReady || !strings.Contains(exit.HintOf(err), "install Argo") {
			t.Errorf("Submit to a cluster without Argo = %v (code %d)", err, exit.CodeOf(err))
		}
	})
	t.Run("NoNamespace", func(t *testing.T) {
		t.Parallel()
		c := newCluster(nil)
		c.argo.PrependReactor("create", "workflows", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, namespace)
		})
		_, err := workflow.Submit(t.Context(), c, namespace, flow(image, "true", "true"))
		if err == nil || strings.Contains(err.Error(), "Argo") || !strings.Contains(err.Error(), `namespaces "fabric" not found`) {
			t.Errorf("Submit to a namespace that is not there = %v; Argo must not be blamed", err)
		}
	})
	t.Run("Away", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(nil)
			c.setDown(true)
			began := time.Now()
			_, err := workflow.Submit(t.Context(), c, namespace, flow(image, "true", "true"))
			if err == nil || time.Since(began) > 30*time.Second {
				t.Errorf("Submit while the API server is away = %v after %s", err, time.Since(began))
			}
		})
	})
}

func TestStop(t *testing.T) {
	t.Parallel()
	c := newCluster(nil)
	run, err := workflow.Submit(t.Context(), c, namespace, flow(image, "true", "true"))
	if err != nil {
		t.Fatal(err)
	}
	if err := workflow.Stop(t.Context(), c, run); err != nil || c.workflows(t)[0].Spec.Shutdown != wfv1.ShutdownStrategyTerminate {
		t.Errorf("Stop = %v, shutdown %q", err, c.workflows(t)[0].Spec.Shutdown)
	}
	if err := workflow.Stop(t.Context(), c, &workflow.Run{Namespace: namespace, Name: "gone"}); err != nil {
		t.Errorf("stopping what is gone = %v", err)
	}
}
