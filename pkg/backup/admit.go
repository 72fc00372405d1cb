package backup

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/few"
	"pivt.io/pivt/pkg/network"
)

// Target state of a restore.
type Present struct {
	Identity Identity
	// Heights are those of the nodes that run, by node and channel. A node that does not run
	// is not in it; its volume is looked at when it is its turn.
	Heights map[string]map[string]uint64
}

// Admit refuses a restore that would do harm, for all its reasons at once, unless each is
// accepted. The nodes are those selected.
func Admit(m Manifest, verified *time.Time, nodes []*network.Node, present Present, accept Accept) error {
	var reasons []string
	var ask []Risk
	refuse := func(r Risk, format string, args ...any) {
		if accept.Has(r) {
			return
		}
		reasons = append(reasons, fmt.Sprintf(format, args...))
		if !slices.Contains(ask, r) {
			ask = append(ask, r)
		}
	}
	if verified == nil {
		refuse(Unverified, "it has not been verified")
	}
	for _, d := range m.Identity.Differences(present.Identity) {
		refuse(OtherNetwork, "the target is not the network that was saved: %s", d)
	}
	for _, kind := range []network.Kind{network.Orderer, network.Peer} {
		var missing []string
		for _, n := range nodes {
			if _, ok := m.Node(n.Name()); !ok && n.Org.Kind == kind {
				missing = append(missing, n.Name())
			}
		}
		if len(missing) > 0 {
			refuse(MissingParts, "it has no copy of %s", few.Names(missing, shown))
		}
	}
	for _, n := range nodes {
		saved, ok := m.Node(n.Name())
		if !ok {
			continue
		}
		heights := present.Heights[n.Name()]
		for _, channel := range slices.Sorted(maps.Keys(heights)) {
			if c, _ := saved.Channel(channel); heights[channel] > c.Height {
				refuse(NewerData, "%s runs with newer data: channel %s has %d blocks, the backup %d", n.Name(), channel, heights[channel], c.Height)
			}
		}
	}
	for _, ahead := range leftAhead(m, nodes, present) {
		refuse(NewerData, "%s", ahead)
	}
	if len(reasons) == 0 {
		return nil
	}
	names := make([]string, len(ask))
	for i, r := range ask {
		names[i] = string(r)
	}
	err := fmt.Errorf("backup %s: %s; nothing was changed", m.Key, strings.Join(reasons, "; "))
	return exit.With(exit.WithHint(err, "if that is what you want: --accept "+strings.Join(names, ",")), exit.NotReady)
}

// leftAhead finds peers that keep their data and would be ahead of every orderer: a channel
// would go on with other blocks than theirs.
func leftAhead(m Manifest, nodes []*network.Node, present Present) []string {
	restored := map[string]bool{}
	orderers := false
	for _, n := range nodes {
		if _, ok := m.Node(n.Name()); ok {
			restored[n.Name()] = true
			orderers = orderers || n.Org.Kind == network.Orderer
		}
	}
	if !orderers {
		return nil
	}
	top := map[string]uint64{} // of orderers, once restored
	for channel := range m.Resumes() {
		top[channel] = m.goesOn(channel, restored)
	}
	for node, heights := range present.Heights {
		if restored[node] || !strings.HasPrefix(node, "hlf-orderer--") {
			continue
		}
		for channel, h := range heights {
			top[channel] = max(top[channel], h)
		}
	}
	var all []string
	for _, node := range slices.Sorted(maps.Keys(present.Heights)) {
		if restored[node] || strings.HasPrefix(node, "hlf-orderer--") {
			continue
		}
		for _, channel := range slices.Sorted(maps.Keys(present.Heights[node])) {
			if h := present.Heights[node][channel]; h > top[channel] {
				all = append(all, fmt.Sprintf("%s would stay ahead of all orderers: channel %s has %d blocks there, %d with them", node, channel, h, top[channel]))
			}
		}
	}
	return all
}

// goesOn is the height that the saved orderers of a channel have among them when some nodes
// are restored. If all of them are, it is that of one copy, which is not the highest (see
// Replacements); an orderer that stays has at least what it was saved with.
func (m Manifest) goesOn(channel string, restored map[string]bool) uint64 {
	for _, n := range m.Nodes {
		if _, ok := n.Channel(channel); ok && n.Kind == string(network.Orderer) && !restored[n.Name] {
			return m.top(channel, network.Orderer).Height
		}
	}
	c, _ := m.leader(channel).Channel(channel)
	return c.Height
}

// Check refuses to seal what is not a consistent backup: a node is missing, or the peers of a
// channel are ahead of all of its orderers.
func (m Manifest) Check(n *network.Network) error {
	var missing []string
	for _, node := range n.Nodes() {
		wanted := m.Parts.Peers
		if node.Org.Kind == network.Orderer {
			wanted = m.Parts.Orderers
		}
		if _, ok := m.Node(node.Name()); wanted && !ok {
			missing = append(missing, node.Name())
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("backup %s: %s not saved", m.Key, are(missing))
	}
	if !m.Parts.Peers || !m.Parts.Orderers {
		return nil
	}
	for _, ch := range n.Channels {
		peer, orderer := m.top(ch.Name, network.Peer), m.top(ch.Name, network.Orderer)
		if peer.Height > orderer.Height {
			return fmt.Errorf("backup %s: channel %q: a peer was saved with %d blocks and no orderer with more than %d", m.Key, ch.Name, peer.Height, orderer.Height)
		}
	}
	return nil
}

// top is the highest entry that nodes of a kind have for a channel.
func (m Manifest) top(channel string, kind network.Kind) Channel {
	var top Channel
	for _, n := range m.Nodes {
		if c, ok := n.Channel(channel); ok && n.Kind == string(kind) {
			top = slices.MaxFunc([]Channel{top, c}, func(a, b Channel) int { return cmp.Compare(a.Height, b.Height) })
		}
	}
	return top
}

func are(names []string) string {
	if len(names) == 1 {
		return names[0] + " is"
	}
	return few.Names(names, shown) + " are"
}

// shown is how many nodes a reason names.
const shown = 3
