package network

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// channelName is Fabric's rule (common/configtx/validator.go); CouchDB is why it is strict.
var channelName = regexp.MustCompile(`^[a-z][a-z0-9.-]*$`)

const (
	maxChannelName = 249
	// minBFT is the smallest set of orderers that survives one traitor.
	minBFT = 4
)

// The block cutting settings when the files name none.
const (
	defaultTimeout   = "500ms"
	defaultMessages  = 500
	defaultAbsolute  = 10 << 20
	defaultPreferred = 2 << 20
	maxAbsolute      = 100 << 20 // no node takes a larger message
)

func (l *loader) channels() {
	section := l.object(l.root, "network")
	consensus := l.consensus(section, Raft)
	batch := l.batch(section, Batch{defaultTimeout, defaultMessages, defaultAbsolute, defaultPreferred})
	seen := map[string]*node{}
	for _, o := range l.objects(section, "channels") {
		name, at, ok := l.nameOf(o, "name", "a channel has no name")
		switch {
		case !ok:
			continue
		case !channelName.MatchString(name) || len(name) > maxChannelName:
			l.errorf(at, "channel name %s: Fabric takes lower-case letters, digits, dots and dashes, first a letter, at most %d%s",
				show(name), maxChannelName, lowered(name))
		case seen[name] != nil:
			l.errorf(at, "channel %q is here for the second time; the first is at %s", name, seen[name].where())
			continue
		}
		seen[name] = at
		ch := &Channel{Name: name}
		l.places[ch] = at
		l.net.Channels = append(l.net.Channels, ch)
		ch.Orgs = l.channelOrgs(ch, o)
		ch.OrdererOrgs = l.channelOrderers(ch, o)
		ch.Consensus = l.consensus(o, consensus)
		ch.Batch = l.batch(o, batch)
		l.checkConsensus(ch, o, section)
	}
}

// lowered offers the name that Fabric would take.
func lowered(name string) string {
	if s := strings.ToLower(name); s != name && channelName.MatchString(s) {
		return "; write " + show(s)
	}
	return ""
}

// where is a node's place in words, for "the first is at …".
func (n *node) where() string {
	if n.line == 0 {
		return n.src.name
	}
	return n.src.name + ":" + strconv.Itoa(n.line)
}

// channelOrgs reads a channel's peer organisations.
func (l *loader) channelOrgs(ch *Channel, o *node) []*Org {
	var orgs []*Org
	external := l.names(o, "externalOrgs")
	for _, item := range l.names(o, "orgs") {
		if org := l.peerOrg(item, "channel "+strconv.Quote(ch.Name)); org != nil {
			orgs = append(orgs, org)
		}
	}
	if len(external) > 0 {
		l.warnf(o.get("externalOrgs"), "channel %q: externalOrgs has no effect: this version does not join organisations outside the cluster", ch.Name)
	}
	if n := o.get("orgs"); n == nil && o.find("orgs") < 0 || n != nil && n.kind == list && len(n.items) == 0 {
		if len(external) == 0 {
			l.errorf(l.places[ch], "channel %q has no orgs; list the organisations whose peers join it", ch.Name)
		} else {
			l.warnf(l.places[ch], "channel %q has no orgs of this cluster", ch.Name)
		}
	}
	return orgs
}

// peerOrg finds the organisation that a list names, or reports what is wrong with it.
func (l *loader) peerOrg(item *node, who string) *Org {
	name := item.text
	var known []string
	for _, org := range l.net.PeerOrgs {
		if org.Name == name {
			return org
		}
		known = append(known, org.Name)
	}
	for _, org := range l.net.OrdererOrgs {
		if org.Name == name {
			l.errorf(item, "%s: org %q is one of OrdererOrgs; only PeerOrgs have peers", who, name)
			return nil
		}
	}
	if l.named[name] {
		return nil // it was refused, and said so
	}
	if l.external[name] {
		l.errorf(item, "%s: org %q is outside the cluster; list it under externalOrgs of the channel", who, name)
		return nil
	}
	if l.root.get("PeerOrgs") == nil && len(l.external) == 0 {
		return nil // there are none at all, which was said
	}
	l.errorf(item, "%s: org %s is not in %s%s", who, show(name), l.cryptoFile, hint(name, known, "orgs"))
	return nil
}

// channelOrderers reads which orderer organisations run a channel: all, unless it says.
func (l *loader) channelOrderers(ch *Channel, o *node) []*Org {
	if o.get("ordererOrgs") == nil {
		return l.net.OrdererOrgs
	}
	var orgs []*Org
	items := l.names(o, "ordererOrgs")
next:
	for _, item := range items {
		var known []string
		for _, org := range l.net.OrdererOrgs {
			if org.Name == item.text {
				orgs = append(orgs, org)
				continue next
			}
			known = append(known, org.Name)
		}
		if l.named[item.text] && !inOrgs(l.net.PeerOrgs, l.net.Org(item.text)) {
			continue
		}
		l.errorf(item, "channel %q: orderer org %s is not in %s%s", ch.Name, show(item.text), l.cryptoFile, hint(item.text, known, "orderer orgs"))
	}
	if n := o.get("ordererOrgs"); n.kind == list && len(n.items) == 0 {
		l.errorf(n, "channel %q: ordererOrgs is empty; name some, or leave the key out for all", ch.Name)
	}
	return orgs
}

func (l *loader) consensus(o *node, absent Consensus) Consensus {
	s := l.str(o, "consensus")
	n := o.get("consensus")
	switch Consensus(s) {
	case "":
		if n != nil && n.kind == text {
			l.errorf(n, "consensus is empty; write etcdraft or BFT")
		}
		return absent
	case Raft, BFT:
		return Consensus(s)
	}
	switch strings.ToLower(s) {
	case "solo", "kafka":
		l.errorf(n, "consensus %s is no longer in Fabric; write etcdraft or BFT", show(s))
	case "raft":
		l.errorf(n, "consensus %s: write it as etcdraft", show(s))
	default:
		l.errorf(n, "consensus %s is unknown%s", show(s), hint(s, []string{string(Raft), string(BFT)}, "values"))
	}
	return absent
}

// checkConsensus looks at a channel's consensus together with its orderers.
func (l *loader) checkConsensus(ch *Channel, o, section *node) {
	if ch.Consensus != BFT {
		return
	}
	at := l.places[ch]
	for _, n := range []*node{section.get("consensus"), o.get("consensus")} {
		if n != nil {
			at = n
		}
	}
	if strings.HasPrefix(l.net.Version, "2.") {
		l.errorf(at, "channel %q: BFT needs Fabric 3, and hyperledgerVersion is %s", ch.Name, l.net.Version)
	}
	if n := len(ch.Orderers()); n < minBFT && len(ch.OrdererOrgs) > 0 {
		l.errorf(at, "channel %q: BFT needs at least %d orderers to survive the loss of one, and there are %d; add Specs to OrdererOrgs, or use etcdraft", ch.Name, minBFT, n)
	}
}

// batch reads block cutting settings; what is absent is inherited.
func (l *loader) batch(o *node, b Batch) Batch {
	o = l.object(o, "batch")
	if o == nil {
		return b
	}
	if n := o.get("timeout"); n != nil {
		if d, err := time.ParseDuration(n.text); n.kind != text || err != nil || d <= 0 {
			l.errorf(n, "timeout must be a duration like 500ms or 2s, not %s", describe(n))
		} else {
			b.Timeout = n.text
		}
	}
	b.MaxMessageCount = uint32(l.integer(o, "maxMessageCount", int(b.MaxMessageCount), 1, math.MaxInt32))
	b.AbsoluteMaxBytes = l.size(o, "absoluteMaxBytes", b.AbsoluteMaxBytes)
	if o.get("preferredMaxBytes") == nil {
		b.PreferredMaxBytes = min(b.PreferredMaxBytes, b.AbsoluteMaxBytes)
	}
	b.PreferredMaxBytes = l.size(o, "preferredMaxBytes", b.PreferredMaxBytes)
	if b.PreferredMaxBytes > b.AbsoluteMaxBytes {
		l.errorf(o.get("preferredMaxBytes"), "preferredMaxBytes is %d, more than absoluteMaxBytes, which is %d", b.PreferredMaxBytes, b.AbsoluteMaxBytes)
	}
	return b
}

var sizeText = regexp.MustCompile(`(?i)^([0-9]{1,10}) *(k|m)?i?b?$`)

// size reads bytes: a number, or text like configtx.yaml's "10 MB", which Fabric takes for
// powers of two.
func (l *loader) size(o *node, key string, absent uint32) uint32 {
	n := o.get(key)
	if n == nil {
		return absent
	}
	if n.kind != text {
		return uint32(l.integer(o, key, int(absent), 1, maxAbsolute))
	}
	part := sizeText.FindStringSubmatch(n.text)
	if part == nil {
		l.errorf(n, "%s %s is not a size; write bytes, or text like 10 MB", key, show(n.text))
		return absent
	}
	bytes, _ := strconv.ParseUint(part[1], 10, 64)
	switch strings.ToLower(part[2]) {
	case "k":
		bytes <<= 10
	case "m":
		bytes <<= 20
	}
	if bytes < 1 || bytes > maxAbsolute {
		l.errorf(n, "%s is %s; it must be from 1 byte to %d MB", key, n.text, maxAbsolute>>20)
		return absent
	}
	return uint32(bytes)
}
