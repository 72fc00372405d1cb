package network

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"reflect"
	"strings"

	"pivt.io/pivt/pkg/exit"
)

// Inline puts the lists of collections that the sources name as files into the sources
// themselves, so that what follows needs no other file: a workflow's pod, or Helm. Each becomes
// one line of JSON in the place of its name, and all else stays on its line. read gets the
// name of the source and the file's name as it is written there. Files that a later source
// or a flag overrides are not read. If the sources are broken, they come back as they are, and Load
// says why.
func Inline(sources []Source, set []string, read func(base, name string) ([]byte, error)) ([]Source, error) {
	all := parseable(sources)
	root, r := treeOf(all, set)
	if r.lost || r.err() != nil {
		return sources, nil
	}
	in := inliner{report: r, read: read, lists: map[spot]*node{}, texts: map[spot]string{}}
	for _, n := range collectionFiles(root) {
		in.file(n)
	}
	if len(in.lists) == 0 || r.err() != nil {
		return sources, r.err()
	}
	if err := in.check(root, len(sources)); err != nil {
		return nil, err
	}
	out := append([]Source(nil), sources...)
	for i, s := range all {
		data, err := in.rewrite(s)
		if err != nil {
			return nil, err
		}
		if data != nil {
			out[i].Data = data
		}
	}
	return out, nil
}

// collectionFiles finds the texts that name files of collections.
func collectionFiles(root *node) []*node {
	var some []*node
	look := func(o *node) {
		if n := o.get("collections"); n != nil && n.kind == text && n.line > 0 && strings.TrimSpace(n.text) != "" && !isList(strings.TrimSpace(n.text)) && oneLine(n.text) {
			some = append(some, n)
		}
	}
	for _, cc := range root.at("network", "chaincodes").entries() {
		look(cc)
		for _, ch := range cc.get("channels").entries() {
			look(ch)
		}
	}
	return some
}

// entries are the mappings of a list, if it is one.
func (n *node) entries() []*node {
	if n == nil || n.kind != list {
		return nil
	}
	var some []*node
	for _, item := range n.items {
		if item.kind == object {
			some = append(some, item)
		}
	}
	return some
}

// spot is a place in a source. Aliases of one text share it.
type spot struct {
	src          *source
	line, column int
}

func (n *node) spot() spot { return spot{n.src, n.line, n.column} }

type inliner struct {
	*report
	read  func(base, name string) ([]byte, error)
	lists map[spot]*node
	texts map[spot]string // the names as written
	names []string        // of the files, for messages
}

// file reads the list that a text names.
func (in *inliner) file(n *node) {
	if in.lists[n.spot()] != nil {
		return
	}
	name := n.text
	if !path.IsAbs(name) {
		name = path.Join(path.Dir(n.src.name), name)
	}
	data, err := in.read(n.src.name, n.text)
	if err != nil {
		var inner *fs.PathError
		if errors.As(err, &inner) {
			err = inner.Err
		}
		in.add(n.src.place(n.line, n.column, "collections: reading %s: %v", name, err))
		return
	}
	items, wrong := collectionList(name, data)
	in.names = append(in.names, name)
	in.rank[name] = len(in.rank)
	for _, p := range wrong {
		in.add(p)
	}
	if len(wrong) == 0 {
		in.lists[n.spot()], in.texts[n.spot()] = items, n.text
	}
}

// check loads the network with the lists in place, for problems in their files: afterwards
// their lines are no longer known. All other problems Load will find again.
func (in *inliner) check(root *node, sources int) error {
	in.put(root)
	_, problems, _ := load(root, in.report, sources)
	var own Problems
	for _, p := range problems {
		if contains(in.names, p.File) {
			own = append(own, p)
		}
	}
	if len(own.Errors()) > 0 {
		return exit.With(&InvalidError{Problems: own}, exit.Invalid)
	}
	return nil
}

// put replaces the names in a tree by the lists.
func (in *inliner) put(root *node) {
	for _, n := range collectionFiles(root) {
		items := in.lists[n.spot()]
		if items == nil {
			continue
		}
		fresh := *items // its place in the tree differs from that of an alias
		fresh.items = append([]*node(nil), items.items...)
		i := n.parent.find("collections")
		n.parent.set(n.parent.fields[i].key, &fresh)
		for i, item := range fresh.items {
			entry := *item
			entry.parent, entry.index = &fresh, i
			fresh.items[i] = &entry
		}
	}
}

// rewrite gives a source's new text, or nil if nothing changes.
func (in *inliner) rewrite(s *source) ([]byte, error) {
	var edits []edit
	for at, items := range in.lists {
		if at.src != s {
			continue
		}
		e, ok := s.scalarAt(at.line, at.column, in.texts[at])
		if !ok || bytes.ContainsAny(s.data[e.start:e.end], "\r\n") {
			return nil, s.unwritable(at.line, at.column, "write the file's name after \"collections:\", on one line")
		}
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(items.plain()); err != nil {
			return nil, err
		}
		e.text = string(bytes.TrimSpace(b.Bytes()))
		edits = append(edits, e)
	}
	if edits == nil {
		return nil, nil
	}
	data := rewritten(s.data, edits)
	// What charts will read is checked, not trusted.
	r := newReport([]*source{s})
	want := (&source{name: s.name, data: s.data}).parse(r)
	got := (&source{name: s.name, data: data}).parse(r)
	if want == nil || got == nil {
		return nil, s.unwritable(1, 1, "its lists of collections cannot be put into it; write them into the file yourself")
	}
	again := inliner{lists: map[spot]*node{}}
	for at, items := range in.lists {
		if at.src == s {
			again.lists[spot{want.src, at.line, at.column}] = items
		}
	}
	again.put(want)
	if !reflect.DeepEqual(want.plain(), got.plain()) {
		return nil, s.unwritable(1, 1, "its lists of collections cannot be put into it; write them into the file yourself")
	}
	return data, nil
}
