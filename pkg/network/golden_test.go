package network_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"pivt.io/pivt/pkg/network"
)

var update = flag.Bool("update", false, "write what is got into the golden files")

// The sections of a golden file that are not sources.
const (
	setSection      = "set"      // one --set per line
	problemsSection = "problems" // what Load says
	networkSection  = "network"  // what Load returns, if anything
)

// golden reads one case: its sources in order, its flags, and a way to look at results.
func golden(t *testing.T, file string) (sources []network.Source, set []string, a *txtar.Archive) {
	t.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range a.Files {
		switch f.Name {
		case setSection:
			set = strings.Split(strings.TrimSpace(string(f.Data)), "\n")
		case problemsSection, networkSection:
		default:
			sources = append(sources, network.Source{Name: f.Name, Data: unescape(f.Data)})
		}
	}
	return sources, set, a
}

// unescape lets a golden file hold what a text file should not: \xFF stands for the byte,
// at the start of a line that begins with "%".
func unescape(data []byte) []byte {
	if !bytes.HasPrefix(data, []byte("%")) {
		return data
	}
	return []byte(strings.NewReplacer(`\xff`, "\xff", `\xfe`, "\xfe", `\x00`, "\x00", `\x07`, "\x07", `\xef\xbb\xbf`, "\xef\xbb\xbf",
		`\t`, "\t", `\r`, "\r").Replace(string(data[1:])))
}

// expect compares one section of the case with what came out.
func expect(t *testing.T, file string, a *txtar.Archive, section, got string) {
	t.Helper()
	at := -1
	for i, f := range a.Files {
		if f.Name == section {
			at = i
		}
	}
	if *update {
		if at < 0 {
			a.Files = append(a.Files, txtar.File{Name: section})
			at = len(a.Files) - 1
		}
		a.Files[at].Data = []byte(got)
		if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if at < 0 {
		t.Fatalf("%s has no section %q; run the test with -update", file, section)
	}
	if diff := cmp.Diff(string(a.Files[at].Data), got); diff != "" {
		t.Errorf("%s\n%s: -want, +got:\n%s", strings.TrimSpace(string(a.Comment)), section, diff)
	}
}

// cases lists golden files.
func cases(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files for %s: %v", pattern, err)
	}
	return files
}
