package network

import (
	"errors"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
)

// The values cryptogen gives to the templates of crypto-config.yaml.
type (
	hostnameData struct {
		Prefix string
		Index  int
		Domain string
	}
	specData struct {
		Hostname   string
		Domain     string
		CommonName string
	}
)

// maxTemplate keeps a template from becoming a program that eats the machine.
const maxTemplate = 256

// expand fills in a template of the file, or the default one if it is absent or empty.
func (l *loader) expand(n *node, what, absent string, data any) (string, bool) {
	source := absent
	if n != nil {
		s, ok := l.textOf(n, what)
		if !ok {
			return "", false
		}
		source = orElse(s, absent)
	}
	out, err := fill(source, data)
	if err != nil {
		l.errorf(n, "%s: %s: %v", what, show(source), err)
		return "", false
	}
	return out, true
}

func fill(source string, data any) (string, error) {
	if !strings.Contains(source, "{{") {
		return source, nil
	}
	if s, ok := fillFields(source, data); ok {
		return s, nil
	}
	if len(source) > maxTemplate {
		return "", errors.New("the template is too long")
	}
	t, err := template.New("").Parse(source)
	if err != nil {
		return "", errors.New(strings.TrimPrefix(err.Error(), "template: :1: "))
	}
	for _, n := range t.Root.Nodes {
		switch n.(type) {
		case *parse.TextNode, *parse.ActionNode:
		default:
			return "", errors.New("only fields and functions are allowed in a template, not control words")
		}
	}
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		reason := err.Error()
		if _, field, ok := strings.Cut(reason, "can't evaluate field "); ok {
			field, _, _ = strings.Cut(field, " ")
			return "", errors.New("there is no field ." + field + hint("."+field, fieldsOf(data), "fields"))
		}
		if i := strings.LastIndex(reason, ": "); i >= 0 {
			reason = reason[i+2:]
		}
		return "", errors.New(reason)
	}
	return b.String(), nil
}

// fillFields does the templates that people write, which are many in a large network,
// without the template engine. ok is false when there is more in it than fields.
func fillFields(source string, data any) (s string, ok bool) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(source, "{{")
		b.WriteString(before)
		if !found {
			return b.String(), true
		}
		name, after, closed := strings.Cut(rest, "}}")
		value, known := fieldOf(strings.Trim(name, " "), data)
		if !closed || !known {
			return "", false
		}
		b.WriteString(value)
		source = after
	}
}

func fieldsOf(data any) []string {
	if _, ok := data.(hostnameData); ok {
		return []string{".Prefix", ".Index", ".Domain"}
	}
	return []string{".Hostname", ".Domain", ".CommonName"}
}

func fieldOf(name string, data any) (string, bool) {
	switch d := data.(type) {
	case hostnameData:
		switch name {
		case ".Prefix":
			return d.Prefix, true
		case ".Index":
			return strconv.Itoa(d.Index), true
		case ".Domain":
			return d.Domain, true
		}
	case specData:
		switch name {
		case ".Hostname":
			return d.Hostname, true
		case ".Domain":
			return d.Domain, true
		case ".CommonName":
			return d.CommonName, true
		}
	}
	return "", false
}
