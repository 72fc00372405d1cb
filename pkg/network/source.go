package network

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Source is one of the user's files. Later sources win over earlier ones.
type Source struct {
	Name string // as the user gave it, for messages
	Data []byte
}

const (
	// maxSource is far above any real file (10 channels with 10 chaincodes need 60 KB) and
	// below what the workflow and the Helm release can carry.
	maxSource = 1 << 20
	// maxNodes stops aliases of aliases before they fill the memory.
	maxNodes = 50_000
)

// source is a Source with what reading it needs.
type source struct {
	name string
	data []byte
}

// place is a position without a path, for problems of a file that does not parse.
func (s *source) place(line, column int, format string, args ...any) Problem {
	return Problem{File: s.name, Line: line, Column: column, Message: fmt.Sprintf(format, args...), Severity: Error}
}

// byteOrderMark is what Windows editors put in front.
const byteOrderMark = "\xef\xbb\xbf"

// parse gives the source's tree, or nil and what is wrong. A problem of one file does not
// keep the others from being read.
func (s *source) parse(r *report) *node {
	root := s.document(r)
	switch {
	case root == nil:
		return nil
	case root.kind == null, root.kind == object && len(root.fields) == 0:
		r.add(s.place(1, 1, "the file is empty"))
		return nil
	case root.kind != object:
		r.add(s.place(root.line, root.column, "the file holds %s; it must be a mapping such as \"network:\" or \"PeerOrgs:\"", root.kind))
		return nil
	}
	return root
}

// document gives the tree of the source's only document, or nil and what is wrong.
func (s *source) document(r *report) *node {
	if p, ok := s.readable(); !ok {
		r.add(p)
		return nil
	}
	s.data = bytes.TrimPrefix(s.data, []byte(byteOrderMark))
	dec := yaml.NewDecoder(bytes.NewReader(s.data))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		r.add(s.place(1, 1, "the file is empty"))
		return nil
	case err != nil:
		r.add(s.syntax(err))
		return nil
	}
	var second yaml.Node
	switch err := dec.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		r.add(s.syntax(err))
		return nil
	default:
		r.add(s.place(second.Line, max(second.Column, 1),
			"a second YAML document starts here and Helm would not read it; remove the line \"---\" before it, or make it a file of its own"))
		return nil
	}
	c := converter{src: s, report: r, open: map[*yaml.Node]bool{}}
	if root := c.convert(doc.Content[0]); !c.broken {
		return root
	}
	return nil
}

// readable refuses what no YAML reader should be given.
func (s *source) readable() (Problem, bool) {
	if len(s.data) > maxSource {
		return s.place(1, 1, "the file is too large: %.1f MiB, the limit is %d MiB; is it a YAML file of yours?",
			float64(len(s.data))/(1<<20), maxSource>>20), false
	}
	if bytes.HasPrefix(s.data, []byte("\xff\xfe")) || bytes.HasPrefix(s.data, []byte("\xfe\xff")) {
		return s.place(1, 1, "the file is UTF-16; save it as UTF-8"), false
	}
	line, column := 1, 1
	for i := 0; i < len(s.data); {
		c, size := utf8.DecodeRune(s.data[i:])
		switch {
		case c == 0:
			return s.place(line, column, "the file is binary: it has a NUL byte here; give a YAML file"), false
		case c == utf8.RuneError && size == 1:
			return s.place(line, column, "byte 0x%02X is not UTF-8; save the file as UTF-8", s.data[i]), false
		case !printable(c):
			return s.place(line, column, "control character U+%04X is not allowed in YAML; remove it", c), false
		}
		i += size
		column++
		if c == '\n' {
			line, column = line+1, 1
		}
	}
	return Problem{}, true
}

// printable is YAML's rule for what a file may contain.
func printable(c rune) bool {
	switch {
	case c == '\t', c == '\n', c == '\r', c == 0x85:
		return true
	case c < 0x20, 0x7F <= c && c < 0xA0, c == 0xFFFE, c == 0xFFFF:
		return false
	}
	return true
}

// syntax says where and why the file is not YAML.
func (s *source) syntax(err error) Problem {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	said := 0
	if n, scanErr := fmt.Sscanf(message, "line %d:", &said); n == 1 && scanErr == nil {
		message = strings.TrimSpace(message[strings.Index(message, ":")+1:])
	}
	line := max(s.firstBad(), said, 1)
	content := s.line(line)
	indent := content[:len(content)-len(strings.TrimLeft(content, " \t"))]
	if tab := strings.IndexByte(indent, '\t'); tab >= 0 {
		return s.place(line, tab+1, "a tab indents this line and YAML takes only spaces; replace it")
	}
	return s.place(line, len(indent)+1, "not YAML: %s%s", message, cure(message))
}

// cure adds what usually is the matter, since YAML's own words seldom say it.
func cure(message string) string {
	switch {
	case strings.Contains(message, "mapping values are not allowed"):
		return "; check the indentation of this line and the one before, and quote text that contains \": \""
	case strings.Contains(message, "did not find expected"):
		return "; check the indentation of this line and the one before"
	case strings.Contains(message, "cannot start any token"):
		return "; quote text that starts with such a character"
	case strings.Contains(message, "unexpected end of stream"):
		return "; a quote or bracket is not closed"
	case strings.Contains(message, "unknown anchor"):
		return "; an alias like *name needs an anchor &name before it, in the same file"
	}
	return ""
}

// firstBad finds the line that breaks the file: the library often names the start of the
// block around it. It is the line after the longest beginning of the file that parses.
func (s *source) firstBad() int {
	const budget = 4 << 20 // bytes parsed in the search
	spent, end := 0, len(s.data)
	for lines := bytes.Count(s.data, []byte("\n")) + 1; end > 0; lines-- {
		cut := bytes.LastIndexByte(s.data[:end-1], '\n') + 1
		spent += cut
		if spent > budget {
			return 0
		}
		var doc yaml.Node
		if err := yaml.Unmarshal(s.data[:cut], &doc); err == nil {
			return bytes.Count(s.data[:cut], []byte("\n")) + 1
		}
		end = cut
	}
	return 0
}

// line is the text of a line, counted from 1.
func (s *source) line(n int) string {
	rest := s.data
	for ; n > 1; n-- {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			return ""
		}
		rest = rest[i+1:]
	}
	if i := bytes.IndexByte(rest, '\n'); i >= 0 {
		rest = rest[:i]
	}
	return strings.TrimRight(string(rest), "\r")
}
