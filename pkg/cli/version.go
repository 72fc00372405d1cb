package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker for a release; otherwise the module's build information
// answers.
var version = "dev"

// Version is pivt's own version.
func Version() string { return version }

type versions struct {
	Pivt     string `json:"pivt"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersion(s *State, g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Example: `  pivt version
  pivt version -o json`,
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			v := versions{Pivt: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, kv := range info.Settings {
					if kv.Key == "vcs.revision" {
						v.Revision = kv.Value
					}
				}
			}
			if done, err := g.structured(s.Stdout, "Version", v); done || err != nil {
				return err
			}
			fmt.Fprintf(s.Stdout, "pivt %s%s (%s, %s)\n", v.Pivt, prefixed(" ", v.Revision), v.Go, v.Platform)
			return nil
		},
	}
}
