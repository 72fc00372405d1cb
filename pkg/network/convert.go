package network

import (
	"fmt"

	"gopkg.in/yaml.v3"
)

// converter makes nodes of what the YAML library parsed, with aliases and merge keys
// resolved, and refuses what our readers and Helm's would not read alike.
type converter struct {
	src    *source
	report *report
	made   int
	open   map[*yaml.Node]bool // anchors being expanded
	outer  *yaml.Node          // the alias in the file that is being expanded
	broken bool                // the tree is not worth looking at
}

func (c *converter) problem(y *yaml.Node, format string, args ...any) {
	c.report.add(c.src.place(max(y.Line, 1), max(y.Column, 1), format, args...))
}

func (c *converter) give(y *yaml.Node, k kind) *node {
	return &node{src: c.src, line: y.Line, column: y.Column, kind: k}
}

func (c *converter) convert(y *yaml.Node) *node {
	if c.made++; c.made > maxNodes {
		if !c.broken && c.outer != nil {
			c.problem(c.outer, "with the aliases up to here resolved, the file has more than %d values; write it without them", maxNodes)
		} else if !c.broken {
			c.problem(y, "the file has more than %d values; is it a file of yours?", maxNodes)
		}
		c.broken = true
		return c.give(y, null)
	}
	if y.Kind == yaml.AliasNode {
		return c.alias(y)
	}
	if y.Style&yaml.TaggedStyle != 0 {
		c.problem(y, "the tag %s is not supported; quote what is text and leave tags out", y.Tag)
		c.broken = true
		return c.give(y, null)
	}
	switch y.Kind {
	case yaml.MappingNode:
		return c.mapping(y)
	case yaml.SequenceNode:
		n := c.give(y, list)
		for i, item := range y.Content {
			child := c.convert(item)
			child.parent, child.index = n, i
			n.items = append(n.items, child)
		}
		return n
	}
	n := c.give(y, text)
	n.text = y.Value
	if y.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		n.kind = kindOf(y.Value, y.Tag)
		if _, ok := helmNumber(y.Value); n.kind == number && !ok {
			c.problem(y, "%s is no number for Helm; quote it if it is text", y.Value)
			c.broken = true
		}
	}
	return n
}

// alias expands an alias anew, so that every use has its own path. Its place is the
// anchor's, because that is the text to correct.
func (c *converter) alias(y *yaml.Node) *node {
	if c.open[y.Alias] {
		c.problem(y, "*%s is used inside the value that &%s names", y.Value, y.Value)
		c.broken = true
		return c.give(y, null)
	}
	c.open[y.Alias] = true
	defer delete(c.open, y.Alias)
	if c.outer == nil {
		c.outer = y
		defer func() { c.outer = nil }()
	}
	return c.convert(y.Alias)
}

func (c *converter) mapping(y *yaml.Node) *node {
	n := c.give(y, object)
	own := make(map[string]*node, len(y.Content)/2)
	var merged []*node
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, v := y.Content[i], y.Content[i+1]
		if k.Kind == yaml.ScalarNode && k.Tag == "!!merge" {
			if len(own) > 0 || len(merged) > 0 {
				c.problem(k, "\"<<\" must be the first key of its mapping and the only \"<<\": YAML readers differ on the rest")
			}
			merged = append(merged, c.merged(v)...)
			continue
		}
		key := c.convert(k)
		switch {
		case c.made > maxNodes:
			return n
		case key.kind == list || key.kind == object:
			c.problem(k, "a key must be text, not %s", key.kind)
			continue
		case key.kind != text:
			c.problem(k, "key %s is %s; quote it", show(k.Value), key.kind)
		}
		if first := own[key.text]; first != nil {
			c.problem(k, "key %q is here for the second time; the first is at line %d", key.text, first.line)
			c.convert(v)
			continue
		}
		own[key.text] = key
		n.set(key, c.convert(v))
	}
	for _, m := range merged {
		for _, f := range m.fields {
			if n.find(f.key.text) < 0 {
				n.set(f.key, f.value)
			}
		}
	}
	return n
}

// merged gives the mappings that "<<" names, the strongest first.
func (c *converter) merged(v *yaml.Node) []*node {
	n := c.convert(v)
	switch n.kind {
	case object:
		return []*node{n}
	case list:
		for _, item := range n.items {
			if item.kind != object {
				c.problem(v, "\"<<\" takes a mapping or a list of mappings")
				return nil
			}
		}
		return n.items
	}
	c.problem(v, "\"<<\" takes a mapping or a list of mappings")
	return nil
}

// show quotes a value from a file for a message and keeps it short.
func show(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return fmt.Sprintf("%q", s)
}
