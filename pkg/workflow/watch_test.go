package workflow_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/workflow"
)

const image = "pivt/pivt:dev"

// begun submits the flow and starts the controller.
func begun(t *testing.T, c *cluster) *workflow.Run {
	t.Helper()
	run, err := workflow.Submit(t.Context(), c, namespace, flow(image, "true", "true"))
	if err != nil {
		t.Fatal(err)
	}
	c.start(t)
	return run
}

// story collects events as lines "12s 1/3 text".
type story struct {
	began time.Time
	lines []string
}

func (s *story) tell(e workflow.Event) {
	at := time.Since(s.began).Round(time.Second)
	s.lines = append(s.lines, strings.Join([]string{at.String(), progress(e), e.String()}, " "))
}

func progress(e workflow.Event) string {
	return string(rune('0'+e.Done)) + "/" + string(rune('0'+e.Total))
}

func TestWatch(t *testing.T) {
	t.Parallel()
	joinA := []string{"join-a"}
	cases := map[string]struct {
		reason string
		run    func(task string, attempt int) end
		story  []string
		want   []workflow.Task // name, phase, result, attempts, exit code only
		todo   []string
		pods   int
		code   exit.Code
		text   string
		hint   string
	}{
		"Changes": {
			reason: "Pods tell within a moment what the controller sees ten seconds later; what is not in todo costs no pod.",
			run: func(task string, _ int) end {
				if task == "probe" {
					return end{after: time.Second, output: joinA}
				}
				return end{after: time.Second, output: []string{"peer0.a joined"}}
			},
			story: []string{
				"0s 0/3 Look: waiting (its pod is starting)",
				"2s 0/3 Look: running",
				"3s 0/3 Look: running (done; the controller has not seen it yet)",
				"10s 2/3 Join A: waiting (its pod is starting)",
				"10s 2/3 Join B: skipped",
				"10s 2/3 Look: succeeded",
				"12s 2/3 Join A: running",
				"13s 2/3 Join A: running (done; the controller has not seen it yet)",
				"20s 3/3 Join A: succeeded",
			},
			want: []workflow.Task{
				{Name: "probe", Phase: workflow.Succeeded, Attempts: 1},
				{Name: "join-a", Phase: workflow.Succeeded, Attempts: 1, Result: []string{"peer0.a joined"}},
				{Name: "join-b", Phase: workflow.Skipped, ExitCode: -1},
			},
			todo: joinA, pods: 2,
		},
		"NothingToDo": {
			reason: "An up-to-date network costs one pod.",
			run:    func(string, int) end { return end{after: time.Second, output: []string{}} },
			story: []string{
				"0s 0/3 Look: waiting (its pod is starting)",
				"2s 0/3 Look: running",
				"3s 0/3 Look: running (done; the controller has not seen it yet)",
				"10s 3/3 Join A: skipped", "10s 3/3 Join B: skipped", "10s 3/3 Look: succeeded",
			},
			want: []workflow.Task{
				{Name: "probe", Phase: workflow.Succeeded, Attempts: 1},
				{Name: "join-a", Phase: workflow.Skipped, ExitCode: -1}, {Name: "join-b", Phase: workflow.Skipped, ExitCode: -1},
			},
			todo: []string{}, pods: 1,
		},
		"PermanentFailure": {
			reason: "A wrong policy fails at once, with the step's own words and hint.",
			run: func(string, int) end {
				return end{after: time.Second, code: 1, message: "orderer0:7053: certificate expired\nHint:  renew it\n"}
			},
			story: []string{
				"0s 0/3 Look: waiting (its pod is starting)",
				"2s 0/3 Look: running",
				"3s 0/3 Look: running (orderer0:7053: certificate expired)",
				"10s 3/3 Join A: omitted", "10s 3/3 Join B: omitted",
				"10s 3/3 Look: failed (orderer0:7053: certificate expired)",
			},
			want: []workflow.Task{
				{Name: "probe", Phase: workflow.Failed, Attempts: 1, ExitCode: 1},
				{Name: "join-a", Phase: workflow.Omitted, ExitCode: -1}, {Name: "join-b", Phase: workflow.Omitted, ExitCode: -1},
			},
			pods: 1, code: exit.Failed, text: "workflow story-00001: probe: orderer0:7053: certificate expired", hint: "renew it",
		},
		"TriedAgain": {
			reason: "Exit 75 is tried again, and the tries are told apart.",
			run: func(_ string, attempt int) end {
				if attempt == 0 {
					return end{after: time.Second, code: 75, message: "no leader yet"}
				}
				return end{after: time.Second}
			},
			story: []string{
				"0s 0/3 Look: waiting (its pod is starting)",
				"2s 0/3 Look: running",
				"3s 0/3 Look: running (no leader yet)",
				"10s 0/3 Look: waiting (its pod is starting)",
				"12s 0/3 Look: running",
				"13s 0/3 Look: running (done; the controller has not seen it yet)",
				"20s 3/3 Join A: skipped", "20s 3/3 Join B: skipped", "20s 3/3 Look: succeeded",
			},
			want: []workflow.Task{
				{Name: "probe", Phase: workflow.Succeeded, Attempts: 2},
				{Name: "join-a", Phase: workflow.Skipped, ExitCode: -1}, {Name: "join-b", Phase: workflow.Skipped, ExitCode: -1},
			},
			todo: nil, pods: 2,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(tc.run)
				run := begun(t, c)
				s := &story{began: time.Now()}
				o, err := workflow.Watch(soon(t), c, run, s.tell)
				if err != nil {
					t.Fatalf("%v; told:\n%s\nworkflow: %+v", err, strings.Join(s.lines, "\n"), c.workflows(t)[0].Status)
				}
				if late := time.Since(o.Finished); late >= 2*time.Second { // status times have no fractions
					t.Errorf("%s\nWatch returned %s after the end", tc.reason, late)
				}
				if diff := cmp.Diff(tc.story, sortWithin(s.lines)); diff != "" {
					t.Errorf("%s\nevents: -want, +got:\n%s", tc.reason, diff)
				}
				if diff := cmp.Diff(tc.want, bare(o.Tasks)); diff != "" {
					t.Errorf("%s\ntasks: -want, +got:\n%s", tc.reason, diff)
				}
				if diff := cmp.Diff(tc.todo, o.Todo); diff != "" || o.Pods != tc.pods {
					t.Errorf("%s\n%d pods, want %d; todo: -want, +got:\n%s", tc.reason, o.Pods, tc.pods, diff)
				}
				err = workflow.Explain(o)
				if exit.CodeOf(err) != tc.code || (err != nil && err.Error() != tc.text) || exit.HintOf(err) != tc.hint {
					t.Errorf("%s\nExplain = %v (code %d, hint %q)", tc.reason, err, exit.CodeOf(err), exit.HintOf(err))
				}
			})
		})
	}
}

// bare keeps what cases compare.
func bare(tasks []workflow.Task) []workflow.Task {
	var out []workflow.Task
	for _, t := range tasks {
		out = append(out, workflow.Task{Name: t.Name, Phase: t.Phase, Result: t.Result, Attempts: t.Attempts, ExitCode: t.ExitCode})
	}
	return out
}

func TestWatchWithoutController(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(nil)
		run, err := workflow.Submit(t.Context(), c, namespace, flow(image, "true", "true"))
		if err != nil {
			t.Fatal(err)
		}
		s := &story{began: time.Now()}
		o, err := workflow.Watch(soon(t), c, run, s.tell)
		if !errors.Is(err, workflow.ErrNoController) || exit.CodeOf(err) != exit.NotReady || exit.HintOf(err) == "" {
			t.Errorf("Watch = %v (code %d)", err, exit.CodeOf(err))
		}
		if len(s.lines) != 1 || !strings.HasPrefix(s.lines[0], "21s 0/3 no Argo controller") {
			t.Errorf("told: %q; want one note after 20 s", s.lines)
		}
		if workflow.Explain(o) == nil {
			t.Error("a run that never began is no success")
		}
	})
}

func TestWatchOutlivesAbsence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(func(string, int) end { return end{after: time.Second} })
		run := begun(t, c)
		c.setDown(true)
		time.AfterFunc(4500*time.Millisecond, func() { c.setDown(false) }) // between two looks
		s := &story{began: time.Now()}
		o, err := workflow.Watch(soon(t), c, run, s.tell)
		if err != nil || workflow.Explain(o) != nil {
			t.Fatalf("Watch = %v, %v", o.Phase, err)
		}
		text := strings.Join(s.lines, "\n")
		if !strings.Contains(text, "0s 0/0 the API server does not answer, trying again") || !strings.Contains(text, "5s 0/0 the API server answers again") {
			t.Errorf("told:\n%s", text)
		}
	})
}

func TestWatchDeleted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(func(string, int) end { return end{after: time.Hour} })
		run := begun(t, c)
		time.AfterFunc(5*time.Second, func() {
			if err := c.argo.Tracker().Delete(workflow.Resource(), namespace, run.Name); err != nil {
				t.Error(err)
			}
		})
		if _, err := workflow.Watch(soon(t), c, run, nil); !errors.Is(err, workflow.ErrDeleted) {
			t.Errorf("Watch = %v", err)
		}
	})
}

func TestWatchInterrupted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(func(string, int) end { return end{after: time.Hour} })
		run := begun(t, c)
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		o, err := workflow.Watch(ctx, c, run, nil)
		if exit.CodeOf(err) != exit.TimedOut || !strings.Contains(err.Error(), "(probe)") || !strings.Contains(exit.HintOf(err), run.Name) {
			t.Errorf("Watch = %v (code %d, hint %q)", err, exit.CodeOf(err), exit.HintOf(err))
		}
		if o.Phase != workflow.Running || len(o.Tasks) != 3 || o.Tasks[0].Phase != workflow.Running {
			t.Errorf("the last sight must come with the error, got %+v", o)
		}
	})
}

// TestWatchSilent is about a controller that is killed in the middle.
func TestWatchSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(func(string, int) end { return end{after: time.Second} })
		run, err := workflow.Submit(t.Context(), c, namespace, flow(image, "true", "true"))
		if err != nil {
			t.Fatal(err)
		}
		wf := c.workflows(t)[0]
		c.reconcile(t, &wf, func(f func()) { go f() }) // its only look
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		s := &story{began: time.Now()}
		_, err = workflow.Watch(ctx, c, run, s.tell)
		if exit.CodeOf(err) != exit.TimedOut {
			t.Errorf("Watch = %v", err)
		}
		if last := s.lines[len(s.lines)-1]; !strings.Contains(last, "has not touched the workflow since") {
			t.Errorf("told: %q; want a note that nothing moves", s.lines)
		}
	})
}

// TestWatchOffloaded is about controllers that keep the nodes in a database.
func TestWatchOffloaded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(nil)
		run, err := workflow.Submit(t.Context(), c, namespace, flow(image, "true", "true"))
		if err != nil {
			t.Fatal(err)
		}
		wf := c.workflows(t)[0]
		wf.Status.Phase, wf.Status.OffloadNodeStatusVersion = wfv1.WorkflowSucceeded, "fnv:1"
		c.update(t, &wf)
		s := &story{began: time.Now()}
		o, err := workflow.Watch(soon(t), c, run, s.tell)
		if err != nil || o.Phase != workflow.Succeeded || len(s.lines) != 1 || !strings.Contains(s.lines[0], "in a database") {
			t.Errorf("Watch = %s, %v; told %q; want the end of the whole and why there is no more", o.Phase, err, s.lines)
		}
	})
}

// soon ends, in the bubble's time, what would otherwise go on for ever.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// sortWithin sorts lines that begin with the same time, and gives them all the count of the
// last one: pods and workflow come by two watches, whose order within a moment means nothing.
func sortWithin(lines []string) []string {
	var out []string
	for len(lines) > 0 {
		at, _, _ := strings.Cut(lines[0], " ")
		n := 1
		for n < len(lines) && strings.HasPrefix(lines[n], at+" ") {
			n++
		}
		last := strings.SplitN(lines[n-1], " ", 3)[1]
		same := map[string]bool{}
		var group []string
		for _, l := range lines[:n] {
			parts := strings.SplitN(l, " ", 3)
			line := parts[0] + " " + last + " " + parts[2]
			if !same[line] {
				same[line] = true
				group = append(group, line)
			}
		}
		slices.Sort(group)
		out = append(out, group...)
		lines = lines[n:]
	}
	return out
}
