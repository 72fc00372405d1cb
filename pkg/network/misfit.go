package network

import (
	"strconv"
	"strings"
)

// Misfit is what a chart's schema has against a value. The values come from the files, so
// whoever wrote them is told where.
type Misfit struct {
	Path    []string // keys, and indices of lists, from the root
	Message string
	// Unknown is a key of the mapping at Path that the schema does not have; it is said instead
	// of the Message. Known are those it has.
	Unknown string
	Known   []string
}

// Misfits is an *InvalidError that says each misfit at its place in the sources.
func Misfits(sources []Source, set []string, misfits []Misfit) error {
	root, r := tree(sources, set)
	l := &loader{report: r, root: root}
	for _, m := range misfits {
		n, spelled := root.follow(m.Path)
		switch {
		case m.Unknown == "":
			l.errorf(n, "%s: %s", spelled, m.Message)
		case n.find(m.Unknown) >= 0:
			key := n.fields[n.find(m.Unknown)].key
			in := ""
			if spelled != "" {
				in = " in " + spelled
			}
			l.errorf(key, "unknown key %s%s%s", show(m.Unknown), in, hint(m.Unknown, m.Known, "keys"))
		default: // not from the files, or overridden by a flag
			l.errorf(n, "unknown key %s in %s", show(m.Unknown), spelled)
		}
	}
	return l.err()
}

// follow finds the node of a path, or the last one above it that the sources have, and spells the whole path.
func (n *node) follow(path []string) (*node, string) {
	var b strings.Builder
	missing := false
	for _, part := range path {
		i, err := strconv.Atoi(part)
		inList := err == nil && (n.kind == list || missing)
		switch {
		case inList:
			b.WriteString("[" + part + "]")
		case b.Len() > 0:
			b.WriteString("." + part)
		default:
			b.WriteString(part)
		}
		switch {
		case missing:
		case n.kind == list && inList && i >= 0 && i < len(n.items):
			n = n.items[i]
		case n.kind == object && n.find(part) >= 0:
			n = n.fields[n.find(part)].value
		default:
			missing = true
		}
	}
	return n, b.String()
}
