package network

import (
	"strconv"
	"strings"
)

// kind is what a node is, for both readers of the files: ours and Helm's, which follows
// YAML 1.1. A scalar that either of them would not take for text is not text here.
type kind int

const (
	null kind = iota
	text
	boolean
	number
	list
	object
	anything // no node is of this kind
)

func (k kind) String() string {
	return [...]string{"nothing", "text", "true or false", "a number", "a list", "a mapping"}[k]
}

// node is a value of the files with the place it was written at.
type node struct {
	src          *source
	line, column int

	parent *node // nil at the root
	name   string
	index  int // in a list, when name is empty

	kind   kind
	text   string // of a scalar, as written
	fields []field
	byName map[string]int // of fields; only made when there are many
	items  []*node
}

// field is a key of an object with its value. The key has a place of its own.
type field struct {
	key   *node
	value *node
}

// manyFields is from where on an object is searched by a map. Real objects have a dozen
// keys, but a file of a hundred thousand must not take minutes to refuse.
const manyFields = 32

// find gives a key's place among the fields, or -1.
func (n *node) find(name string) int {
	if n.byName != nil {
		if i, ok := n.byName[name]; ok {
			return i
		}
		return -1
	}
	for i, f := range n.fields {
		if f.key.text == name {
			return i
		}
	}
	return -1
}

// get returns the value of a key, or nil. What is null counts as absent, as in Helm.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	if i := n.find(name); i >= 0 && n.fields[i].value.kind != null {
		return n.fields[i].value
	}
	return nil
}

// at follows keys downwards, or returns nil.
func (n *node) at(names ...string) *node {
	for _, name := range names {
		n = n.get(name)
	}
	return n
}

// set adds or replaces a key's value.
func (n *node) set(key, value *node) {
	value.parent, value.name = n, key.text
	key.parent, key.name = n, key.text
	if i := n.find(key.text); i >= 0 {
		n.fields[i] = field{key, value}
		return
	}
	n.fields = append(n.fields, field{key, value})
	switch {
	case n.byName != nil:
		n.byName[key.text] = len(n.fields) - 1
	case len(n.fields) == manyFields:
		n.byName = make(map[string]int, 2*manyFields)
		for i, f := range n.fields {
			n.byName[f.key.text] = i
		}
	}
}

// path spells where the node is in the merged files: network.channels[1].orgs[0].
func (n *node) path() string {
	var parts []string
	for ; n != nil && n.parent != nil; n = n.parent {
		if n.parent.kind == list {
			parts = append(parts, "["+strconv.Itoa(n.index)+"]")
			continue
		}
		name := n.name
		if n.parent.parent != nil {
			name = "." + name
		}
		parts = append(parts, name)
	}
	var b strings.Builder
	for i := len(parts) - 1; i >= 0; i-- {
		b.WriteString(parts[i])
	}
	return b.String()
}

// merge lays b over a as Helm does: objects merge, all else is replaced.
func merge(a, b *node) {
	for _, f := range b.fields {
		if i := a.find(f.key.text); i >= 0 && a.fields[i].value.kind == object && f.value.kind == object {
			merge(a.fields[i].value, f.value)
			continue
		}
		a.set(f.key, f.value)
	}
}

// kindOf tells how a plain (unquoted) scalar is read. tag is what YAML 1.2's rules say.
func kindOf(value, tag string) kind {
	switch tag {
	case "!!null":
		return null
	case "!!bool":
		return boolean
	case "!!int", "!!float":
		return number
	}
	if _, ok := truth(value); ok {
		return boolean // YAML 1.1, and so Helm and cryptogen
	}
	return text
}

// truth is YAML 1.1's list of booleans.
func truth(value string) (is, ok bool) {
	switch value {
	case "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON":
		return true, true
	case "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF":
		return false, true
	}
	return false, false
}
