package network

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"pivt.io/pivt/pkg/exit"
)

// NoChaincodeError says that a source does not hold a chaincode.
type NoChaincodeError struct{ File, Name string }

func (e *NoChaincodeError) Error() string {
	return fmt.Sprintf("%s: there is no chaincode %q in it", e.File, e.Name)
}

// SetChaincode sets keys of a chaincode, such as its version, in the text of a source. Comments,
// quotes and layout stay as they are; a key that is not there comes after the name. Where the text cannot
// be changed without changing the meaning of something else, because of anchors, it
// is left alone and the error says what to write.
func SetChaincode(src Source, name string, set map[string]string) (Source, error) {
	keys := make([]string, 0, len(set))
	for key := range set {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		s := &source{name: src.Name, data: src.Data}
		data, err := s.setChaincode(name, key, set[key])
		if err != nil {
			return Source{}, err
		}
		src.Data = data
	}
	return src, nil
}

func (s *source) setChaincode(name, key, value string) ([]byte, error) {
	r := newReport([]*source{s})
	whole := s.data
	root := s.parse(r) // trims a byte order mark
	if root == nil || r.err() != nil {
		return nil, r.err()
	}
	at := -1
	items := root.at("network", "chaincodes")
	if items != nil && items.kind == list {
		for i, item := range items.items {
			if n := item.get("name"); item.kind == object && n != nil && n.text == name {
				at = i
				break
			}
		}
	}
	if at < 0 {
		return nil, exit.With(&NoChaincodeError{s.name, name}, exit.Invalid)
	}
	entry := items.items[at]
	if old := entry.get(key); old != nil && old.kind == text && old.text == value {
		return whole, nil
	}
	byHand := func() ([]byte, error) {
		return nil, s.unwritable(entry.line, entry.column,
			fmt.Sprintf("chaincode %q is written so that its %s cannot be changed alone; write %s: %s there yourself", name, key, key, strconv.Quote(value)))
	}
	e, ok := s.chaincodeEdit(at, key, value)
	if !ok {
		return byHand()
	}
	data := rewritten(s.data, []edit{e})
	changed := (&source{name: s.name, data: data}).parse(r)
	if changed == nil || r.err() != nil {
		return byHand()
	}
	want := root.plain()
	want.(map[string]any)["network"].(map[string]any)["chaincodes"].([]any)[at].(map[string]any)[key] = value
	if !reflect.DeepEqual(want, changed.plain()) {
		return byHand()
	}
	return append(whole[:len(whole)-len(s.data):len(whole)-len(s.data)], data...), nil
}

// chaincodeEdit finds what to write where; ok is false if there is no such place.
func (s *source) chaincodeEdit(at int, key, value string) (edit, bool) {
	var doc yaml.Node
	if yaml.Unmarshal(s.data, &doc) != nil || len(doc.Content) == 0 {
		return edit{}, false
	}
	_, chaincodes := child(doc.Content[0], "network")
	_, chaincodes = child(chaincodes, "chaincodes")
	chaincodes = resolved(chaincodes)
	if chaincodes == nil || chaincodes.Kind != yaml.SequenceNode || at >= len(chaincodes.Content) {
		return edit{}, false
	}
	entry := resolved(chaincodes.Content[at])
	if _, old := child(entry, key); old != nil {
		if old.Kind != yaml.ScalarNode && old.Kind != yaml.AliasNode {
			return edit{}, false
		}
		e, ok := s.scalarAt(old.Line, old.Column, old.Value)
		e.text = e.quoted(value)
		return e, ok
	}
	nameKey, name := child(entry, "name")
	if name == nil {
		return edit{}, false // it comes with "<<"
	}
	e, ok := s.scalarAt(name.Line, name.Column, name.Value)
	if !ok {
		return edit{}, false
	}
	line := key + ": " + strconv.Quote(value)
	if entry.Style&yaml.FlowStyle != 0 {
		if nameKey.Style&yaml.DoubleQuotedStyle != 0 {
			line = strconv.Quote(key) + ": " + strconv.Quote(value) // the file is JSON
		}
		return edit{start: e.end, end: e.end, text: ", " + line}, true
	}
	end, eol := e.end, "\n"
	for end < len(s.data) && s.data[end] != '\n' {
		end++
	}
	if end > 0 && s.data[end-1] == '\r' {
		end, eol = end-1, "\r\n"
	}
	return edit{start: end, end: end, text: eol + strings.Repeat(" ", nameKey.Column-1) + line}, true
}

// child finds a key of a mapping, with its value.
func child(m *yaml.Node, key string) (k, v *yaml.Node) {
	m = resolved(m)
	if m == nil || m.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if resolved(m.Content[i]).Value == key {
			return m.Content[i], m.Content[i+1]
		}
	}
	return nil, nil
}

func resolved(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// edit replaces a part of a text.
type edit struct {
	start, end int
	text       string
	quote      byte // around the old text: ', " or 0
	alias      bool // the old text is *name
}

// rewritten makes edits that do not overlap.
func rewritten(data []byte, edits []edit) []byte {
	sort.Slice(edits, func(i, j int) bool { return edits[i].start < edits[j].start })
	var out []byte
	at := 0
	for _, e := range edits {
		out = append(append(out, data[at:e.start]...), e.text...)
		at = e.end
	}
	return append(out, data[at:]...)
}

var plainText = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_./:@+-]*[A-Za-z0-9_./@+-])?$`)

// quoted writes a value in the style of the old one.
func (e edit) quoted(value string) string {
	var n yaml.Node
	switch {
	case e.quote == '\'' && !strings.ContainsAny(value, "\r\n\t"):
		return "'" + strings.ReplaceAll(value, "'", "''") + "'"
	case e.quote == 0 && !e.alias && plainText.MatchString(value) && yaml.Unmarshal([]byte(value), &n) == nil &&
		n.Content[0].Kind == yaml.ScalarNode && kindOf(value, n.Content[0].Tag) == text:
		return value
	}
	return strconv.Quote(value)
}

// scalarAt finds the text of a value that starts at a place, or of an alias. ok is false for
// unquoted forms over several lines.
func (s *source) scalarAt(line, column int, value string) (e edit, ok bool) {
	at, ok := s.offset(line, column)
	if !ok || at >= len(s.data) {
		return edit{}, false
	}
	if s.data[at] == '&' { // the anchor stays, and the value after it is what is asked for
		for at < len(s.data) && s.data[at] != ' ' && s.data[at] != '\t' {
			at++
		}
		for at < len(s.data) && (s.data[at] == ' ' || s.data[at] == '\t') {
			at++
		}
	}
	if at >= len(s.data) {
		return edit{}, false
	}
	switch c := s.data[at]; c {
	case '"', '\'':
		for end := at + 1; end < len(s.data); end++ {
			switch {
			case c == '"' && s.data[end] == '\\':
				end++
			case c == '\'' && s.data[end] == c && end+1 < len(s.data) && s.data[end+1] == c:
				end++
			case s.data[end] == c:
				return edit{start: at, end: end + 1, quote: c}, true
			}
		}
		return edit{}, false
	case '|', '>':
		return edit{}, false
	}
	// On one line an unquoted value is written as it is read.
	if s.data[at] == '*' {
		value, e.alias = "*"+value, true
	}
	e.start, e.end = at, at+len(value)
	return e, value != "" && bytes.HasPrefix(s.data[at:], []byte(value))
}

// offset is the index of a place, counted as the YAML library does.
func (s *source) offset(line, column int) (int, bool) {
	at := 0
	for ; line > 1; line-- {
		n, ok := nextLine(s.data[at:])
		if !ok {
			return 0, false
		}
		at += n
	}
	for ; column > 1; column-- {
		if at >= len(s.data) {
			return 0, false
		}
		_, size := utf8.DecodeRune(s.data[at:])
		at += size
	}
	return at, true
}

// nextLine is the length of the first line with its break. YAML has five of them.
func nextLine(data []byte) (int, bool) {
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		i += size
		switch {
		case c == '\r' && i < len(data) && data[i] == '\n':
			return i + 1, true
		case c == '\r', c == '\n', c == 0x85, c == 0x2028, c == 0x2029:
			return i, true
		}
	}
	return 0, false
}

// unwritable says that a text cannot be changed, and what to do.
func (s *source) unwritable(line, column int, cure string) error {
	return exit.With(&InvalidError{Problems: Problems{s.place(line, column, "%s", cure)}}, exit.Invalid)
}
