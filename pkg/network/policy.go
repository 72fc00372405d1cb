package network

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// principal is one MSP and role of an endorsement policy, as 'Org1MSP.peer'.
type principal struct{ msp, role string }

// maxPolicyDepth is how deep gates may nest. Fabric has no limit, and no real policy more
// than three.
const maxPolicyDepth = 32

var (
	roles           = []string{"member", "admin", "client", "peer", "orderer"}
	policyReference = regexp.MustCompile(`^(/[A-Za-z0-9_.-]+)+$`)
	principalText   = regexp.MustCompile(`^([A-Za-z0-9.-]+)\.([^.]*)$`)
)

// parsedPolicy is what there is to know about a policy without evaluating it.
type parsedPolicy struct {
	principals []principal // in order
	oneOf      bool        // any one of them will do
}

// parsePolicy parses a policy of Fabric's language (common/policydsl): gates AND, OR and OutOf
// around principals in quotes.
func parsePolicy(policy string) (parsedPolicy, error) {
	p := policyParser{rest: policy, whole: policy}
	p.found.oneOf = true
	p.space()
	if p.rest != "" && (p.rest[0] == '\'' || p.rest[0] == '"') {
		return parsedPolicy{}, p.fail("a single principal needs a gate around it: OR(%s)", strings.TrimSpace(p.rest))
	}
	if err := p.gate(0); err != nil {
		return parsedPolicy{}, err
	}
	if p.space(); p.rest != "" {
		return parsedPolicy{}, p.fail("%s follows the end of the policy", p.next())
	}
	return p.found, nil
}

type policyParser struct {
	rest, whole string
	found       parsedPolicy
}

// fail says what is wrong and where, counting characters from 1.
func (p *policyParser) fail(format string, args ...any) error {
	at := utf8.RuneCountInString(p.whole[:len(p.whole)-len(p.rest)]) + 1
	return fmt.Errorf("character %d: %s", at, fmt.Sprintf(format, args...))
}

func (p *policyParser) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

// next is what stands here, for messages.
func (p *policyParser) next() string {
	if p.rest == "" {
		return "the end"
	}
	word := p.word()
	if word == "" {
		_, size := utf8.DecodeRuneInString(p.rest)
		word = p.rest[:size]
	}
	return show(word)
}

// word is the run of letters and digits that stands here.
func (p *policyParser) word() string {
	end := 0
	for end < len(p.rest) {
		c := p.rest[end]
		if c != '.' && c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			break
		}
		end++
	}
	return p.rest[:end]
}

// eat takes one character if it stands here.
func (p *policyParser) eat(c byte) bool {
	p.space()
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// gate parses NAME(argument, …).
func (p *policyParser) gate(depth int) error {
	if depth > maxPolicyDepth {
		return p.fail("gates nest more than %d deep", maxPolicyDepth)
	}
	p.space()
	name := p.word()
	switch name {
	case "AND", "And", "and", "OR", "Or", "or", "OUTOF", "OutOf", "outof":
	default:
		if principalText.MatchString(name) {
			return p.fail("put %s in quotes: '%s'", show(name), name)
		}
		if meant := closest(name, []string{"AND", "OR", "OutOf"}); meant != "" && name != "" {
			return p.fail("%s is not a gate; did you mean %s?", show(name), meant)
		}
		return p.fail("expected AND(…), OR(…) or OutOf(n, …), found %s", p.next())
	}
	start := *p
	p.rest = p.rest[len(name):]
	if !p.eat('(') {
		return p.fail("expected \"(\" after %s, found %s", name, p.next())
	}
	needed := 1
	if strings.EqualFold(name, "outof") {
		n, err := p.count()
		if err != nil {
			return err
		}
		needed = n
	}
	given := 0
	for {
		if err := p.argument(depth); err != nil {
			return err
		}
		given++
		if p.eat(')') {
			break
		}
		if !p.eat(',') {
			return p.fail("expected \",\" or \")\", found %s", p.next())
		}
	}
	if strings.EqualFold(name, "and") {
		needed = given
	}
	p.found.oneOf = p.found.oneOf && needed == 1
	if needed < 1 || needed > given {
		return start.fail("OutOf(%d, …) has %d arguments after the number; the number must be from 1 to %d", needed, given, given)
	}
	return nil
}

// count parses OutOf's number and the comma after it. Fabric takes it quoted as well.
func (p *policyParser) count() (int, error) {
	p.space()
	digits := p.word()
	if p.rest != "" && (p.rest[0] == '\'' || p.rest[0] == '"') {
		quote := p.rest[:1]
		digits, _, _ = strings.Cut(p.rest[1:], quote)
		if n, err := strconv.Atoi(digits); err == nil && len(p.rest) >= len(digits)+2 {
			p.rest = p.rest[len(digits)+2:]
			return n, p.comma()
		}
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 {
		return 0, p.fail("OutOf starts with how many must sign, as in OutOf(2, …), found %s", p.next())
	}
	p.rest = p.rest[len(digits):]
	return n, p.comma()
}

func (p *policyParser) comma() error {
	if !p.eat(',') {
		return p.fail("expected \",\" after OutOf's number, found %s", p.next())
	}
	return nil
}

// argument parses a principal or a gate.
func (p *policyParser) argument(depth int) error {
	p.space()
	if p.rest == "" || p.rest[0] != '\'' && p.rest[0] != '"' {
		return p.gate(depth + 1)
	}
	quote := p.rest[:1]
	inside, after, closed := strings.Cut(p.rest[1:], quote)
	if !closed {
		return p.fail("the quote is never closed")
	}
	part := principalText.FindStringSubmatch(inside)
	if part == nil {
		return p.fail("%s is not MSP.role, as 'Org1MSP.peer'", show(inside))
	}
	if !contains(roles, part[2]) {
		return p.fail("%s is not a role%s", show(part[2]), hint(part[2], roles, "roles"))
	}
	p.found.principals = append(p.found.principals, principal{part[1], part[2]})
	p.rest = after
	return nil
}

// policy checks an endorsement policy: that Fabric can read it, and that it can be met. It may
// also be the name of one of the channel's policies.
func (l *loader) policy(n *node, key, policy string, ch *Channel, who string) {
	if strings.HasPrefix(policy, "/") {
		if !policyReference.MatchString(policy) {
			l.errorf(n, "%s: %s %s is not the full name of a policy, as /Channel/Application/Endorsement", who, key, show(policy))
		}
		return
	}
	found, err := parsePolicy(policy)
	if err != nil {
		l.errorf(n, "%s: %s %s: %v", who, key, show(policy), err)
		return
	}
	l.principals(n, key, found, ch, who)
}

// principals checks that a policy's principals exist and, if a channel is given, can endorse
// on it.
func (l *loader) principals(n *node, key string, policy parsedPolicy, ch *Channel, who string) {
	var names []string
	for _, org := range l.net.Orgs() {
		names = append(names, org.MSPID)
	}
	told := map[principal]bool{}
	for _, p := range policy.principals {
		if told[p] {
			continue
		}
		told[p] = true
		org := l.mspOrg(p.msp)
		switch {
		case org == nil && l.external[strings.TrimSuffix(p.msp, "MSP")] && strings.HasSuffix(p.msp, "MSP"):
		case org == nil:
			l.errorf(n, "%s: %s: MSP %s is not in %s%s", who, key, show(p.msp), l.cryptoFile, hint(p.msp, names, "MSPs"))
		case ch != nil && org.Kind == Peer && !inOrgs(ch.Orgs, org):
			l.warnf(n, "%s: %s names %s, whose organisation is not in the channel and so cannot endorse", who, key, p.msp)
		case !org.NodeOUs && (p.role == "peer" || p.role == "client" || p.role == "orderer"):
			l.warnf(n, "%s: %s asks for '%s.%s', but EnableNodeOUs of org %q is false, so no certificate has that role; use member, or enable it", who, key, p.msp, p.role, org.Name)
		}
	}
}

// mspOrg finds an organisation by its MSP ID, or nil.
func (l *loader) mspOrg(id string) *Org {
	for _, org := range l.net.Orgs() {
		if org.MSPID == id {
			return org
		}
	}
	return nil
}
