package network

import "fmt"

// flow checks the lists that narrow the flows.
func (l *loader) flow() {
	l.net.FlowChannels, l.net.FlowChaincodes = l.net.Channels, l.net.Chaincodes
	flow := l.object(l.root, "flow")
	if items := l.names(l.object(flow, "channel"), "include"); len(items) > 0 {
		l.net.FlowChannels = nil
		var known []string
		for _, ch := range l.net.Channels {
			known = append(known, ch.Name)
		}
		for _, item := range items {
			ch := l.net.Channel(item.text)
			if ch == nil {
				l.errorf(item, "flow.channel.include: channel %s is not in %s%s", show(item.text), l.networkFile, hint(item.text, known, "channels"))
				continue
			}
			l.net.FlowChannels = append(l.net.FlowChannels, ch)
		}
	}
	if items := l.names(l.object(flow, "chaincode"), "include"); len(items) > 0 {
		l.net.FlowChaincodes = nil
		var known []string
		for _, cc := range l.net.Chaincodes {
			known = append(known, cc.Name)
		}
		for _, item := range items {
			cc := l.net.Chaincode(item.text)
			if cc == nil {
				l.errorf(item, "flow.chaincode.include: chaincode %s is not in %s%s", show(item.text), l.networkFile, hint(item.text, known, "chaincodes"))
				continue
			}
			l.net.FlowChaincodes = append(l.net.FlowChaincodes, cc)
		}
	}
}

// claims remembers which thing got a Kubernetes name, to find a second one.
type claims struct {
	l    *loader
	what string // "object", "task"
	by   map[string]claim
}

type claim struct {
	who string
	at  *node
}

// claim records a name, or reports that two things would share it.
func (c *claims) claim(name, who string, at *node) {
	if first, taken := c.by[name]; taken {
		if first.who != who {
			c.l.errorf(at, "%s and %s (%s) would both be the %s %q; rename one", who, first.who, first.at.where(), c.what, name)
		}
		return
	}
	c.by[name] = claim{who, at}
}

func (l *loader) claims(what string) *claims {
	return &claims{l, what, map[string]claim{}}
}

// collisions finds different names that Kubernetes or Argo would not tell apart.
func (l *loader) collisions() {
	orgs, objects := l.claims("organisation"), l.claims("object")
	for _, o := range l.net.Orgs() {
		who := fmt.Sprintf("org %q of %sOrgs", o.Name, o.Kind.title())
		at := l.places[o]
		before := len(l.problems)
		orgs.claim(o.Label(), who, at)
		if len(l.problems) > before {
			continue // all that is named after it would collide too
		}
		objects.claim(o.AdminSecret(), "the admin of "+who, at)
		objects.claim(o.ClientSecret(), "the client of "+who, at)
		for _, n := range o.Nodes {
			host := fmt.Sprintf("host %q of org %q", n.Hostname, o.Name)
			for _, name := range []string{n.Name(), n.MSPSecret(), n.TLSSecret()} {
				objects.claim(name, host, l.places[n])
			}
		}
	}
	l.taskCollisions()
}

func (k Kind) title() string {
	if k == Orderer {
		return "Orderer"
	}
	return "Peer"
}

func (l *loader) taskCollisions() {
	channels, chaincodes := l.claims("task"), l.claims("task")
	for _, ch := range l.net.Channels {
		for _, o := range ch.OrdererOrgs {
			channels.claim(ch.CreateTask(o), fmt.Sprintf("channel %q with orderer org %q", ch.Name, o.Name), l.places[ch])
		}
		for _, o := range ch.Orgs {
			channels.claim(ch.JoinTask(o), fmt.Sprintf("channel %q with org %q", ch.Name, o.Name), l.places[ch])
		}
	}
	for _, cc := range l.net.Chaincodes {
		who := fmt.Sprintf("chaincode %q", cc.Name)
		before := len(l.problems)
		chaincodes.claim(cc.CommitTask(), who, l.places[cc])
		if len(l.problems) > before {
			continue
		}
		for _, o := range cc.Orgs {
			chaincodes.claim(cc.InstallTask(o), fmt.Sprintf("chaincode %q with org %q", cc.Name, o.Name), l.places[cc])
		}
		chaincodes.claim(cc.SmokeTask(), who, l.places[cc])
	}
}
