package cli

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

var update = flag.Bool("update", false, "rewrite docs/cli")

// TestDocs keeps docs/cli equal to what the commands say of themselves.
func TestDocs(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "docs", "cli")
	pages := map[string][]byte{}
	root := newRoot(&State{Env: func(string) string { return "" }}, new(globals))
	root.InitDefaultCompletionCmd("completion")
	describe(t, root, pages)
	pages["variables.md"] = variablesPage()
	if *update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, page := range pages {
			if err := os.WriteFile(filepath.Join(dir, name), page, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, page := range pages {
		have, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Errorf("%v; run \"make generate\"", err)
			continue
		}
		if diff := cmp.Diff(string(page), string(have)); diff != "" {
			t.Errorf("docs/cli/%s is not what the commands say; run \"make generate\"\n%s", name, diff)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if pages[e.Name()] == nil {
			t.Errorf("docs/cli/%s describes nothing; run \"make generate\"", e.Name())
		}
	}
}

func describe(t *testing.T, c *cobra.Command, pages map[string][]byte) {
	t.Helper()
	if c.Hidden || c.Name() == "help" {
		return
	}
	var b bytes.Buffer
	if err := doc.GenMarkdown(c, &b); err != nil {
		t.Fatal(err)
	}
	pages[strings.ReplaceAll(c.CommandPath(), " ", "_")+".md"] = b.Bytes()
	for _, sub := range c.Commands() {
		describe(t, sub, pages)
	}
}

func variablesPage() []byte {
	var lines []string
	for name, flag := range variables() {
		lines = append(lines, fmt.Sprintf("| `%s` | `--%s` |\n", name, flag))
	}
	sort.Strings(lines)
	lines = append(lines, "| `NO_COLOR` | `--no-color` |\n", "| `CI` | no live redrawing and no colour, if set |\n")
	return []byte("# Environment variables\n\nA flag that is given wins over its variable.\n\n| variable | stands in for |\n|---|---|\n" + strings.Join(lines, ""))
}
