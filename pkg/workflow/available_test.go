package workflow_test

import (
	"context"
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/workflow"
)

type serving func(schema.GroupVersion, string) (bool, error)

func (s serving) Serves(_ context.Context, v schema.GroupVersion, resource string) (bool, error) {
	return s(v, resource)
}

func TestAvailable(t *testing.T) {
	t.Parallel()
	away := errors.New("no route to host")
	cases := map[string]struct {
		reason string
		serves bool
		err    error
		want   error
		code   exit.Code
	}{
		"Served":    {"A cluster with Argo's kinds will do.", true, nil, nil, exit.OK},
		"NotServed": {"Without them nothing could be submitted, which is not the files' fault.", false, nil, workflow.ErrNoArgo, exit.NotReady},
		"Away":      {"A cluster that does not answer has not said no.", false, away, away, exit.Failed},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := workflow.Available(t.Context(), serving(func(v schema.GroupVersion, resource string) (bool, error) {
				if v.String() != "argoproj.io/v1alpha1" || resource != "workflows" {
					t.Errorf("asked for %s %s", v, resource)
				}
				return tc.serves, tc.err
			}))
			if !errors.Is(err, tc.want) || exit.CodeOf(err) != tc.code {
				t.Errorf("%s\n%v (exit %d), want %v (exit %d)", tc.reason, err, exit.CodeOf(err), tc.want, tc.code)
			}
			if errors.Is(err, workflow.ErrNoArgo) && exit.HintOf(err) == "" {
				t.Error("the cure is not told")
			}
		})
	}
}
