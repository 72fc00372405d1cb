package network

import (
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Values gives the merged files as the values Helm would make of `-f` for each source and
// `--set` for each of set: the same maps, and numbers as the same Go types, so that a chart
// renders the same bytes either way. The values are not checked; Load does that.
func Values(sources []Source, set []string) (map[string]any, error) {
	root, r := tree(sources, set)
	if err := r.err(); err != nil {
		return nil, err
	}
	return root.plain().(map[string]any), nil
}

// tree parses and merges all sources and flags.
func tree(sources []Source, set []string) (*node, *report) {
	return treeOf(parseable(sources), set)
}

func parseable(sources []Source) []*source {
	all := make([]*source, len(sources))
	for i, s := range sources {
		all[i] = &source{name: s.Name, data: s.Data}
	}
	return all
}

func treeOf(all []*source, set []string) (*node, *report) {
	r := newReport(all)
	root := &node{src: &source{}, kind: object}
	for _, s := range all {
		n := s.parse(r)
		if n == nil {
			r.lost = true
			continue
		}
		merge(root, n)
	}
	for i, expression := range set {
		r.rank[flagName(expression)] = len(all) + i
		if err := apply(root, expression); err != nil {
			r.add(Problem{File: flagName(expression), Message: err.Error(), Severity: Error})
		}
	}
	return root, r
}

// plain is the node as Go values.
func (n *node) plain() any {
	switch n.kind {
	case boolean:
		is, _ := truth(n.text)
		return is
	case number:
		if n.line == 0 { // from a flag
			i, err := strconv.ParseInt(n.text, 10, 64)
			if err == nil {
				return i
			}
		}
		f, _ := helmNumber(n.text)
		return f
	case text:
		return n.text
	case list:
		items := make([]any, len(n.items))
		for i, item := range n.items {
			items[i] = item.plain()
		}
		return items
	case object:
		m := make(map[string]any, len(n.fields))
		for _, f := range n.fields {
			m[f.key.text] = f.value.plain()
		}
		return m
	}
	return nil
}

var yamlFloat = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)

// helmNumber reads a number as Helm does: YAML 1.1's spellings, then JSON, so a float.
// Infinity and NaN have no JSON.
func helmNumber(s string) (float64, bool) {
	plain := strings.ReplaceAll(s, "_", "")
	if i, err := strconv.ParseInt(plain, 0, 64); err == nil {
		return float64(i), true
	}
	if u, err := strconv.ParseUint(plain, 0, 64); err == nil {
		return float64(u), true
	}
	if yamlFloat.MatchString(plain) {
		if f, err := strconv.ParseFloat(plain, 64); err == nil && !math.IsInf(f, 0) {
			return f, true
		}
	}
	return 0, false
}
