package workflow

import (
	"strings"
	"time"
)

// Phase is where a task, or a whole workflow, stands.
type Phase string

// The phases. Argo's Error is a failure like any other to those who read this.
const (
	Waiting   Phase = "waiting" // for other tasks, a mutex, a place or the controller
	Running   Phase = "running"
	Succeeded Phase = "succeeded"
	Skipped   Phase = "skipped" // there was nothing to do
	Failed    Phase = "failed"
	Omitted   Phase = "omitted" // what it depends on failed
)

// Finished reports whether the phase is a last one.
func (p Phase) Finished() bool { return p != Waiting && p != Running && p != "" }

// Task is one task of a workflow's graph.
type Task struct {
	Name  string `json:"name"`
	Title string `json:"title,omitempty"` // in words, from the chart
	Phase Phase  `json:"phase"`
	// Message is the reason of a failure, or of a wait.
	Message string `json:"message,omitempty"`
	// Result are the sentences in which a step says what it changed.
	Result []string `json:"result,omitempty"`
	// Attempts counts pods; more than one means that it was tried again.
	Attempts int `json:"attempts,omitempty"`
	// ExitCode is the last pod's, -1 if it had none or has not ended.
	ExitCode int       `json:"exitCode"`
	Pod      string    `json:"pod,omitempty"` // the last one, where the log is
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
}

// title is the task in words, or its name.
func (t Task) title() string {
	if t.Title != "" {
		return t.Title
	}
	return t.Name
}

// Event is something that a watcher wants to hear at once: a task that changed, or news of
// the whole run.
type Event struct {
	// Task is the task that changed; nil for news of the whole.
	Task *Task `json:"task,omitempty"`
	// Note is news of the whole, a sentence.
	Note string `json:"note,omitempty"`
	// Done of Total tasks are finished. Total is known from the beginning.
	Done  int `json:"done"`
	Total int `json:"total"`
}

func (e Event) String() string {
	if e.Task == nil {
		return e.Note
	}
	text := e.Task.title() + ": " + string(e.Task.Phase)
	if e.Task.Message != "" {
		text += " (" + firstLine(e.Task.Message) + ")"
	}
	return text
}

// Outcome is a run as last seen.
type Outcome struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	// Phase of the whole; only Succeeded and Failed are last ones.
	Phase   Phase  `json:"phase"`
	Message string `json:"message,omitempty"`
	// Tasks are all tasks of the graph in the chart's order.
	Tasks []Task `json:"tasks"`
	// Todo is what the probe found left to do: names of tasks.
	Todo []string `json:"todo"`
	// Pods counts all pods of the run, tries included.
	Pods     int       `json:"pods"`
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
}

func (o Outcome) done() int {
	n := 0
	for _, t := range o.Tasks {
		if t.Phase.Finished() {
			n++
		}
	}
	return n
}

func firstLine(s string) string {
	first, _, _ := strings.Cut(s, "\n")
	return first
}
