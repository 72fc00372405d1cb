package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"pivt.io/pivt/pkg/chart"
	"pivt.io/pivt/pkg/deploy"
)

const renderSecrets = "secrets"

func newRender(s *State, g *globals) *cobra.Command {
	names := append(chart.Names(), renderSecrets)
	return &cobra.Command{
		Use:   "render CHART",
		Short: "Print the YAML of a chart, without a cluster",
		Long: fmt.Sprintf(`Print what a chart renders for the files: the very bytes that "helm template" prints for it.

CHART is one of %s. "render secrets" prints the Secrets with keys that the
nodes need beside the chart; they contain private keys, so seal or pipe them, do not commit them.

Exit status: 0 done; 1 failed; 2 wrong usage or files.`, strings.Join(names, ", ")),
		Example: `  # bring up a network with nothing but kubectl, helm and argo
  pivt crypto generate
  pivt render secrets | kubectl apply -f -
  helm install hlf-kube charts/hlf-kube -f network.yaml -f crypto-config.yaml
  pivt render channel-flow | argo submit -
  pivt render chaincode-flow | argo submit -

  # back it up, to the place that network.yaml names; once, whatever its schedule
  pivt render backup-flow --set backup.schedule= | argo submit -

  # or by the schedule in network.yaml
  pivt render backup-flow | kubectl apply -f -`,
		Args:      args(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)),
		ValidArgs: names,
		RunE: func(_ *cobra.Command, a []string) error {
			in, err := g.load(s)
			if err != nil {
				return err
			}
			if a[0] == renderSecrets {
				return g.renderSecrets(s, in)
			}
			out, err := chart.Render(a[0], in.values, chart.RenderOptions{Namespace: g.namespace})
			if err != nil {
				return err
			}
			_, err = s.Stdout.Write(out)
			return err
		},
	}
}

func (g *globals) renderSecrets(s *State, in *inputs) error {
	m, err := g.material(s, in.network)
	if err != nil {
		return err
	}
	objects, err := deploy.Objects(in.network, m, in.values)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if g.namespace != "" {
			o.SetNamespace(g.namespace)
		}
		b, err := yaml.Marshal(o.Object)
		if err != nil {
			return fmt.Errorf("printing %s/%s: %w", o.GetKind(), o.GetName(), err)
		}
		fmt.Fprintf(s.Stdout, "---\n%s", b)
	}
	return nil
}
