package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/check"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/kube"
	"pivt.io/pivt/pkg/pki"
)

func newCheck(s *State, g *globals) *cobra.Command {
	var pre, strict bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Answer what could keep the network from working",
		Long: `Check the files, the cluster, Argo, your rights, the certificates, and every node, channel and chaincode.
Each failed check says what would cure it. Nothing is changed.

With --pre only what must hold before "pivt install" is checked.

Exit status: 0 all checks passed, warnings aside; 2 wrong usage or files; 3 a check failed, or with --strict
a warning.`,
		Example: `  # before the first install
  pivt check --pre

  # everything
  pivt check -n fabric`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			results, err := g.check(c.Context(), s, pre)
			if err != nil {
				return err
			}
			if done, err := g.structured(s.Stdout, "CheckList", results); err != nil {
				return err
			} else if !done {
				printResults(s.Stdout, results)
			}
			return verdict(results, strict)
		},
	}
	c.Flags().BoolVar(&pre, "pre", false, "only what must hold before install")
	c.Flags().BoolVar(&strict, "strict", false, "treat warnings as failures")
	return c
}

func (g *globals) check(ctx context.Context, s *State, pre bool) ([]check.Result, error) {
	in, err := g.load(s)
	if err != nil {
		return nil, err
	}
	results := []check.Result{{Category: "files", Title: "the files are valid", OK: true, Detail: summarize(in.network).counts()}}
	for _, w := range in.warnings {
		results = append(results, check.Result{Category: "files", Title: w.String(), Warning: true})
	}
	k, err := g.kube()
	if err != nil {
		return append(results, check.Result{Category: "cluster", Title: "a cluster is chosen", Detail: err.Error(), Hint: exit.HintOf(err)}), nil
	}
	before := check.Pre(ctx, k)
	results = append(results, before...)
	if pre || anyFailed(before) {
		return results, nil
	}
	return append(results, g.checkNetwork(ctx, s, in, k)...), nil
}

func (g *globals) checkNetwork(ctx context.Context, s *State, in *inputs, k *kube.Client) []check.Result {
	m, err := pki.Load(s.path(g.cryptoDir), in.network)
	if err != nil {
		return []check.Result{{Category: "certificates", Title: "keys and certificates are there", Detail: err.Error(), Hint: "pivt crypto generate"}}
	}
	results := check.Certificates(in.network, m, s.Now())
	st, err := check.Collect(ctx, &check.Access{Kube: k, Network: in.network, Material: m, Dial: s.Dial})
	if err != nil {
		return append(results, check.Result{Category: "nodes", Title: "the cluster tells about nodes", Detail: err.Error()})
	}
	return append(results, st.Results()...)
}

func anyFailed(results []check.Result) bool {
	for _, r := range results {
		if r.Failed() {
			return true
		}
	}
	return false
}

func printResults(w io.Writer, results []check.Result) {
	category := ""
	for _, r := range results {
		if r.Category != category {
			category = r.Category
			fmt.Fprintln(w, category)
		}
		mark := "ok"
		switch {
		case r.Failed():
			mark = "failed"
		case !r.OK:
			mark = "warn"
		}
		fmt.Fprintf(w, "  %-6s %s%s\n", mark, r.Title, prefixed(": ", r.Detail))
		if !r.OK && r.Hint != "" {
			fmt.Fprintf(w, "         hint: %s\n", r.Hint)
		}
	}
}

func verdict(results []check.Result, strict bool) error {
	failed, warned := 0, 0
	for _, r := range results {
		switch {
		case r.Failed():
			failed++
		case !r.OK:
			warned++
		}
	}
	if failed > 0 {
		return exit.With(fmt.Errorf("%s failed", count(failed, "check")), exit.NotReady)
	}
	if strict && warned > 0 {
		return exit.With(errors.New(count(warned, "warning")+", and --strict was given"), exit.NotReady)
	}
	return nil
}
