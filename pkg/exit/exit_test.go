package exit_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/exit"
)

func TestCodeOf(t *testing.T) {
	t.Parallel()
	leaf := errors.New("peer0: connection refused")
	cases := map[string]struct {
		reason string
		err    error
		want   exit.Code
	}{
		"Nil":         {"No error is success.", nil, exit.OK},
		"Plain":       {"An error nobody classified is a failure.", leaf, exit.Failed},
		"Attached":    {"An attached code is found through wrapping.", fmt.Errorf("joining: %w", exit.Transient(leaf)), exit.TryAgain},
		"InnerWins":   {"Whoever is nearer to the cause knows it better.", exit.With(fmt.Errorf("x: %w", exit.With(leaf, exit.Invalid)), exit.Failed), exit.Invalid},
		"Interrupted": {"Ctrl-C cancels the context.", fmt.Errorf("waiting: %w", context.Canceled), exit.Interrupted},
		"Deadline":    {"A deadline is a time-out unless someone knew better.", fmt.Errorf("waiting: %w", context.DeadlineExceeded), exit.TimedOut},
		"Joined":      {"A code is found in a joined error too.", errors.Join(leaf, exit.With(leaf, exit.NotReady)), exit.NotReady},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := exit.CodeOf(tc.err); got != tc.want {
				t.Errorf("%s\nCodeOf(%v) = %d, want %d", tc.reason, tc.err, got, tc.want)
			}
		})
	}
}

func TestHintOf(t *testing.T) {
	t.Parallel()
	err := exit.WithHint(fmt.Errorf("a: %w", exit.WithHint(errors.New("b"), "inner")), "outer")
	if got := exit.HintOf(err); got != "inner" {
		t.Errorf("HintOf = %q, want the innermost hint", got)
	}
	if got := exit.HintOf(errors.New("b")); got != "" {
		t.Errorf("HintOf of a plain error = %q, want none", got)
	}
	if exit.With(nil, exit.Failed) != nil || exit.WithHint(nil, "x") != nil {
		t.Error("attaching to nil must stay nil, or success becomes failure")
	}
}

// TestDocumented holds the page to the table, line by line: a script must not wait for a code that
// nothing returns.
func TestDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/exit-codes.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, c := range exit.Codes() {
		want = append(want, fmt.Sprintf("| %d | %s |", c.Code, c.Meaning))
	}
	_, table, _ := strings.Cut(string(doc), "|---|---|\n")
	if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(table), "\n")); diff != "" {
		t.Errorf("docs/exit-codes.md: -want, +got:\n%s", diff)
	}
}

// TestReturned looks for code that returns each code.
func TestReturned(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "exit.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	unused := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && fmt.Sprint(spec.Type) == "Code" {
			unused[spec.Names[0].Name] = true
		}
		return true
	})
	if len(unused) != len(exit.Codes()) {
		t.Fatalf("exit.go has constants %v, and %d codes are listed", unused, len(exit.Codes()))
	}
	for _, root := range []string{"../../pkg", "../../cmd"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			data, err := os.ReadFile(path)
			for name := range unused {
				if regexp.MustCompile(`\bexit\.` + name + `\b`).Match(data) {
					delete(unused, name)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(unused) > 0 {
		t.Errorf("nothing returns %v", slices.Sorted(maps.Keys(unused)))
	}
}
