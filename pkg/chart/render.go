package chart

import (
	"bytes"
	"fmt"
	"strings"

	"helm.sh/helm/v3/pkg/action"

	"pivt.io/pivt/pkg/exit"
)

// RenderOptions are those of "helm template". The flow charts depend on neither.
type RenderOptions struct {
	Release   string // default "release-name", which is helm template's
	Namespace string // default "default"
}

// Render prints a chart as "helm template" does, byte for byte. It touches no cluster and
// writes into none of values. The error of bad values carries exit.Invalid.
func Render(name string, values map[string]any, o RenderOptions) ([]byte, error) {
	c, err := load(name)
	if err != nil {
		return nil, err
	}
	in := action.NewInstall(&action.Configuration{Log: func(string, ...any) {}})
	in.ClientOnly = true
	in.DryRun = true
	in.DryRunOption = "true"
	in.Replace = true // there is no release whose name could be taken
	in.ReleaseName = or(o.Release, "release-name")
	in.Namespace = or(o.Namespace, "default")
	rel, err := in.Run(c, clone(values))
	if err != nil {
		return nil, exit.With(fmt.Errorf("rendering chart %s: %w", name, explain(err)), exit.Invalid)
	}
	var out bytes.Buffer
	fmt.Fprintln(&out, strings.TrimSpace(rel.Manifest))
	for _, h := range rel.Hooks {
		fmt.Fprintf(&out, "---\n# Source: %s\n%s\n", h.Path, h.Manifest)
	}
	return out.Bytes(), nil
}
