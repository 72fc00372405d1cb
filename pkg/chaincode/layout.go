package chaincode

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"sort"
	"strings"
)

const (
	srcDir  = "src"
	metaDir = "META-INF"
)

// layout says where the files of a source go in its package.
type layout struct {
	path        string // metadata.json's, which tells Go's builder what to build
	meta        string // the directory of the source that holds the indexes
	directories bool
}

// name is a file's name in the package, or "" if it does not go there.
func (l layout) name(from string) string {
	rest, below := strings.CutPrefix(from, l.meta+"/")
	switch {
	case !below:
		return srcDir + "/" + from
	case strings.HasPrefix(path.Base(rest), "."):
		return "" // Fabric leaves hidden files out here
	}
	return metaDir + "/" + rest
}

// layout finds out what kind of source it is, and refuses what no builder could build.
func (t *tree) layout() (layout, error) {
	sort.Strings(t.files)
	l := layout{meta: metaDir}
	switch t.cc.Language {
	case "golang":
		return t.golang()
	case "node":
		return l, t.node()
	}
	return l, t.java()
}

// golang tells Go's layouts apart by the rules of the script that Fabric builds with
// (core/chaincode/platforms/golang): a go.mod at the root, a go.mod in the directory of the
// path, or none and a GOPATH.
func (t *tree) golang() (layout, error) {
	l := layout{directories: true}
	main := path.Clean(t.cc.Path) // "." for none
	switch module := t.has("go.mod"); {
	case module && main == ".":
		l.path = "."
	case module && t.has(main+"/go.mod") && !t.has("go.work"):
		return l, t.refuse(main+"/go.mod", "is a module inside the module of %s, so it cannot be built from there; let source name %s, without path",
			t.place("go.mod"), t.place(main))
	case module:
		l.path = "./" + main
	case main == ".":
		return l, t.refuse(".", "has no go.mod; %s", t.noModule())
	default: // a module below, or GOPATH
		l.path = main
	}
	if !t.dirs[main] {
		return l, t.refuse(main, "there is no such directory; path names the directory of the main package below source")
	}
	if err := t.mainPackage(main); err != nil {
		return l, err
	}
	for _, dir := range []string{".", main} {
		if err := t.replacements(dir); err != nil {
			return l, err
		}
	}
	// Fabric takes the indexes beside the main package. Where a path is given people put them
	// at the root as well, and there Fabric would lose them without a word.
	l.meta = metaDir
	if beside := path.Join(main, metaDir); t.dirs[beside] {
		l.meta = beside
	}
	return l, nil
}

// noModule is the cure for Go source without go.mod at its root.
func (t *tree) noModule() string {
	var below []string
	for _, name := range t.files {
		if path.Base(name) == "go.mod" && !strings.Contains("/"+name, "/vendor/") {
			below = append(below, path.Dir(name))
		}
	}
	switch {
	case len(below) == 1:
		return "there is one in " + below[0] + ": write path: " + below[0] + ", or let source name that directory"
	case t.has("package.json"):
		return "there is a package.json: write language: node"
	}
	return "if it is part of a module, let source name the module's root, and path the main package below it; " +
		"else make one with \"go mod init\", or for GOPATH code let path be the import path below source"
}

var packageMain = regexp.MustCompile(`(?m)^package[ \t]+main\b`)

// mainPackage looks for the package that has the program.
func (t *tree) mainPackage(dir string) error {
	sources := 0
	for _, name := range t.files {
		if path.Dir(name) != dir || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		sources++
		data, err := t.read(name)
		if err != nil {
			return err
		}
		if packageMain.Match(data) {
			return nil
		}
	}
	var mains []string
	for _, name := range t.files {
		if path.Base(name) == "main.go" && !strings.Contains("/"+name, "/vendor/") && path.Dir(name) != dir {
			mains = append(mains, path.Dir(name))
		}
	}
	cure := "let path name the directory below source that holds package main"
	if len(mains) == 1 {
		cure = "write path: " + mains[0]
	}
	if sources == 0 {
		return t.refuse(dir, "has no Go files; %s", cure)
	}
	return t.refuse(dir, "has Go files, but none of package main; %s", cure)
}

// replacements refuses a go.mod that needs directories which do not come along.
func (t *tree) replacements(dir string) error {
	file := path.Join(dir, "go.mod")
	if !t.has(file) || t.has(path.Join(dir, "vendor/modules.txt")) {
		return nil
	}
	data, err := t.read(file)
	if err != nil {
		return err
	}
	for _, target := range replaced(string(data)) {
		switch to := path.Join(dir, target); {
		case path.IsAbs(target), to == "..", strings.HasPrefix(to, "../"):
			return t.refuse(file, "replaces a module by %s, which is outside the source; let source name a directory that holds both, and path this one, or run \"go mod vendor\"", target)
		case !t.has(path.Join(to, "go.mod")):
			return t.refuse(file, "replaces a module by %s, and no go.mod from there is packaged", target)
		}
	}
	return nil
}

// replaced lists the directories that a go.mod's replace directives name.
func replaced(mod string) []string {
	var dirs []string
	for line := range strings.Lines(mod) {
		line, _, _ = strings.Cut(line, "//")
		_, to, ok := strings.Cut(line, "=>")
		if !ok {
			continue
		}
		fields := strings.Fields(to)
		if len(fields) == 0 {
			continue
		}
		target := strings.Trim(fields[0], "\"`")
		if strings.HasPrefix(target, "./") || strings.HasPrefix(target, "../") || target == "." || target == ".." || path.IsAbs(target) {
			dirs = append(dirs, target)
		}
	}
	return dirs
}

func (t *tree) node() error {
	if !t.has("package.json") {
		return t.refuse(".", "has no package.json; let source name the directory that has it")
	}
	data, err := t.read("package.json")
	if err != nil {
		return err
	}
	var p struct {
		Scripts map[string]any `json:"scripts"`
	}
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), &p); err != nil {
		return t.refuse("package.json", "is not JSON that npm could read: %v", err)
	}
	if p.Scripts["start"] == nil && !t.has("server.js") {
		return t.refuse("package.json", "has no script \"start\", with which Fabric starts a chaincode; add \"start\": \"fabric-chaincode-node start\"")
	}
	return nil
}

func (t *tree) java() error {
	for _, name := range t.files {
		switch name {
		case "build.gradle", "build.gradle.kts", "pom.xml":
			return nil
		}
		if path.Ext(name) == ".jar" && path.Dir(name) != "gradle/wrapper" {
			return nil // built beforehand
		}
	}
	return t.refuse(".", "has no build.gradle, build.gradle.kts or pom.xml, and no jar; let source name the directory that has it")
}

var (
	indexName = regexp.MustCompile(`^META-INF/statedb/couchdb/(collections/[A-Za-z0-9_-]+/)?indexes/[^/]+\.json$`)
	indexKeys = map[string]bool{"index": true, "ddoc": true, "name": true, "type": true}
)

// checkIndex refuses indexes that Fabric's own packaging refuses (internal/ccmetadata), since
// a peer would take them and make no index.
func (t *tree) checkIndex(from, name string, data []byte) error {
	if !indexName.MatchString(name) {
		return t.refuse(from, "is not at a place Fabric knows; indexes are %s/statedb/couchdb/indexes/NAME.json, or …/couchdb/collections/COLLECTION/indexes/NAME.json", metaDir)
	}
	var index map[string]any
	if err := json.Unmarshal(data, &index); err != nil {
		return t.refuse(from, "is not a CouchDB index: %v", err)
	}
	if err := checkIndexKeys(index); err != nil {
		return t.refuse(from, "is not a CouchDB index: %v", err)
	}
	return nil
}

func checkIndexKeys(index map[string]any) error {
	var keys []string
	for key := range index {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		_, isText := index[key].(string)
		switch {
		case !indexKeys[key]:
			return fmt.Errorf("key %q is unknown; known keys: ddoc, index, name, type", key)
		case key == "type" && index[key] != "json":
			return fmt.Errorf("type must be \"json\"")
		case (key == "name" || key == "ddoc") && !isText:
			return fmt.Errorf("%s must be text", key)
		}
	}
	definition, ok := index["index"].(map[string]any)
	if !ok {
		return fmt.Errorf("it has no \"index\": {\"fields\": […]}")
	}
	for key := range definition {
		if key != "fields" && key != "partial_filter_selector" {
			return fmt.Errorf("key %q of index is unknown; known keys: fields, partial_filter_selector", key)
		}
	}
	fields, ok := definition["fields"].([]any)
	if !ok {
		return fmt.Errorf("fields must be a list")
	}
	for _, f := range fields {
		switch f := f.(type) {
		case string:
		case map[string]any:
			for name, order := range f {
				if s, _ := order.(string); !strings.EqualFold(s, "asc") && !strings.EqualFold(s, "desc") {
					return fmt.Errorf("field %q must be sorted asc or desc", name)
				}
			}
		default:
			return fmt.Errorf("a field must be text, or text with asc or desc")
		}
	}
	return nil
}
