package network

import (
	"bytes"
	"encoding/json"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// collectionName is Fabric's rule (core/chaincode/lifecycle/scc.go).
var collectionName = regexp.MustCompile(`^[A-Za-z0-9-]+([A-Za-z0-9_-]+)*$`)

const (
	implicitPrefix      = "_implicit_org_"
	defaultMaxPeerCount = 1 // peer CLI's
	maxBlockToLive      = 1 << 53
)

// collections reads the private data collections of a chaincode on a channel: those at the
// channel, or else those at the chaincode, which count for all its channels.
func (l *loader) collections(cc *Chaincode, o, c *node, ch *Channel, who string) []*Collection {
	from := c
	if c.get("collections") == nil {
		from, who = o, "chaincode "+strconv.Quote(cc.Name)
	}
	items := l.collectionItems(from, who)
	var all []*Collection
	seen := map[string]*node{}
	for _, item := range items {
		name, at, ok := l.nameOf(item, "name", "%s: a collection has no name", who)
		switch {
		case !ok:
			continue
		case strings.HasPrefix(name, implicitPrefix):
			l.errorf(at, "%s: collection %s: Fabric makes %sMSPID for every organisation by itself; take it out", who, show(name), implicitPrefix)
		case !collectionName.MatchString(name):
			l.errorf(at, "%s: collection name %s: Fabric takes letters, digits, dashes and underscores, and no underscore first", who, show(name))
		case seen[name] != nil:
			l.errorf(at, "%s: collection %q is here for the second time; the first is at %s", who, name, seen[name].where())
			continue
		}
		seen[name] = at
		all = append(all, l.collection(name, item, at, ch, "chaincode "+strconv.Quote(cc.Name)+": collection "+strconv.Quote(name)))
	}
	return all
}

// collectionItems reads a list of collections, or the text of such a list.
func (l *loader) collectionItems(o *node, who string) []*node {
	n := o.get("collections")
	if n == nil || n.kind != text {
		return l.objects(o, "collections")
	}
	switch start := strings.TrimSpace(n.text); {
	case start == "":
		l.errorf(n, "%s: collections is empty; list them, name a file that does, or leave the key out", who)
		return nil
	case !isList(start) && !oneLine(n.text):
		l.errorf(n, "%s: collections %s is neither a list nor the name of a file", who, show(n.text))
		return nil
	case !isList(start):
		l.errorf(n, "%s: collections %s is a file, and it has not been read: only pivt reads files; with helm, add --set-file %s=%s, or write the list here",
			who, show(n.text), n.path(), n.text)
		return nil
	}
	items, wrong := collectionList("the text", []byte(n.text))
	if len(wrong) > 0 {
		l.errorf(n, "%s: collections: %s:%d:%d: %s", who, wrong[0].File, wrong[0].Line, wrong[0].Column, wrong[0].Message)
		return nil
	}
	// Everything in the text is reported at the place of the text.
	items.moveTo(n)
	holder := &node{src: n.src, kind: object, parent: n.parent}
	holder.set(&node{src: n.src, line: n.line, column: n.column, kind: text, text: "collections"}, items)
	items.parent, items.name = n.parent, n.name
	l.keys(items, "network.chaincodes[].collections")
	return l.objects(holder, "collections")
}

// isList tells the text of a list, in JSON or YAML, from the name of a file.
func isList(text string) bool {
	return strings.HasPrefix(text, "[") || strings.HasPrefix(text, "- ") || strings.HasPrefix(text, "#") || strings.HasPrefix(text, "---")
}

// oneLine tells what may be a name from text over several lines.
func oneLine(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return unicode.IsControl(c) || c == '\u2028' || c == '\u2029' })
}

// collectionList parses JSON, as Fabric's tools have it, or YAML.
func collectionList(name string, data []byte) (*node, Problems) {
	// JSON is YAML but for tabs, with which many people indent it.
	if json.Valid(bytes.TrimPrefix(data, []byte(byteOrderMark))) && bytes.ContainsRune(data, '\t') {
		data = withoutTabs(data)
	}
	src := &source{name: name, data: data}
	r := newReport([]*source{src})
	n := src.document(r)
	if n != nil && n.kind != list {
		r.add(src.place(n.line, n.column, "the file holds %s; it must be a list of collections, each starting with \"- \" or \"{\"", n.kind))
	}
	return n, r.sorted()
}

// withoutTabs replaces the tabs between JSON's tokens, so that all places stay. Within
// strings JSON has none.
func withoutTabs(data []byte) []byte { return bytes.ReplaceAll(data, []byte("\t"), []byte(" ")) }

// moveTo gives a tree the place of another node.
func (n *node) moveTo(at *node) {
	n.src, n.line, n.column = at.src, at.line, at.column
	for _, f := range n.fields {
		f.key.moveTo(at)
		f.value.moveTo(at)
	}
	for _, item := range n.items {
		item.moveTo(at)
	}
}

func (l *loader) collection(name string, o, at *node, ch *Channel, who string) *Collection {
	c := &Collection{
		Name:              name,
		RequiredPeerCount: int32(l.integer(o, "requiredPeerCount", 0, 0, math.MaxInt32)), //nolint:gosec // within the limits
		BlockToLive:       uint64(l.integer(o, "blockToLive", 0, 0, maxBlockToLive)),     //nolint:gosec // within the limits
		MemberOnlyRead:    l.flag(o, "memberOnlyRead"),
		MemberOnlyWrite:   l.flag(o, "memberOnlyWrite"),
	}
	c.MaxPeerCount = int32(l.integer(o, "maxPeerCount", defaultMaxPeerCount, 0, math.MaxInt32)) //nolint:gosec // within the limits
	if c.RequiredPeerCount > c.MaxPeerCount {
		if n := o.get("maxPeerCount"); n != nil {
			l.errorf(n, "%s: maxPeerCount is %d, less than requiredPeerCount, which is %d", who, c.MaxPeerCount, c.RequiredPeerCount)
		} else {
			l.errorf(o.get("requiredPeerCount"), "%s: requiredPeerCount is %d, more than maxPeerCount, which is %d unless you set it", who, c.RequiredPeerCount, c.MaxPeerCount)
		}
	}
	switch p := o.get("policy"); {
	case p == nil && o.find("policy") < 0:
		l.errorf(at, "%s has no policy; say who gets the data, as \"OR('Org1MSP.member','Org2MSP.member')\"", who)
	case p == nil: // reported
	default:
		if c.Policy = l.str(o, "policy"); p.kind == text {
			l.membership(p, c, ch, who)
		}
	}
	c.EndorsementPolicy = l.ownPolicy(o, ch, who)
	return c
}

// membership checks who gets a collection's data.
func (l *loader) membership(n *node, c *Collection, ch *Channel, who string) {
	if strings.HasPrefix(c.Policy, "/") {
		l.errorf(n, "%s: policy %s: who gets the data must be spelled out, as OR('Org1MSP.member'); a policy of the channel can only be its endorsementPolicy", who, show(c.Policy))
		return
	}
	found, err := parsePolicy(c.Policy)
	if err != nil {
		l.errorf(n, "%s: policy %s: %v", who, show(c.Policy), err)
		return
	}
	if !found.oneOf {
		l.errorf(n, "%s: policy %s: Fabric takes only OR here, because it lists who gets the data and not who signs", who, show(c.Policy))
		return
	}
	peers, outside := 0, false
	counted := map[*Org]bool{}
	for _, p := range found.principals {
		org := l.mspOrg(p.msp)
		switch {
		case org == nil:
			outside = true
			continue
		case org.Kind == Peer && !inOrgs(ch.Orgs, org), org.Kind == Orderer && !inOrgs(ch.OrdererOrgs, org):
			l.errorf(n, "%s: policy names %s, whose organisation is not in channel %q; add it to the channel's orgs, or take it out here", who, p.msp, ch.Name)
			return
		}
		if !counted[org] && org.Kind == Peer {
			peers += len(org.Nodes)
		}
		counted[org] = true
	}
	l.principals(n, "policy", found, nil, who)
	if needed := int(c.RequiredPeerCount); needed > 0 && needed > peers-1 && !outside {
		l.warnf(n, "%s: requiredPeerCount is %d, and besides the endorsing peer its organisations have only %d on channel %q, so no transaction would be endorsed",
			who, needed, max(peers-1, 0), ch.Name)
	}
}

// ownPolicy reads a collection's endorsement policy, which is one of two kinds.
func (l *loader) ownPolicy(o *node, ch *Channel, who string) string {
	e := l.object(o, own)
	if e == nil {
		return ""
	}
	signature, reference := e.get("signaturePolicy"), e.get("channelConfigPolicy")
	switch {
	case signature != nil && reference != nil:
		l.errorf(reference, "%s: endorsementPolicy has both signaturePolicy and channelConfigPolicy; keep one", who)
	case signature != nil:
		s := l.str(e, "signaturePolicy")
		if signature.kind == text {
			if strings.HasPrefix(s, "/") {
				l.errorf(signature, "%s: signaturePolicy %s is the name of a policy of the channel; write it as channelConfigPolicy", who, show(s))
				return ""
			}
			l.policy(signature, "signaturePolicy", s, ch, who)
		}
		return s
	case reference != nil:
		s := l.str(e, "channelConfigPolicy")
		if reference.kind == text && !strings.HasPrefix(s, "/") {
			l.errorf(reference, "%s: channelConfigPolicy %s is not the full name of a policy, as /Channel/Application/Endorsement", who, show(s))
		}
		return s
	case !e.tried("signaturePolicy", "channelConfigPolicy"):
		l.errorf(e, "%s: endorsementPolicy is empty; add signaturePolicy or channelConfigPolicy, or take it out", who)
	}
	return ""
}
