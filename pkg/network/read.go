package network

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// loader builds a Network from the merged tree. Its readers report what does not fit and
// return what is usable, so that one mistake does not hide the next.
type loader struct {
	*report
	root *node
	net  *Network

	cryptoFile  string // where the organisations are, for messages
	networkFile string // where the channels are
	// external are organisations of ExternalPeerOrgs and ExternalOrdererOrgs.
	external map[string]bool
	// named are all names of OrdererOrgs and PeerOrgs, those of refused ones too.
	named map[string]bool
	// places remembers where things were defined, for problems found when all is read.
	places map[any]*node
	nodes  int // counted, to stop at maxNodesAll
}

func (l *loader) say(n *node, s Severity, format string, args ...any) {
	p := Problem{Message: fmt.Sprintf(format, args...), Severity: s, Path: n.path()}
	p.File, p.Line, p.Column = n.src.name, n.line, n.column
	l.add(p)
}

func (l *loader) errorf(n *node, format string, args ...any) { l.say(n, Error, format, args...) }
func (l *loader) warnf(n *node, format string, args ...any)  { l.say(n, Warning, format, args...) }

// str reads text, or returns "" for what is absent or reported.
func (l *loader) str(o *node, key string) string {
	n := o.get(key)
	if n == nil {
		return ""
	}
	s, _ := l.textOf(n, key)
	return s
}

// nameOf reads the text that names an entry. ok is false when there is none, which has
// been reported as what says.
func (l *loader) nameOf(o *node, key, what string, args ...any) (name string, at *node, ok bool) {
	at = o.get(key)
	switch {
	case at == nil && o.find(key) < 0:
		l.errorf(o, what, args...)
	case at == nil: // it is null, which keys has reported
	default:
		if name, ok = l.textOf(at, key); ok && name == "" {
			l.errorf(at, what, args...)
			ok = false
		}
	}
	return name, at, ok
}

// textOf reads a node that must be text.
func (l *loader) textOf(n *node, what string) (string, bool) {
	switch n.kind {
	case text:
		return n.text, true
	case number, boolean:
		if n.line == 0 {
			l.errorf(n, "%s must be text, and Helm reads %s as %s; set it in a file, quoted: \"%s\"", what, n.text, n.kind, n.text)
			return "", false
		}
		l.errorf(n, "%s must be text, and YAML reads %s as %s; quote it: \"%s\"", what, n.text, n.kind, n.text)
		return "", false
	}
	l.errorf(n, "%s must be text, not %s", what, n.kind)
	return "", false
}

// flag reads true or false.
func (l *loader) flag(o *node, key string) bool {
	n := o.get(key)
	if n == nil {
		return false
	}
	if n.kind != boolean {
		l.errorf(n, "%s must be true or false, not %s", key, describe(n))
		return false
	}
	is, _ := truth(n.text)
	return is
}

// integer reads a whole number within limits.
func (l *loader) integer(o *node, key string, absent, low, high int) int {
	n := o.get(key)
	if n == nil {
		return absent
	}
	f, ok := helmNumber(n.text)
	switch {
	case n.kind != number || !ok || f != math.Trunc(f):
		l.errorf(n, "%s must be a whole number, not %s", key, describe(n))
		return absent
	case f < float64(low) || f > float64(high):
		l.errorf(n, "%s is %s; it must be from %d to %d", key, n.text, low, high)
		return absent
	}
	return int(f)
}

// object reads a mapping; nil if absent or reported.
func (l *loader) object(o *node, key string) *node {
	n := o.get(key)
	if n == nil || n.kind == object {
		return n
	}
	l.errorf(n, "%s must be a mapping, not %s", key, describe(n))
	return nil
}

// list reads a list's items; those that are empty are reported and left out.
func (l *loader) list(o *node, key string) []*node {
	n := o.get(key)
	if n == nil {
		return nil
	}
	if n.kind != list {
		l.errorf(n, "%s must be a list, not %s%s", key, describe(n), listCure(key, n))
		return nil
	}
	var items []*node
	for _, item := range n.items {
		if item.kind == null {
			l.errorf(item, "%s has an empty entry; remove the \"-\" or fill it in", key)
			continue
		}
		items = append(items, item)
	}
	return items
}

func listCure(key string, n *node) string {
	if cure := entryCure(key, n); cure != "" {
		return cure
	}
	switch n.kind {
	case text, number, boolean:
		if !strings.ContainsAny(n.text, "\n,[]{}") {
			return "; write [" + n.text + "]"
		}
	case object:
		return "; start each entry with \"- \""
	}
	return ""
}

// objects reads a list of mappings.
func (l *loader) objects(o *node, key string) []*node {
	var some []*node
	for _, item := range l.list(o, key) {
		if item.kind != object {
			l.errorf(item, "an entry of %s must be a mapping, not %s%s", key, describe(item), entryCure(key, item))
			continue
		}
		some = append(some, item)
	}
	return some
}

// entryCure helps who wrote a name where an entry is expected: channels: [common].
func entryCure(key string, n *node) string {
	if n.kind != text || strings.Contains(n.text, "\n") {
		return ""
	}
	switch key {
	case "channels", "chaincodes":
		return "; write \"- name: " + n.text + "\""
	case "OrdererOrgs", "PeerOrgs":
		return "; write \"- Name: " + n.text + "\""
	case "Specs":
		return "; write \"- Hostname: " + n.text + "\""
	}
	return ""
}

// names reads a list of texts and reports what is in it twice.
func (l *loader) names(o *node, key string) []*node {
	var some []*node
	seen := map[string]bool{}
	for _, item := range l.list(o, key) {
		s, ok := l.textOf(item, "an entry of "+key)
		switch {
		case !ok:
			continue
		case seen[s]:
			l.errorf(item, "%s has %s twice", key, show(s))
			continue
		}
		seen[s] = true
		some = append(some, item)
	}
	return some
}

// describe says what a node is, with its value if it is short.
func describe(n *node) string {
	switch n.kind {
	case text:
		return "the text " + show(n.text)
	case number:
		return "the number " + n.text
	case boolean:
		return strconv.Quote(n.text)
	}
	return n.kind.String()
}
