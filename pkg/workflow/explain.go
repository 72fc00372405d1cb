package workflow

import (
	"fmt"
	"strings"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/few"
)

// Explain turns a run that has not succeeded into an error: what failed, in the step's own
// words, with the exit code and the hint that follow from it. It is nil for success.
func Explain(o Outcome) error {
	switch o.Phase {
	case Succeeded:
		return nil
	case Failed:
	case Waiting, Running, Skipped, Omitted:
		return exit.With(fmt.Errorf("workflow %s has not ended: it is %s", o.Name, o.Phase), exit.NotReady)
	}
	var failed []Task
	for _, t := range o.Tasks {
		if t.Phase == Failed {
			failed = append(failed, t)
		}
	}
	if len(failed) == 0 {
		return classify(o, Task{ExitCode: -1, Message: o.Message}, fmt.Errorf("workflow %s: %s", o.Name, orElse(o.Message, "it failed without a reason")))
	}

	var parts []string
	for _, t := range failed {
		message, _ := splitHint(t.Message)
		parts = append(parts, t.Name+": "+orElse(message, "it failed without a reason"))
	}
	return classify(o, failed[0], fmt.Errorf("workflow %s: %s", o.Name, few.Sentences(parts, 3)))
}

// exitTryAgain is what a step ends with when time may cure it. When it is the last word, the
// tries are used up.
const exitTryAgain = int(exit.TryAgain)

func classify(o Outcome, t Task, err error) error {
	code := exit.Failed
	if t.ExitCode == exitTryAgain || isDeadline(t.Message) || isDeadline(o.Message) {
		code = exit.TimedOut
	}
	err = exit.With(err, code)
	if _, hint := splitHint(t.Message); hint != "" {
		return exit.WithHint(err, hint)
	}
	switch {
	case t.Pod != "":
		return exit.WithHint(err, fmt.Sprintf("the step's log: kubectl -n %s logs %s -c main", o.Namespace, t.Pod))
	case code == exit.TimedOut:
		return exit.WithHint(err, "repeat the command; what is done will not be done again")
	}
	return exit.WithHint(err, fmt.Sprintf("more: kubectl -n %s describe workflow %s", o.Namespace, o.Name))
}

// isDeadline knows Argo's and the kubelet's ways to say that time was up.
func isDeadline(message string) bool {
	for _, words := range []string{"exceeded its deadline", "exceeded workflow deadline", "longer than the specified deadline", "DeadlineExceeded", "Max duration limit exceeded"} {
		if strings.Contains(message, words) {
			return true
		}
	}
	return false
}

// splitHint separates the hint that a step adds to its last words: a line "Hint: …".
func splitHint(message string) (text, hint string) {
	text, hint, _ = strings.Cut("\n"+message, "\nHint:")
	return strings.Join(strings.Fields(text), " "), strings.Join(strings.Fields(hint), " ")
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func inBrackets(items []string) string {
	if len(items) == 0 {
		return ""
	}
	return " (" + strings.Join(items, ", ") + ")"
}
