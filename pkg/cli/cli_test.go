package cli_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"pivt.io/pivt/pkg/cli"
	"pivt.io/pivt/pkg/exit"
)

// result is what one in-memory run of the program left behind.
type result struct {
	code           exit.Code
	stdout, stderr string
}

func run(t *testing.T, dir string, env map[string]string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := cli.Run(t.Context(), &cli.State{
		Args:   args,
		Env:    func(k string) string { return env[k] },
		Stdin:  strings.NewReader(""),
		Stdout: &stdout,
		Stderr: &stderr,
		Width:  func() int { return 80 },
		Dir:    dir,
		Now:    func() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) },
	})
	return result{code, stdout.String(), stderr.String()}
}

// TestValidateBrokenFiles shows every broken network of package network to pivt validate:
// each problem is named, the exit code says so, and nothing is written anywhere.
func TestValidateBrokenFiles(t *testing.T) {
	t.Parallel()
	archives, err := filepath.Glob("../network/testdata/invalid-*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(archives) < 30 {
		t.Fatalf("found %d broken networks, want 30 at least", len(archives))
	}
	for _, archive := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(archive), ".txtar"), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(archive)
			if err != nil {
				t.Fatal(err)
			}
			dir, args, want := t.TempDir(), []string{"validate"}, []string(nil)
			for _, f := range a.Files {
				switch f.Name {
				case "problems":
					want = strings.Split(strings.TrimSpace(string(f.Data)), "\n")
				case "network":
				case "set":
					for _, kv := range strings.Split(strings.TrimSpace(string(f.Data)), "\n") {
						args = append(args, "--set", kv)
					}
				default:
					if bytes.HasPrefix(f.Data, []byte("%")) {
						t.Skip("holds escaped bytes; TestValidateHostileFiles has such files")
					}
					args = append(args, "-f", f.Name)
					if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			before := tree(t, dir)
			got := run(t, dir, nil, args...)
			if got.code != exit.Invalid {
				t.Errorf("exit %d, want %d", got.code, exit.Invalid)
			}
			if got.stdout != "" {
				t.Errorf("stdout is for results, got %q", got.stdout)
			}
			want = slices.DeleteFunc(want, func(p string) bool {
				place, _, _ := strings.Cut(p, ": ")
				return strings.Contains(p, ": warning: ") || strings.Contains(got.stderr, place+": collections: reading ")
			})
			for i, problem := range want {
				if i < 20 && !strings.Contains(got.stderr, problem) {
					t.Errorf("problem not named: %s\n%s", problem, got.stderr)
				}
			}
			if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
				t.Errorf("validate wrote something: %s", diff)
			}
		})
	}
}

// TestValidateHostileFiles are those no text file can hold.
func TestValidateHostileFiles(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ content, want string }{
		"Empty":      {"", "network.yaml:1:1: "},
		"Binary":     {"\x00ELF\x00\xff", "binary"},
		"NotUTF8":    {"network: {channels: [{name: caf\xe9, orgs: [Org1]}]}\n", "UTF-8"},
		"FiveMegs":   {"network:\n" + strings.Repeat("  # a comment that goes on and on\n", 5<<20/34), "1 MiB"},
		"Tab":        {"network:\n\tchannels: []\n", "network.yaml:2"},
		"DeepBraces": {strings.Repeat("[", 100_000), "network.yaml:1"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if got := run(t, dir, nil, "init"); got.code != exit.OK {
				t.Fatal(got.stderr)
			}
			if err := os.WriteFile(filepath.Join(dir, "network.yaml"), []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			got := run(t, dir, nil, "validate")
			if got.code != exit.Invalid || got.stdout != "" || !strings.Contains(got.stderr, tc.want) {
				t.Errorf("exit %d, stdout %q, stderr %.300q; want exit 2 and stderr with %q", got.code, got.stdout, got.stderr, tc.want)
			}
		})
	}
}

func tree(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		files = append(files, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestUsage(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		args   []string
		env    map[string]string
		code   exit.Code
		stderr string
	}{
		"UnknownFlag":     {"A typo must not be taken for an argument.", []string{"validate", "--strct"}, nil, exit.Invalid, "unknown flag: --strct"},
		"TooManyArgs":     {"Arguments nobody reads are a misunderstanding.", []string{"validate", "x"}, nil, exit.Invalid, "Usage: pivt validate"},
		"BadFormat":       {"A format nobody knows must list those there are.", []string{"version", "-o", "xml"}, nil, exit.Invalid, "must be one of text, json"},
		"BadVariable":     {"A variable stands in for its flag, so its error names the variable.", []string{"version"}, map[string]string{"PIVT_OUTPUT": "xml"}, exit.Invalid, "PIVT_OUTPUT: "},
		"UnknownCommand":  {"The nearest command is offered.", []string{"instal"}, nil, exit.Invalid, "did you mean install?"},
		"NoFiles":         {"A newcomer starts in an empty directory.", []string{"validate"}, nil, exit.Invalid, `run "pivt init"`},
		"UnknownChart":    {"Charts are a closed list.", []string{"render", "nothing"}, nil, exit.Invalid, "invalid argument"},
		"MissingFunction": {"A query needs a function.", []string{"chaincode", "query", "basic"}, nil, exit.Invalid, "requires at least 2 arg"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := run(t, t.TempDir(), tc.env, tc.args...)
			if got.code != tc.code || !strings.Contains(got.stderr, tc.stderr) || got.stdout != "" {
				t.Errorf("%s\npivt %v: exit %d, stderr %q, stdout %q; want exit %d, stderr with %q and no stdout",
					tc.reason, tc.args, got.code, got.stderr, got.stdout, tc.code, tc.stderr)
			}
		})
	}
}

// TestSecretsOnlyInSecrets renders everything and looks for private keys.
func TestSecretsOnlyInSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, args := range [][]string{{"init"}, {"crypto", "generate"}} {
		if got := run(t, dir, nil, args...); got.code != exit.OK {
			t.Fatalf("pivt %v: %s", args, got.stderr)
		}
	}
	if got := run(t, dir, nil, "render", "secrets"); got.code != exit.OK || !strings.Contains(got.stdout, "kind: Secret") {
		t.Errorf("render secrets: exit %d\n%s", got.code, got.stderr)
	}
	for _, chart := range []string{"hlf-kube", "channel-flow", "chaincode-flow"} {
		got := run(t, dir, nil, "render", chart)
		if got.code != exit.OK || !strings.Contains(got.stdout, "kind: ") {
			t.Errorf("render %s: exit %d\n%s", chart, got.code, got.stderr)
		}
		if strings.Contains(got.stdout, "PRIVATE KEY") {
			t.Errorf("render %s prints a private key", chart)
		}
	}
	err := filepath.WalkDir(filepath.Join(dir, "crypto-config"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if bytes.Contains(b, []byte("PRIVATE KEY")) && info.Mode().Perm() != 0o600 {
			t.Errorf("%s holds a private key and has mode %o, want 600", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"init"}, {"validate"}, {"install"}, {"uninstall"}, {"status"}, {"check"}, {"render"},
		{"crypto", "generate"}, {"channel", "apply"}, {"channel", "list"}, {"profile"},
		{"chaincode", "install"}, {"chaincode", "upgrade"}, {"chaincode", "rollback"}, {"chaincode", "list"},
		{"chaincode", "package"}, {"chaincode", "push"}, {"chaincode", "logs"}, {"chaincode", "invoke"}, {"chaincode", "query"},
		{"backup", "create"}, {"backup", "list"}, {"backup", "show"}, {"backup", "verify"}, {"backup", "delete"}, {"backup", "prune"},
		{"backup", "schedule"}, {"restore"},
	} {
		got := run(t, t.TempDir(), nil, append(args, "--help")...)
		for _, want := range []string{"Examples:", "Exit status:", "Usage:"} {
			if got.code != exit.OK || !strings.Contains(got.stdout, want) {
				t.Errorf("pivt %s --help lacks %q (exit %d)", strings.Join(args, " "), want, got.code)
			}
		}
	}
}
