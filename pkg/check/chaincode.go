package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/few"
	"pivt.io/pivt/pkg/kube"
	"pivt.io/pivt/pkg/network"
)

// committed asks the first peer of the channel that answers.
func (a *Access) committed(ctx context.Context, channel, name string, views []peerView) (*fabric.Committed, error) {
	err := errors.New("no peer of the channel answers")
	for _, v := range views {
		if v.self == nil {
			continue
		}
		var d *fabric.Committed
		if d, err = a.askCommitted(ctx, v.node, channel, name); err == nil || errors.Is(err, fabric.ErrNotDefined) {
			return d, err
		}
	}
	return nil, err
}

func (a *Access) askCommitted(ctx context.Context, n *network.Node, channel, name string) (*fabric.Committed, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	p, err := a.Peer(n, AsClient)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return p.Committed(ctx, channel, name)
}

func (a *Access) chaincode(ctx context.Context, cc *network.Chaincode, on *network.ChaincodeChannel, views []peerView, stuck []kube.StuckPod) Chaincode {
	out := Chaincode{Name: cc.Name, Channel: on.Channel.Name, Approved: []string{}, Installed: []string{}}
	d, err := a.committed(ctx, on.Channel.Name, cc.Name, views)
	switch {
	case errors.Is(err, fabric.ErrNotDefined):
		out.Reason = "not committed"
		return out
	case err != nil:
		out.Reason = err.Error()
		return out
	}
	out.Version, out.Sequence = d.Version, d.Sequence
	for _, o := range on.Channel.Orgs {
		if d.Approvals[o.MSPID] {
			out.Approved = append(out.Approved, o.Name)
		}
	}
	// What gossip calls the version of a chaincode is the sequence of its definition.
	sequence := strconv.FormatInt(d.Sequence, 10)
	var missing []string
	for _, v := range views {
		switch {
		case !slices.Contains(cc.Orgs, v.node.Org):
		case v.self != nil && v.self.Chaincodes[cc.Name] == sequence:
			out.Installed = append(out.Installed, v.node.Name())
		default:
			missing = append(missing, v.node.Name())
		}
	}
	switch {
	case d.Version != cc.Version:
		out.Reason = fmt.Sprintf("the files ask for version %s", cc.Version)
	case len(missing) > 0:
		out.Reason = "cannot run yet on " + few.Names(missing, 3)
	default:
		out.Reason = stuckReason(cc, stuck)
	}
	out.Ready = out.Reason == ""
	return out
}

// chaincodePods selects what peers' launchers make to run chaincodes. Peers tell nothing of
// them: to them a chaincode is ready to run as soon as its definition is.
const chaincodePods = "app.kubernetes.io/component=chaincode"

// stuckReason is why a peer's pod of the chaincode does not run, "" if all do.
func stuckReason(cc *network.Chaincode, stuck []kube.StuckPod) string {
	for _, p := range stuck {
		// A label value cannot hold every package label, so compare what both can hold.
		if network.Label(p.Labels["pivt.io/chaincode"]) == network.Label(cc.Label()) {
			return fmt.Sprintf("pod/%s of %s: %s", p.Name, p.Labels["pivt.io/node"], p.Reason)
		}
	}
	return ""
}
