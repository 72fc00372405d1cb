package configtx_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"
	"gopkg.in/yaml.v3"

	"pivt.io/pivt/pkg/configtx"
	"pivt.io/pivt/pkg/network"
)

// TestGenesisEqualsConfigtxgen has the real configtxgen make each block from a configtx.yaml
// as Fabric's samples write it, over the same certificates.
func TestGenesisEqualsConfigtxgen(t *testing.T) {
	t.Parallel()
	configtxgen := fabricBin(t, "configtxgen")
	cases := map[string]shape{
		"Raft":                   {consensus: network.Raft, orderers: []int{3}, peers: []int{1, 1}},
		"RaftSingleNode":         {consensus: network.Raft, orderers: []int{1}, peers: []int{2}},
		"RaftSeveralOrdererOrgs": {consensus: network.Raft, orderers: []int{2, 1, 2}, peers: []int{1, 3, 2}},
		"RaftWithoutNodeOUs":     {consensus: network.Raft, orderers: []int{3}, peers: []int{1, 2}, withoutNodeOUs: true},
		"RaftBatch": {consensus: network.Raft, orderers: []int{1}, peers: []int{1},
			batch: network.Batch{Timeout: "2000ms", MaxMessageCount: 10, AbsoluteMaxBytes: 99 << 20, PreferredMaxBytes: 512 << 10}},
		"RaftWithoutPeers":      {consensus: network.Raft, orderers: []int{1}, peers: []int{1, 0}},
		"BFT":                   {consensus: network.BFT, orderers: []int{4}, peers: []int{1, 1}},
		"BFTSeveralOrdererOrgs": {consensus: network.BFT, orderers: []int{1, 2, 1, 1, 2}, peers: []int{2, 1}},
		"BFTWithoutNodeOUs":     {consensus: network.BFT, orderers: []int{4}, peers: []int{1}, withoutNodeOUs: true},
		"BFTBatch": {consensus: network.BFT, orderers: []int{6}, peers: []int{1},
			batch: network.Batch{Timeout: "90s", MaxMessageCount: 1, AbsoluteMaxBytes: 1 << 20, PreferredMaxBytes: 1 << 10}},
	}
	for name, s := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.needs(t, configtxgen)
			c := newCrypto(t, s)
			got, err := configtx.Genesis(c.channel(), c.public())
			if err != nil {
				t.Fatal(err)
			}
			want := runConfigtxgen(t, configtxgen, c)
			if diff := cmp.Diff(fields(t, want), fields(t, got)); diff != "" {
				t.Errorf("-configtxgen, +pivt:\n%s", diff)
			}
			// The decoder of this test could overlook something; this cannot.
			if !proto.Equal(configOf(t, want), configOf(t, got)) {
				t.Error("the configurations decode alike, yet differ in their bytes")
			}
		})
	}
}

func runConfigtxgen(t *testing.T, configtxgen string, c crypto) *common.Block {
	t.Helper()
	dir := t.TempDir()
	b, err := yaml.Marshal(configtxYAML(c))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "configtx.yaml"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "genesis.block")
	cmd := exec.CommandContext(t.Context(), configtxgen, "-profile", "Channel", "-channelID", c.channel().Name, "-outputBlock", out, "-configPath", dir)
	if log, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("configtxgen: %v\n%s\n%s", err, log, b)
	}
	if b, err = os.ReadFile(out); err != nil {
		t.Fatal(err)
	}
	block := &common.Block{}
	if err := proto.Unmarshal(b, block); err != nil {
		t.Fatal(err)
	}
	return block
}

type dict map[string]any

// configtxYAML writes down what a person would who follows Fabric's test-network: its
// policies, its capabilities, per-organisation endpoints and all tuning left to the defaults.
func configtxYAML(c crypto) dict {
	ch := c.channel()
	meta := func(rule string) dict { return dict{"Type": "ImplicitMeta", "Rule": rule} }
	policies := func(more dict) dict {
		p := dict{"Readers": meta("ANY Readers"), "Writers": meta("ANY Writers"), "Admins": meta("MAJORITY Admins")}
		for k, v := range more {
			p[k] = v
		}
		return p
	}
	var ordererOrgs, peerOrgs, consenters, mapping []dict
	for _, o := range ch.OrdererOrgs {
		org := configtxOrg(c, o)
		var endpoints []string
		for _, n := range o.Nodes {
			endpoints = append(endpoints, n.Address())
			tls := filepath.Join(c.tree.NodeDir(n), "tls", "server.crt")
			consenters = append(consenters, dict{"Host": n.Name(), "Port": 7050, "ClientTLSCert": tls, "ServerTLSCert": tls})
			mapping = append(mapping, dict{
				"ID": len(mapping) + 1, "Host": n.Name(), "Port": 7050, "MSPID": o.MSPID, "ClientTLSCert": tls, "ServerTLSCert": tls,
				"Identity": filepath.Join(c.tree.NodeDir(n), "msp", "signcerts", n.CommonName+"-cert.pem"),
			})
		}
		org["OrdererEndpoints"] = endpoints
		ordererOrgs = append(ordererOrgs, org)
	}
	for _, o := range ch.Orgs {
		org := configtxOrg(c, o)
		if len(o.Nodes) > 0 {
			org["AnchorPeers"] = []dict{{"Host": o.Nodes[0].Name(), "Port": 7051}}
		}
		peerOrgs = append(peerOrgs, org)
	}
	orderer := dict{
		"OrdererType":  string(ch.Consensus),
		"BatchTimeout": ch.Batch.Timeout,
		"BatchSize": dict{
			"MaxMessageCount":   ch.Batch.MaxMessageCount,
			"AbsoluteMaxBytes":  ch.Batch.AbsoluteMaxBytes,
			"PreferredMaxBytes": ch.Batch.PreferredMaxBytes,
		},
		"Organizations": ordererOrgs,
		"Policies":      policies(dict{"BlockValidation": meta("ANY Writers")}),
		"Capabilities":  dict{"V2_0": true},
	}
	capability := "V2_0"
	if ch.Consensus == network.BFT {
		capability = "V3_0"
		orderer["ConsenterMapping"] = mapping
	} else {
		orderer["EtcdRaft"] = dict{"Consenters": consenters}
	}
	return dict{"Profiles": dict{"Channel": dict{
		"Policies":     policies(nil),
		"Capabilities": dict{capability: true},
		"Orderer":      orderer,
		"Application": dict{
			"Organizations": peerOrgs,
			"Capabilities":  dict{"V2_5": true},
			"Policies": policies(dict{
				"LifecycleEndorsement": meta("MAJORITY Endorsement"),
				"Endorsement":          meta("MAJORITY Endorsement"),
			}),
		},
	}}}
}

func configtxOrg(c crypto, o *network.Org) dict {
	rules := map[string]string{"Readers": "member", "Writers": "member", "Admins": "admin"}
	or := func(roles ...string) dict {
		rule := "OR("
		for i, r := range roles {
			if i > 0 {
				rule += ", "
			}
			rule += "'" + o.MSPID + "." + r + "'"
		}
		return dict{"Type": "Signature", "Rule": rule + ")"}
	}
	p := dict{}
	for name, role := range rules {
		p[name] = or(role)
	}
	switch {
	case o.Kind == network.Peer && o.NodeOUs:
		p["Readers"] = or("admin", "peer", "client")
		p["Writers"] = or("admin", "client")
		p["Endorsement"] = or("peer")
	case o.Kind == network.Peer:
		p["Endorsement"] = or("member")
	}
	return dict{"Name": o.Name, "ID": o.MSPID, "MSPDir": c.tree.MSPDir(o), "Policies": p}
}
