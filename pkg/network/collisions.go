package network

import "fmt"

// claims remembers which thing got a name, to find a second one.
type claims struct {
	l    *loader
	what string // the end of the message, with a verb for the name
	by   map[string]claim
}

type claim struct {
	who string
	at  *node
}

// claim records a name, or reports that two things would share it, and returns false.
func (c *claims) claim(name, who string, at *node) bool {
	first, taken := c.by[name]
	switch {
	case !taken:
		c.by[name] = claim{who, at}
	case first.who != who:
		c.l.errorf(at, "%s and %s (%s) would both be "+c.what+"; rename one", who, first.who, first.at.where(), name)
		return false
	}
	return true
}

// all claims names until one is taken: the rest would only repeat it.
func (c *claims) all(names []string, who string, at *node) {
	for _, name := range names {
		if !c.claim(name, who, at) {
			return
		}
	}
}

func (l *loader) claims(what string) *claims {
	return &claims{l, what, map[string]claim{}}
}

// collisions finds different names that Kubernetes or Argo would not tell apart.
func (l *loader) collisions() {
	orgs, objects := l.claims("called %q in Kubernetes"), l.claims("called %q in Kubernetes")
	for _, o := range l.net.Orgs() {
		who := fmt.Sprintf("org %q of %sOrgs", o.Name, o.Kind.title())
		at := l.places[o]
		if !orgs.claim(o.Label(), who, at) {
			continue // all that is named after it would collide too
		}
		objects.claim(o.AdminSecret(), "the admin of "+who, at)
		objects.claim(o.ClientSecret(), "the client of "+who, at)
		for _, n := range o.Nodes {
			host := fmt.Sprintf("host %q of org %q", n.Hostname, o.Name)
			objects.all([]string{n.Name(), n.MSPSecret(), n.TLSSecret()}, host, l.places[n])
		}
	}
	for _, cc := range l.net.Chaincodes {
		if cc.Service == nil || cc.Service.Image == "" {
			continue
		}
		for _, o := range cc.Orgs {
			who := fmt.Sprintf("the server of chaincode %q for org %q", cc.Name, o.Name)
			if !objects.claim(o.ChaincodeService(cc), who, l.places[cc]) {
				break
			}
		}
	}
	tasks := l.claims("the workflow task %q")
	for _, ch := range l.net.Channels {
		l.channelTasks(tasks, ch)
	}
	tasks = l.claims("the workflow task %q")
	for _, cc := range l.net.Chaincodes {
		l.chaincodeTasks(tasks, cc)
	}
}

func (l *loader) channelTasks(tasks *claims, ch *Channel) {
	at := l.places[ch]
	for _, o := range ch.OrdererOrgs {
		who := fmt.Sprintf("channel %q", ch.Name)
		if len(ch.OrdererOrgs) > 1 {
			who += fmt.Sprintf(" with orderer org %q", o.Name)
		}
		if !tasks.claim(ch.CreateTask(o), who, at) {
			return
		}
	}
	for _, o := range ch.Orgs {
		if !tasks.claim(ch.JoinTask(o), fmt.Sprintf("channel %q with org %q", ch.Name, o.Name), at) {
			return
		}
	}
}

func (l *loader) chaincodeTasks(tasks *claims, cc *Chaincode) {
	at := l.places[cc]
	who := fmt.Sprintf("chaincode %q", cc.Name)
	if !tasks.claim(cc.CommitTask(), who, at) {
		return
	}
	for _, o := range cc.Orgs {
		if !tasks.claim(cc.InstallTask(o), fmt.Sprintf("%s with org %q", who, o.Name), at) {
			return
		}
	}
	tasks.claim(cc.SmokeTask(), who, at)
}

func (k Kind) title() string {
	if k == Orderer {
		return "Orderer"
	}
	return "Peer"
}
