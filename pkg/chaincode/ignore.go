package chaincode

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// ignoreFile lists what is not to be packaged, in a source's root.
const ignoreFile = ".pivtignore"

// defaultIgnores are what no package needs, whatever the language: version control, editors,
// the ignore file itself.
const defaultIgnores = `
.git
.hg
.svn
.DS_Store
.idea/
.vscode/
*.swp
*~
/.pivtignore
`

// languageIgnores are what Fabric's own packaging leaves out too. For Java Fabric drops any
// directory called build, even of Java packages; here what is below src stays.
var languageIgnores = map[string]string{
	"golang": ".*/\n",
	"node":   "node_modules/\n",
	"java":   "target/\nbuild/\nout/\n.gradle/\n*.class\n!**/src/**/target/\n!**/src/**/build/\n!**/src/**/out/\n",
}

// ignorer tells which files a list of patterns leaves out. The language is that of
// .gitignore, in one file: the last pattern that fits decides, "!" takes back, "/" at the end
// means directories, "/" elsewhere ties the pattern to the root, and *, ?, [a-z] and ** are
// what they are there. What is below a directory that is left out cannot be taken back.
type ignorer []pattern

type pattern struct {
	match    *regexp.Regexp
	keep     bool // taken back with "!"
	dirsOnly bool
}

// add appends the patterns of a file. name is for messages.
func (g *ignorer) add(name, text string) error {
	for i, line := range strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") {
		line = strings.TrimRight(line, "\r")
		if trimmed := strings.TrimRight(line, " \t"); !strings.HasSuffix(trimmed, `\`) {
			line = trimmed
		}
		if line == "" || line[0] == '#' {
			continue
		}
		var p pattern
		if p.keep = line[0] == '!'; p.keep {
			line = line[1:]
		}
		if p.dirsOnly = strings.HasSuffix(line, "/"); p.dirsOnly {
			line = strings.TrimSuffix(line, "/")
		}
		expression, err := globExpression(line)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
		p.match = expression
		*g = append(*g, p)
	}
	return nil
}

// ignores reports whether a file or directory is left out.
func (g ignorer) ignores(name string, dir bool) bool {
	for i := len(g) - 1; i >= 0; i-- {
		if p := g[i]; (dir || !p.dirsOnly) && p.match.MatchString(name) {
			return !p.keep
		}
	}
	return false
}

// ignoresBelow reports whether a file or any directory above it is left out.
func (g ignorer) ignoresBelow(name string) bool {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if g.ignores(dir, true) {
			return true
		}
	}
	return g.ignores(name, false)
}

// globExpression turns a pattern into a regular expression.
func globExpression(glob string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString("^")
	if !strings.Contains(glob, "/") {
		b.WriteString("(?:.*/)?")
	}
	rest := strings.TrimPrefix(glob, "/")
	if rest == "" {
		return nil, fmt.Errorf("pattern %q names nothing", glob)
	}
	for rest != "" {
		switch {
		case strings.HasPrefix(rest, "**/"):
			b.WriteString("(?:.*/)?")
			rest = rest[3:]
		case rest == "**":
			b.WriteString(".*")
			rest = ""
		case rest[0] == '*':
			b.WriteString("[^/]*")
			rest = strings.TrimLeft(rest, "*")
		case rest[0] == '?':
			b.WriteString("[^/]")
			rest = rest[1:]
		case rest[0] == '[':
			end := strings.IndexByte(rest[1:], ']')
			if end < 1 {
				return nil, fmt.Errorf("pattern %q: the bracket is never closed", glob)
			}
			class := rest[1 : end+1]
			b.WriteString("[")
			if class[0] == '!' || class[0] == '^' {
				b.WriteString("^/")
				class = class[1:]
			}
			b.WriteString(strings.NewReplacer(`\`, `\\`, "[", `\[`, "^", `\^`, "&", `\&`, "~", `\~`).Replace(class) + "]")
			rest = rest[end+2:]
		default:
			if rest[0] == '\\' && len(rest) > 1 {
				rest = rest[1:]
			}
			n := 1
			for n < len(rest) && rest[n]&0xC0 == 0x80 { // the rest of a character
				n++
			}
			b.WriteString(regexp.QuoteMeta(rest[:n]))
			rest = rest[n:]
		}
	}
	expression, err := regexp.Compile("(?s)" + b.String() + "$")
	if err != nil {
		return nil, fmt.Errorf("pattern %q is not one of .gitignore's", glob)
	}
	return expression, nil
}
