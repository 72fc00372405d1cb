package network

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Limits of Helm's --set.
const (
	maxSetIndex = 65536
	maxSetDepth = 30
)

// flagName is how messages call a --set flag.
func flagName(expression string) string {
	const most = 80
	if r := []rune(expression); len(r) > most {
		expression = string(r[:most]) + "…"
	}
	return "--set " + strings.Map(func(c rune) rune {
		if !printable(c) || c == '\n' || c == '\r' {
			return ' '
		}
		return c
	}, expression)
}

// apply changes the tree as Helm's --set would: a.b[0].c=v,d={x,y}, with a backslash
// before a character that is meant literally.
func apply(root *node, expression string) error {
	s := setter{rest: []rune(expression), src: &source{name: flagName(expression)}}
	for len(s.rest) > 0 {
		if err := s.assign(root, 0); err != nil {
			return err
		}
	}
	return nil
}

type setter struct {
	rest []rune
	src  *source
}

var errNoValue = errors.New("a key has no value; write KEY=VALUE")

// until reads to one of the stop characters, which it takes too. stop is 0 at the end.
func (s *setter) until(stops string) (word string, stop rune) {
	var b strings.Builder
	for len(s.rest) > 0 {
		c := s.rest[0]
		s.rest = s.rest[1:]
		switch {
		case strings.ContainsRune(stops, c):
			return b.String(), c
		case c == '\\' && len(s.rest) > 0:
			b.WriteRune(s.rest[0])
			s.rest = s.rest[1:]
		case c != '\\':
			b.WriteRune(c)
		}
	}
	return b.String(), 0
}

func (s *setter) give(k kind, value string) *node {
	return &node{src: s.src, kind: k, text: value}
}

// assign reads one key=value into an object.
func (s *setter) assign(o *node, depth int) error {
	name, stop := s.until("=[,.")
	if name == "" {
		return errors.New("a key is empty; write KEY=VALUE")
	}
	key := s.give(text, name)
	var old *node
	if i := o.find(name); i >= 0 {
		old = o.fields[i].value
	}
	switch stop {
	case '=':
		v, err := s.value()
		if err != nil {
			return err
		}
		o.set(key, v)
		return nil
	case '.':
		if depth++; depth > maxSetDepth {
			return fmt.Errorf("more than %d keys deep", maxSetDepth)
		}
		inner := s.give(object, "")
		if old != nil {
			if inner = old; inner.kind != object {
				return fmt.Errorf("%q is %s in the files, not a mapping", name, inner.kind)
			}
		}
		if err := s.assign(inner, depth); err != nil {
			return err
		}
		if inner != old {
			o.set(key, inner)
		}
		return nil
	case '[':
		items := s.give(list, "")
		if old != nil {
			if items = old; items.kind != list {
				return fmt.Errorf("%q is %s in the files, not a list", name, items.kind)
			}
		}
		if err := s.item(items, depth); err != nil {
			return err
		}
		if items != old {
			o.set(key, items)
		}
		return nil
	}
	return errNoValue
}

// item reads what follows "name[" into a list.
func (s *setter) item(l *node, depth int) error {
	word, stop := s.until("]")
	i, err := strconv.Atoi(word)
	if stop != ']' || err != nil || i < 0 || i > maxSetIndex {
		return fmt.Errorf("index %q is not a number from 0 to %d", word, maxSetIndex)
	}
	if word, stop = s.until("[.="); word != "" {
		return fmt.Errorf("%q follows an index; write name[0].key=VALUE", word)
	}
	if depth++; depth > maxSetDepth {
		return fmt.Errorf("more than %d keys deep", maxSetDepth)
	}
	put := func(n *node) {
		for len(l.items) <= i {
			gap := s.give(null, "")
			gap.parent, gap.index = l, len(l.items)
			l.items = append(l.items, gap)
		}
		n.parent, n.name, n.index = l, "", i
		l.items[i] = n
	}
	old := func(k kind) (*node, bool) {
		if i < len(l.items) && l.items[i].kind != null {
			return l.items[i], l.items[i].kind == k
		}
		return s.give(k, ""), true
	}
	switch stop {
	case '=':
		v, err := s.value()
		if err != nil {
			return err
		}
		put(v)
		return nil
	case '.':
		inner, ok := old(object)
		if !ok { // Helm replaces it
			inner = s.give(object, "")
		}
		if err := s.assign(inner, depth); err != nil {
			return err
		}
		put(inner)
		return nil
	case '[':
		inner, ok := old(list)
		if !ok {
			return fmt.Errorf("item %d is %s in the files, not a list", i, inner.kind)
		}
		if err := s.item(inner, depth); err != nil {
			return err
		}
		put(inner)
		return nil
	}
	return errNoValue
}

// value reads a scalar, or a list in braces.
func (s *setter) value() (*node, error) {
	if len(s.rest) == 0 || s.rest[0] != '{' {
		word, _ := s.until(",")
		return s.scalar(word), nil
	}
	s.rest = s.rest[1:]
	items := s.give(list, "")
	for {
		word, stop := s.until(",}")
		if stop == 0 {
			return nil, errors.New("a list must end with \"}\"")
		}
		item := s.scalar(word)
		item.parent, item.index = items, len(items.items)
		items.items = append(items.items, item)
		if stop == '}' {
			break
		}
	}
	if len(s.rest) > 0 && s.rest[0] == ',' {
		s.rest = s.rest[1:]
	}
	return items, nil
}

// scalar gives a word the type Helm gives it. There are no floats: 2.0 is text.
func (s *setter) scalar(word string) *node {
	switch strings.ToLower(word) {
	case "true", "false":
		return s.give(boolean, strings.ToLower(word))
	case "null":
		return s.give(null, "")
	}
	if word == "0" || !strings.HasPrefix(word, "0") {
		if i, err := strconv.ParseInt(word, 10, 64); err == nil {
			return s.give(number, strconv.FormatInt(i, 10))
		}
	}
	return s.give(text, word)
}
