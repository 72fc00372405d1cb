package chart

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"pivt.io/pivt/pkg/few"
)

// clone copies values, because Helm merges the chart's defaults into the maps it is given.
func clone(values map[string]any) map[string]any {
	m := make(map[string]any, len(values))
	for k, v := range values {
		m[k] = cloneAny(v)
	}
	return m
}

func cloneAny(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return clone(v)
	case []any:
		s := make([]any, len(v))
		for i, item := range v {
			s[i] = cloneAny(item)
		}
		return s
	}
	return v
}

// Helm wraps what a chart says with "fail" into the places of every template around it.
var failed = regexp.MustCompile(`(?s)^.*execution error at \([^)]*\): `)

// explain keeps of a template's error what the chart's author wrote for the user, and puts
// a schema's complaints on one line.
func explain(err error) error {
	if said := failed.ReplaceAllString(err.Error(), ""); said != err.Error() {
		return errors.New(said)
	}
	if _, said, ok := strings.Cut(err.Error(), "meet the specifications of the schema(s) in the following chart(s):\n"); ok {
		return errors.New("values: " + strings.Join(complaints(said), "; "))
	}
	var several interface{ WrappedErrors() []error }
	if errors.As(err, &several) {
		return objectErrors(several.WrappedErrors())
	}
	return err
}

// objectErrors is what Helm met when it made several objects at once, in one line instead of a
// list, and each reason once: a right that lacks does so for every object of a kind.
type objectErrors []error

func (e objectErrors) Error() string {
	var reasons []string
	for _, err := range e {
		if text := strings.TrimSpace(err.Error()); !slices.Contains(reasons, text) {
			reasons = append(reasons, text)
		}
	}
	return few.Sentences(reasons, 3)
}

func (e objectErrors) Unwrap() []error { return e }

// A line is "- at '/peer/image': got string, want object"; the root is ”.
var complaint = regexp.MustCompile(`^ *- at '([^']*)': (.*)$`)

// complaints are the lines of a schema's report that name a key.
func complaints(report string) []string {
	var some []string
	for _, line := range strings.Split(report, "\n") {
		if part := complaint.FindStringSubmatch(line); part != nil {
			key := strings.ReplaceAll(strings.Trim(part[1], "/"), "/", ".")
			some = append(some, or(key, "at the left edge")+": "+part[2])
		}
	}
	if len(some) == 0 {
		return []string{strings.TrimSpace(report)}
	}
	slices.Sort(some) // the validator walks maps
	return some
}

func or(s, absent string) string {
	if s == "" {
		return absent
	}
	return s
}
