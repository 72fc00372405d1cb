package network

import (
	"regexp"
	"strconv"
)

var (
	// Fabric's rules (core/chaincode/lifecycle/scc.go).
	chaincodeName    = regexp.MustCompile(`^[a-zA-Z0-9]+([-_][a-zA-Z0-9]+)*$`)
	chaincodeVersion = regexp.MustCompile(`^[A-Za-z0-9_.+-]+$`)
	systemChaincodes = []string{"cscc", "escc", "lscc", "qscc", "vscc"}

	languages = []string{"golang", "node", "java"}
)

const (
	// maxChaincodeName is what fits into the file that a peer keeps of the package, which is
	// called label.digest.tar.gz and may have 255 bytes, with room for the version.
	maxChaincodeName    = 100
	maxChaincodeVersion = 64
	defaultCCVersion    = "1.0"
)

func (l *loader) chaincodes() {
	defaults := l.object(l.root, "chaincode")
	version := defaultCCVersion
	if n := defaults.get("version"); n != nil {
		if v, ok := l.textOf(n, "version"); ok && l.checkVersion(n, "chaincode.version", v) {
			version = v
		}
	}
	language := l.language(defaults, "chaincode.language")
	seen := map[string]*node{}
	for _, o := range l.objects(l.object(l.root, "network"), "chaincodes") {
		name, at, ok := l.nameOf(o, "name", "a chaincode has no name")
		switch {
		case !ok:
			continue
		case !chaincodeName.MatchString(name) || len(name) > maxChaincodeName:
			l.errorf(at, "chaincode name %s: Fabric takes letters and digits, with single dashes or underscores between them, at most %d", show(name), maxChaincodeName)
		case contains(systemChaincodes, name):
			l.errorf(at, "chaincode name %q is that of a system chaincode of Fabric; choose another", name)
		case seen[name] != nil:
			l.errorf(at, "chaincode %q is here for the second time; the first is at %s", name, seen[name].where())
			continue
		}
		seen[name] = at
		cc := &Chaincode{Name: name, Version: version, Language: language}
		l.places[cc] = at
		l.net.Chaincodes = append(l.net.Chaincodes, cc)
		l.chaincode(cc, o)
	}
}

func (l *loader) chaincode(cc *Chaincode, o *node) {
	who := "chaincode " + strconv.Quote(cc.Name)
	if n := o.get("version"); n != nil {
		if v, ok := l.textOf(n, "version"); ok && l.checkVersion(n, who, v) {
			cc.Version = v
		}
	}
	if o.get("language") != nil {
		cc.Language = l.language(o, who)
	}
	l.code(cc, o, who)
	l.chaincodeChannels(cc, o, who)
	cc.Init = l.call(o, "init", who)
	for _, item := range l.names(o, "orgs") {
		if org := l.peerOrg(item, who); org != nil {
			cc.Orgs = append(cc.Orgs, org)
		}
	}
	if o.get("orgs") == nil {
		cc.Orgs = union(cc.Channels)
	}
	cc.Smoke = l.call(o, "smoke", who)
}

func (l *loader) checkVersion(n *node, who, v string) bool {
	if len(v) > maxChaincodeVersion || !chaincodeVersion.MatchString(v) {
		l.errorf(n, "%s: version %s: Fabric takes letters, digits and _ . + -, at most %d", who, show(v), maxChaincodeVersion)
		return false
	}
	return true
}

func (l *loader) language(o *node, who string) string {
	s := l.str(o, "language")
	n := o.get("language")
	switch {
	case n == nil, n.kind != text, contains(languages, s):
		return s
	case s == "go":
		l.errorf(o.get("language"), "%s: language \"go\" is written golang, as in Fabric", who)
	default:
		l.errorf(o.get("language"), "%s: language %s is unknown%s", who, show(s), hint(s, languages, "languages"))
	}
	return ""
}

func (l *loader) chaincodeChannels(cc *Chaincode, o *node, who string) {
	seen := map[string]bool{}
	for _, c := range l.objects(o, "channels") {
		name, at, ok := l.nameOf(c, "name", "%s: a channel has no name", who)
		switch {
		case !ok:
			continue
		case seen[name]:
			l.errorf(at, "%s has channel %q twice", who, name)
			continue
		}
		seen[name] = true
		ch := l.net.Channel(name)
		if ch == nil {
			var known []string
			for _, ch := range l.net.Channels {
				known = append(known, ch.Name)
			}
			l.errorf(at, "%s: channel %s is not in network.channels%s", who, show(name), hint(name, known, "channels"))
			continue
		}
		def := &ChaincodeChannel{Channel: ch, Orgs: ch.Orgs}
		cc.Channels = append(cc.Channels, def)
		inside := who + " on channel " + strconv.Quote(name)
		if c.get("orgs") != nil {
			def.Orgs = l.members(ch, c, inside)
		}
		if n := c.get("policy"); n != nil {
			def.Policy = l.str(c, "policy")
			if n.kind == text {
				l.policy(n, "policy", def.Policy, ch, inside)
			}
		}
		def.Collections = l.collections(cc, o, c, ch, inside)
	}
	if n := o.get("channels"); n == nil && o.find("channels") < 0 || n != nil && n.kind == list && len(n.items) == 0 {
		l.errorf(l.places[cc], "%s has no channels; list where it is to be defined", who)
	}
}

// members reads the organisations that approve a chaincode on a channel.
func (l *loader) members(ch *Channel, c *node, who string) []*Org {
	var orgs []*Org
	for _, item := range l.names(c, "orgs") {
		org := l.peerOrg(item, who)
		if org == nil {
			continue
		}
		if !inOrgs(ch.Orgs, org) {
			l.errorf(item, "%s: org %q is not in the channel; add it to the channel's orgs, or take it out here", who, org.Name)
			continue
		}
		orgs = append(orgs, org)
	}
	if n := c.get("orgs"); n.kind == list && len(n.items) == 0 {
		l.errorf(n, "%s: orgs is empty; name some, or leave the key out for all of the channel", who)
	}
	return orgs
}

func inOrgs(orgs []*Org, org *Org) bool {
	for _, o := range orgs {
		if o == org {
			return true
		}
	}
	return false
}

// union lists the organisations of all channels once, in the order of the files.
func union(channels []*ChaincodeChannel) []*Org {
	var orgs []*Org
	for _, c := range channels {
		for _, o := range c.Orgs {
			if !inOrgs(orgs, o) {
				orgs = append(orgs, o)
			}
		}
	}
	return orgs
}

// call reads a function of the chaincode with its arguments: that proves it alive, or that
// sets it up.
func (l *loader) call(o *node, key, who string) *Call {
	s := l.object(o, key)
	if s == nil {
		return nil
	}
	call := &Call{Invoke: key == "init" || l.flag(s, "invoke")}
	call.Function, _, _ = l.nameOf(s, "function", "%s: %s has no function", who, key)
	for _, item := range l.list(s, "args") {
		if a, ok := l.textOf(item, "an entry of args"); ok {
			call.Args = append(call.Args, a)
		}
	}
	return call
}
