package network_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/network"
)

// describe writes a network down, with every derived name, for golden files.
func describe(n *network.Network) string {
	var b strings.Builder
	p := func(indent int, format string, args ...any) {
		b.WriteString(strings.TrimRight(strings.Repeat("  ", indent)+fmt.Sprintf(format, args...), " ") + "\n")
	}
	p(0, "fabric %s", n.Version)
	for _, o := range n.Orgs() {
		p(0, "%s org %s %s %s nodeOUs=%t label=%s key=%s", o.Kind, o.Name, o.MSPID, o.Domain, o.NodeOUs, o.Label(), o.PublicKey())
		p(1, "ca %s: %s", o.CA.CommonName, strings.Join(some(o.CA.Country, o.CA.Province, o.CA.Locality, o.CA.OrganizationalUnit, o.CA.StreetAddress, o.CA.PostalCode), ", "))
		p(1, "users %s; secrets %s %s", strings.Join(o.Users, " "), o.AdminSecret(), o.ClientSecret())
		for _, node := range o.Nodes {
			p(1, "%s %s at %s %s", node.Hostname, node.CommonName, node.Address(), strings.Join(node.SANS, " "))
		}
	}
	for _, ch := range n.Channels {
		p(0, "channel %s %s orgs=%s orderers=%s batch=%s/%d/%d/%d", ch.Name, ch.Consensus, names(ch.Orgs), names(ch.OrdererOrgs),
			ch.Batch.Timeout, ch.Batch.MaxMessageCount, ch.Batch.AbsoluteMaxBytes, ch.Batch.PreferredMaxBytes)
		for _, o := range ch.OrdererOrgs {
			p(1, "%s", ch.CreateTask(o))
		}
		for _, o := range ch.Orgs {
			p(1, "%s", ch.JoinTask(o))
		}
	}
	for _, cc := range n.Chaincodes {
		p(0, "chaincode %s orgs=%s %s", cc.Label(), names(cc.Orgs), strings.Join(some(cc.Language, cc.Image, service(cc), cc.Source, below(cc.Path), cc.Package), " "))
		for _, c := range cc.Channels {
			p(1, "on %s orgs=%s %s", c.Channel.Name, names(c.Orgs), c.Policy)
			for _, x := range c.Collections {
				p(2, "collection %s peers=%d..%d live=%d read=%t write=%t %s", x.Name, x.RequiredPeerCount, x.MaxPeerCount, x.BlockToLive,
					x.MemberOnlyRead, x.MemberOnlyWrite, strings.Join(some(x.Policy, x.EndorsementPolicy), "; "))
			}
		}
		if cc.Init != nil {
			p(1, "init %s%q", cc.Init.Function, cc.Init.Args)
		}
		if cc.Smoke != nil {
			p(1, "smoke %s%q invoke=%t", cc.Smoke.Function, cc.Smoke.Args, cc.Smoke.Invoke)
		}
		for _, o := range cc.Orgs {
			p(1, "%s", cc.InstallTask(o))
		}
		p(1, "%s %s", cc.CommitTask(), cc.SmokeTask())
	}
	if len(n.FlowChannels) != len(n.Channels) || len(n.FlowChaincodes) != len(n.Chaincodes) {
		p(0, "flows:")
		for _, ch := range n.FlowChannels {
			p(1, "channel %s", ch.Name)
		}
		for _, cc := range n.FlowChaincodes {
			p(1, "chaincode %s", cc.Name)
		}
	}
	return b.String()
}

func some(parts ...string) []string {
	var out []string
	for _, s := range parts {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

func names(orgs []*network.Org) string {
	var out []string
	for _, o := range orgs {
		out = append(out, o.Name)
	}
	return strings.Join(out, ",")
}

// sameInOneFile checks what a workflow relies on: the merged values, as JSON in one file,
// are the same network.
func sameInOneFile(t *testing.T, sources []network.Source, set []string, want *network.Network) {
	t.Helper()
	values, err := network.Values(sources, set)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := network.Load([]network.Source{{Name: "network.yaml", Data: data}}, nil)
	if err != nil {
		t.Fatalf("loading the merged values: %v", err)
	}
	if diff := cmp.Diff(describe(want), describe(got)); diff != "" {
		t.Errorf("the merged values are another network: -files, +values:\n%s", diff)
	}
}

func service(cc *network.Chaincode) string {
	s := cc.Service
	switch {
	case s == nil:
		return ""
	case s.Image == "":
		return s.Address + " tls=" + string(s.TLS)
	}
	return fmt.Sprintf("%s replicas=%d port=%d tls=%s as %s", s.Image, s.Replicas, s.Port, s.TLS, cc.Orgs[0].ChaincodeService(cc))
}

func below(path string) string {
	if path == "" {
		return ""
	}
	return "path=" + path
}
