package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pivt.io/pivt/pkg/cli/pod"
	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// globals are the flags that every command takes.
type globals struct {
	files      []string
	set        []string
	namespace  string
	context    string
	kubeconfig string
	cryptoDir  string
	output     outputFormat
	quiet      bool
	noColor    bool
}

// Run executes the program and returns its exit code. It is the only place that prints
// an error.
func Run(ctx context.Context, s *State) exit.Code {
	var g globals
	root := newRoot(s, &g)
	root.SetArgs(s.Args)
	c, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exit.OK
	}
	printError(s, &g, c, err)
	return codeOf(c, err)
}

// codeOf is the exit code of a command. "Try again" is for those who do so by themselves: the
// workflows that call the hidden commands.
func codeOf(c *cobra.Command, err error) exit.Code {
	code := exit.CodeOf(err)
	for ; c != nil; c = c.Parent() {
		if c.Hidden {
			return code
		}
	}
	if code == exit.TryAgain {
		return exit.Failed
	}
	return code
}

func newRoot(s *State, g *globals) *cobra.Command {
	root := &cobra.Command{
		Use:   "pivt",
		Short: "Hyperledger Fabric networks on Kubernetes from two YAML files",
		Long: `pivt turns two files, crypto-config.yaml and network.yaml, into a running and populated
Hyperledger Fabric network on Kubernetes: peers, orderers, channels and chaincodes.

Every command may be interrupted and repeated; what is already there is left alone.`,
		Example: `  # write the two files for a small network, look at them, install it
  pivt init
  pivt validate
  pivt install

  # ask the chaincode something
  pivt chaincode query basic GetAllAssets`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return bindEnv(c, s) },
		Args:              knownCommand,
		RunE:              func(c *cobra.Command, _ []string) error { return runNext(s, g) },
	}
	root.SetIn(s.Stdin)
	root.SetOut(s.Stdout)
	root.SetErr(s.Stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError(err) })
	root.CompletionOptions.HiddenDefaultCmd = false
	g.addFlags(root.PersistentFlags())
	root.AddGroup(
		&cobra.Group{ID: "network", Title: "The network:"},
		&cobra.Group{ID: "fabric", Title: "What runs on it:"},
		&cobra.Group{ID: "other", Title: "Other commands:"},
	)
	root.SetHelpCommandGroupID("other")
	root.SetCompletionCommandGroupID("other")
	for group, commands := range map[string][]*cobra.Command{
		"network": {newInit(s, g), newValidate(s, g), newInstall(s, g), newUninstall(s, g), newStatus(s, g), newCheck(s, g), newNetwork(s, g)},
		"fabric":  {newCrypto(s, g), newChannel(s, g), newChaincode(s, g), newProfile(s, g), newBackup(s, g), newRestore(s, g)},
		"other":   {newRender(s, g), newVersion(s, g)},
	} {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	root.AddCommand(pod.Commands(pod.Process{Env: s.Env, Stderr: s.Stderr})...)
	completeGlobals(root, g)
	return root
}

func (g *globals) addFlags(f *pflag.FlagSet) {
	f.StringArrayVarP(&g.files, "file", "f", nil, "file of the network; may be repeated, later ones win (default crypto-config.yaml and network.yaml)")
	f.StringArrayVar(&g.set, "set", nil, "set one value, KEY=VALUE; may be repeated")
	f.StringVarP(&g.namespace, "namespace", "n", "", "namespace of the network (default the context's)")
	f.StringVar(&g.context, "context", "", "context of the kubeconfig to use")
	f.StringVar(&g.kubeconfig, "kubeconfig", "", "kubeconfig file (default as kubectl's)")
	f.StringVar(&g.cryptoDir, "crypto-dir", "crypto-config", "directory of keys and certificates, in cryptogen's layout")
	f.VarP(&g.output, "output", "o", "format of results: text, json, yaml, name or wide")
	f.BoolVarP(&g.quiet, "quiet", "q", false, "no progress on stderr")
	f.BoolVar(&g.noColor, "no-color", false, "no colour")
}

// variables maps environment variables to the flags they stand in for. The documentation
// of the variables is made from this table.
func variables() map[string]string {
	return map[string]string{
		"PIVT_NAMESPACE":  "namespace",
		"PIVT_CONTEXT":    "context",
		"PIVT_CRYPTO_DIR": "crypto-dir",
		"PIVT_OUTPUT":     "output",
	}
}

// bindEnv gives flags that were not set the value of their variable.
func bindEnv(c *cobra.Command, s *State) error {
	for name, flag := range variables() {
		f := c.Flags().Lookup(flag)
		if v := s.Env(name); v != "" && f != nil && !f.Changed {
			if err := c.Flags().Set(flag, v); err != nil {
				return usageError(fmt.Errorf("%s: %w", name, err))
			}
		}
	}
	return nil
}

// knownCommand refuses a word that is no command, with the nearest ones.
func knownCommand(c *cobra.Command, a []string) error {
	if len(a) == 0 {
		return nil
	}
	near := ""
	c.SuggestionsMinimumDistance = 2
	if s := c.SuggestionsFor(a[0]); len(s) > 0 {
		near = "; did you mean " + strings.Join(s, " or ") + "?"
	}
	return usageErrorf("unknown command %q for %q%s", a[0], c.CommandPath(), near)
}

// runNext answers a bare "pivt" with the next sensible command.
func runNext(s *State, g *globals) error {
	if _, err := s.readFile("network.yaml"); err != nil {
		fmt.Fprintln(s.Stdout, "No network.yaml here. Start with:\n\n  pivt init       write the two files of a small network\n  pivt --help     see every command")
		return nil
	}
	fmt.Fprintln(s.Stdout, "This directory holds a network. Next:\n\n  pivt validate   check the two files\n  pivt install    make it run, or bring it up to date\n  pivt status     see how it is doing\n  pivt --help     see every command")
	return nil
}

type usage struct{ error }

func (u usage) Unwrap() error { return u.error }

// usageError marks err as wrong use of a command: exit 2, with that command's usage.
func usageError(err error) error {
	if err == nil {
		return nil
	}
	return exit.With(usage{err}, exit.Invalid)
}

func usageErrorf(format string, args ...any) error { return usageError(fmt.Errorf(format, args...)) }

// args adapts a cobra argument check, so that its error shows usage.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, a []string) error { return usageError(check(c, a)) }
}

func printError(s *State, g *globals, c *cobra.Command, err error) {
	if g.output == outputJSON {
		printJSONError(s.Stderr, err, codeOf(c, err))
		return
	}
	var invalid *network.InvalidError
	if errors.As(err, &invalid) {
		fmt.Fprintln(s.Stderr, invalid)
	} else {
		fmt.Fprintf(s.Stderr, "Error: %v\n", err)
	}
	var built *deploy.BuildError
	if g.quiet && errors.As(err, &built) { // the story has told it otherwise
		fmt.Fprintf(s.Stderr, "    %s\n", strings.Join(built.Log, "\n    "))
	}
	if hint := exit.HintOf(err); hint != "" {
		fmt.Fprintf(s.Stderr, "Hint:  %s\n", hint)
	}
	var u usage
	if errors.As(err, &u) && c != nil {
		fmt.Fprintf(s.Stderr, "Usage: %s\n       %s --help shows more\n", c.UseLine(), c.CommandPath())
	}
}

type jsonError struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Message    string   `json:"message"`
	Hint       string   `json:"hint,omitempty"`
	Code       int      `json:"code"`
	Problems   []string `json:"problems,omitempty"`
	Log        []string `json:"log,omitempty"` // the last lines of a build that failed
}

func printJSONError(w io.Writer, err error, code exit.Code) {
	e := jsonError{APIVersion: apiVersion, Kind: "Error", Message: err.Error(), Hint: exit.HintOf(err), Code: int(code)}
	var invalid *network.InvalidError
	if errors.As(err, &invalid) {
		for _, p := range invalid.Problems.Errors() {
			e.Problems = append(e.Problems, p.String())
		}
	}
	var built *deploy.BuildError
	if errors.As(err, &built) {
		e.Log = built.Log
	}
	b, merr := json.Marshal(e)
	if merr != nil {
		return // strings and numbers always marshal
	}
	fmt.Fprintf(w, "%s\n", b)
}
