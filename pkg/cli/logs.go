package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/kube"
	"pivt.io/pivt/pkg/network"
)

// Labels of chaincode pods: those that peers' launchers make, and servers'.
const (
	chaincodeLogs  = "app.kubernetes.io/component in (chaincode, chaincode-server)"
	labelNode      = "pivt.io/node"
	labelOrg       = "pivt.io/org"
	labelChaincode = "pivt.io/chaincode"
	labelComponent = "app.kubernetes.io/component"
	annotationID   = "pivt.io/chaincode-id" // the package id in full
	logContainer   = "chaincode"
)

type logsOptions struct {
	follow bool
	org    string
	tail   int64
}

func newChaincodeLogs(s *State, g *globals) *cobra.Command {
	var o logsOptions
	c := &cobra.Command{
		Use:   "logs NAME",
		Short: "Print what a chaincode's pods write",
		Long: `Print the output of all pods of a chaincode, of every version that still runs, each line with the peer it
belongs to. Of a chaincode that runs as a server, its servers' output is printed.

A pod's log goes with the pod: of a chaincode that ended, the peer's own log has the last lines.

Exit status: 0 done; 1 failed; 2 wrong usage or files; 3 no pod of the chaincode runs.`,
		Example: `  # everything that is there
  pivt chaincode logs basic

  # what comes, from all peers of one organisation, also after the peer relaunched the chaincode
  pivt chaincode logs basic --org Org1 --tail 0 -f`,
		Args: func(c *cobra.Command, a []string) error {
			if err := cobra.ExactArgs(1)(c, a); err != nil {
				if o.follow {
					err = fmt.Errorf("%w; -f is --follow here, files are named with --file", err)
				}
				return usageError(err)
			}
			return nil
		},
		ValidArgsFunction: completeNames(s, g, chaincodeNames),
		RunE: func(c *cobra.Command, a []string) error {
			in, err := g.load(s)
			if err != nil {
				return err
			}
			k, err := g.kube()
			if err != nil {
				return err
			}
			return o.run(c.Context(), s, k, in.network, a[0])
		},
	}
	f := c.Flags()
	// -f is what everybody types to follow a log, so here it is not --file.
	f.StringArrayVar(&g.files, "file", nil, "file of the network; may be repeated, later ones win (default crypto-config.yaml and network.yaml)")
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with what comes, over relaunches, until interrupted")
	f.StringVar(&o.org, "org", "", "only of this organisation's peers")
	f.Int64Var(&o.tail, "tail", -1, "so many lines from the end of each log; -1 for all")
	completeFlag(c, s, g, "org", peerOrgNames)
	return c
}

func (o *logsOptions) run(ctx context.Context, s *State, k *kube.Client, n *network.Network, name string) error {
	cc := n.Chaincode(name)
	if cc == nil {
		return usageErrorf("chaincode %q is not in the files; known: %s", name, strings.Join(chaincodeNames(n), ", "))
	}
	if org := n.Org(o.org); o.org != "" && (org == nil || org.Kind != network.Peer) {
		return usageErrorf("peer org %q is not in the files; known: %s", o.org, strings.Join(peerOrgNames(n), ", "))
	}
	var broken error
	pods, err := k.Tail(ctx, kube.TailOptions{
		Selector: chaincodeLogs, Container: logContainer, Follow: o.follow, Lines: o.tail,
		Choose: func(p *corev1.Pod) bool { return belongs(n, cc, p) && (o.org == "" || ofOrg(n, o.org, p)) },
	}, func(p *corev1.Pod, text string) {
		if _, err := fmt.Fprintf(s.Stdout, "[%s] %s\n", logPrefix(cc, p), text); err != nil {
			broken = err
		}
	})
	switch {
	case broken != nil && !errors.Is(broken, io.ErrClosedPipe):
		return broken
	case o.follow && errors.Is(ctx.Err(), context.Canceled):
		return nil // the usual end
	case err != nil:
		return err
	case pods == 0:
		return exit.WithHint(exit.With(fmt.Errorf("no pod of chaincode %q runs", name), exit.NotReady),
			`peers start it with its first call; "pivt chaincode list" shows whether it is committed and installed`)
	}
	return nil
}

// belongs reports whether a pod runs the chaincode, in whatever version.
func belongs(n *network.Network, cc *network.Chaincode, p *corev1.Pod) bool {
	if p.Labels[labelComponent] == "chaincode-server" {
		return p.Labels[labelChaincode] == network.Shorten(network.Label(cc.Name), 63)
	}
	// Names and versions may both hold the sign between them, so of the names that fit the
	// longest is meant.
	label, longest := packageLabel(p), ""
	for _, one := range n.Chaincodes {
		if strings.HasPrefix(label, one.Name+"_") && len(one.Name) > len(longest) {
			longest = one.Name
		}
	}
	return longest == cc.Name
}

// packageLabel is the label of the package that a launched pod runs.
func packageLabel(p *corev1.Pod) string {
	if id := p.Annotations[annotationID]; id != "" {
		label, _, _ := strings.Cut(id, ":")
		return label
	}
	return p.Labels[labelChaincode]
}

func ofOrg(n *network.Network, org string, p *corev1.Pod) bool {
	for _, node := range n.Org(org).Nodes {
		if p.Labels[labelNode] == node.Name() {
			return true
		}
	}
	return p.Labels[labelNode] == "" && p.Labels[labelOrg] == n.Org(org).Label()
}

// logPrefix is the peer, or a server's pod, and the version if it is not the files'.
func logPrefix(cc *network.Chaincode, p *corev1.Pod) string {
	node := p.Labels[labelNode]
	if node == "" {
		return p.Name
	}
	if label := packageLabel(p); label != cc.Label() {
		return node + " " + label
	}
	return node
}
