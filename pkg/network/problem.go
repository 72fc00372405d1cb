package network

import (
	"fmt"
	"sort"
	"strings"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/few"
)

// Severity tells what must be cured from what should only be known.
type Severity string

// A Network is only returned when nothing has severity Error.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Problem is one thing to say about the files, at the place it is about.
type Problem struct {
	// File is the source's name, or "--set KEY=VALUE" for what came from a flag.
	File string `json:"file"`
	// Line and Column count from 1; both are 0 for flags.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Path is the key, as network.channels[1].orgs[0]; empty when a file does not parse.
	Path     string   `json:"path,omitempty"`
	Message  string   `json:"message"`
	Severity Severity `json:"severity"`
}

// String gives the problem on one line, in the form editors and terminals make clickable.
func (p Problem) String() string {
	warning := ""
	if p.Severity == Warning {
		warning = "warning: "
	}
	if p.Line == 0 {
		return p.File + ": " + warning + p.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s%s", p.File, p.Line, p.Column, warning, p.Message)
}

// Problems are in the order of the files.
type Problems []Problem

// Errors are the problems that keep a network from being built.
func (ps Problems) Errors() Problems { return ps.with(Error) }

// Warnings are the problems that do not.
func (ps Problems) Warnings() Problems { return ps.with(Warning) }

func (ps Problems) with(s Severity) Problems {
	var some Problems
	for _, p := range ps {
		if p.Severity == s {
			some = append(some, p)
		}
	}
	return some
}

// maxPrinted is how many problems are spelled out at once.
const maxPrinted = 20

// InvalidError says that the files do not describe a network.
type InvalidError struct {
	// Problems has the warnings too; at least one is an error.
	Problems Problems
}

// Error lists the errors, one per line and at most 20.
func (e *InvalidError) Error() string {
	return few.Lines(e.Problems.Errors(), maxPrinted)
}

// report collects problems while files are read; sources rank their order.
type report struct {
	problems Problems
	rank     map[string]int
	lost     bool // a whole source could not be read
}

func newReport(sources []*source) *report {
	r := &report{rank: make(map[string]int, len(sources))}
	for i, s := range sources {
		if _, ok := r.rank[s.name]; !ok {
			r.rank[s.name] = i
		}
	}
	return r
}

// add collects a problem. A message is one line, whatever the names in it are made of.
func (r *report) add(p Problem) {
	p.Message = strings.Map(func(c rune) rune {
		if !oneLine(string(c)) {
			return ' '
		}
		return c
	}, p.Message)
	r.problems = append(r.problems, p)
}

// sorted gives the problems in file order, without repeats: two rules may find the same
// mistake, and an anchor is read once per alias.
func (r *report) sorted() Problems {
	ps := r.problems
	rank := func(p Problem) int { return r.rank[p.File] }
	sort.SliceStable(ps, func(i, j int) bool {
		a, b := ps[i], ps[j]
		switch {
		case rank(a) != rank(b):
			return rank(a) < rank(b)
		case a.Line != b.Line:
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
	seen := make(map[string]bool, len(ps))
	unique := ps[:0]
	for _, p := range ps {
		if s := p.String(); !seen[s] {
			seen[s] = true
			unique = append(unique, p)
		}
	}
	return unique
}

// err is nil unless something must be cured.
func (r *report) err() error {
	for _, p := range r.problems {
		if p.Severity == Error {
			return exit.With(&InvalidError{Problems: r.sorted()}, exit.Invalid)
		}
	}
	return nil
}
