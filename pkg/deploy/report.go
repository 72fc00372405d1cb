package deploy

// Reporter is told the story of a run while it happens. Steps may overlap.
type Reporter interface {
	Start(title string) Step
}

// Step is one line of the story. Exactly one of Done, Skip, Warn and Fail ends it.
type Step interface {
	// Update tells the latest state, such as "2 of 5 nodes ready".
	Update(note string)
	// Progress is an Update that is out of date soon: "copying 412 MiB of 1.3 GiB". A printer
	// that cannot redraw leaves most of them out.
	Progress(note string)
	// Done ends a step that changed something or waited for something.
	Done(note string)
	// Skip ends a step that found nothing to do.
	Skip(why string)
	// Warn ends a step that went well enough to go on.
	Warn(note string)
	Fail(err error)
}

// Change is one line of the result: what happened to which object.
type Change struct {
	Object string `json:"object"` // kind/name
	Verb   string `json:"verb"`   // created, configured, unchanged, deleted
}

// The verbs of a Change, in kubectl's words.
const (
	Created    = "created"
	Configured = "configured"
	Unchanged  = "unchanged"
	Deleted    = "deleted"
)

// Changed reports whether any of the changes is one.
func Changed(changes []Change) bool {
	for _, c := range changes {
		if c.Verb != Unchanged {
			return true
		}
	}
	return false
}
