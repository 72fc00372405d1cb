package cli

import (
	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/network"
)

// completeNames completes names of the files; no cluster is asked.
func completeNames(s *State, g *globals, names func(*network.Network) []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
		sources, err := g.sources(s)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		in, err := g.loadFrom(s, sources)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		if len(given) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names(in.network), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlag completes the value of a command's own flag with names of the files.
func completeFlag(c *cobra.Command, s *State, g *globals, flag string, names func(*network.Network) []string) {
	all := completeNames(s, g, names)
	err := c.RegisterFlagCompletionFunc(flag, func(c *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return all(c, nil, typed)
	})
	if err != nil {
		panic("unreachable: the flag was added before: " + err.Error())
	}
}

// completeGlobals completes the values of flags that every command has.
func completeGlobals(root *cobra.Command, g *globals) {
	complete := func(flag string, f cobra.CompletionFunc) {
		if err := root.RegisterFlagCompletionFunc(flag, f); err != nil {
			panic("unreachable: the flag was added before: " + err.Error())
		}
	}
	complete("output", cobra.FixedCompletions(outputFormats(), cobra.ShellCompDirectiveNoFileComp))
	complete("context", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		k, err := g.kube()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		raw, err := k.ToRawKubeConfigLoader().RawConfig()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		for name := range raw.Contexts {
			names = append(names, name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}
