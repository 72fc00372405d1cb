package chaincode_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

func secrets() []*network.Collection {
	return []*network.Collection{
		{Name: "everybody", Policy: "OR('Org1MSP.member','Org2MSP.member')", MaxPeerCount: 1},
		{
			Name: "some", Policy: "OR('Org1MSP.member')", RequiredPeerCount: 1, MaxPeerCount: 3, BlockToLive: 1000, MemberOnlyRead: true, MemberOnlyWrite: true,
			EndorsementPolicy: "OutOf(2,'Org1MSP.peer','Org2MSP.peer','Org3MSP.peer')",
		},
		{Name: "ref", Policy: "OR('Org1MSP.peer',OR('Org2MSP.client'))", EndorsementPolicy: "/Channel/Application/Endorsement"},
	}
}

func on(cs ...*network.Collection) *network.ChaincodeChannel {
	return &network.ChaincodeChannel{Channel: &network.Channel{Name: "common"}, Collections: cs}
}

func TestCollections(t *testing.T) {
	t.Parallel()
	p, err := chaincode.Wanted(basic(), on(secrets()...))
	if err != nil {
		t.Fatal(err)
	}
	back, err := chaincode.CollectionsOf(p.Collections)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(secrets(), back); diff != "" {
		t.Errorf("a rollback would write other collections: -want, +got:\n%s", diff)
	}
	if none, err := chaincode.CollectionsOf(nil); none != nil || err != nil {
		t.Errorf("CollectionsOf(nil) = %v, %v", none, err)
	}
}

func TestCollectionDifferences(t *testing.T) {
	t.Parallel()
	wanted := func(change func([]*network.Collection) []*network.Collection) chaincode.Parameters {
		p, err := chaincode.Wanted(basic(), on(change(secrets())...))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	same := func(cs []*network.Collection) []*network.Collection { return cs }
	cases := map[string]struct {
		reason string
		change func([]*network.Collection) []*network.Collection
		want   []string
	}{
		"Same": {"Blanks in a policy are no change.", func(cs []*network.Collection) []*network.Collection {
			cs[0].Policy = "OR( 'Org1MSP.member', 'Org2MSP.member' )"
			return cs
		}, nil},
		"Changed": {"Any setting may be changed under the same version.", func(cs []*network.Collection) []*network.Collection {
			cs[1].MaxPeerCount++
			return cs
		}, []string{"changed collection some"}},
		"Added": {"Collections may be added.", func(cs []*network.Collection) []*network.Collection {
			return append(cs, &network.Collection{Name: "new", Policy: "OR('Org1MSP.member')"})
		}, []string{"new collection new"}},
		"Removed": {"Fabric will refuse it; the name tells why.", func(cs []*network.Collection) []*network.Collection { return cs[1:] }, []string{"without collection everybody"}},
		"Order": {"Fabric compares the whole.", func(cs []*network.Collection) []*network.Collection {
			cs[0], cs[1] = cs[1], cs[0]
			return cs
		}, []string{"other order of collections"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, wanted(tc.change).Differences(wanted(same))); diff != "" {
				t.Errorf("%s\nDifferences: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
	broken := chaincode.Parameters{Version: "1.0", Collections: []byte{0xff}}
	if diff := cmp.Diff([]string{"collections"}, broken.Differences(wanted(same))); diff != "" {
		t.Errorf("Differences of what nobody can read: -want, +got:\n%s", diff)
	}
}

func TestWantedInit(t *testing.T) {
	t.Parallel()
	cc := basic()
	cc.Init = &network.Call{Function: "Init"}
	if p, err := chaincode.Wanted(cc, on()); err != nil || !p.InitRequired || p.Collections != nil || p.Policy != nil {
		t.Errorf("Wanted = %+v, %v; a chaincode with an init call asks for it, and for nothing else", p, err)
	}
}

func TestWantedRefusesCollections(t *testing.T) {
	t.Parallel()
	for _, c := range []network.Collection{
		{Name: "a"}, {Name: "a", Policy: "/Channel/Application/Writers"}, {Name: "a", Policy: "OR('Org1MSP.king')"},
		{Name: "a", Policy: "OR('Org1MSP.member')", EndorsementPolicy: "OR("},
	} {
		if _, err := chaincode.Wanted(basic(), on(&c)); exit.CodeOf(err) != exit.Invalid {
			t.Errorf("Wanted with %+v: %v; what nobody can read must not be tried again", c, err)
		}
	}
}

func TestParsePolicy(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{
		"", "/Channel/Application/Writers", "OR('Org1MSP.member')", "AND('Org1MSP.peer','Org2MSP.admin')",
		"OutOf(2,'A.peer',OR('B.client','C.orderer'),AND('A.peer','B.member'))",
	} {
		p := wanted(t, policy).Policy
		if got, err := chaincode.ParsePolicy(p); err != nil || got != policy {
			t.Errorf("ParsePolicy of %q = %q, %v; a rollback would write another policy", policy, got, err)
		}
	}
	reference, err := proto.Marshal(&peer.ApplicationPolicy{Type: &peer.ApplicationPolicy_ChannelConfigPolicyReference{
		ChannelConfigPolicyReference: chaincode.DefaultPolicyReference}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := chaincode.ParsePolicy(reference); err != nil || got != "" {
		t.Errorf("ParsePolicy of the default = %q, %v", got, err)
	}
}

// Definitions come from peers, and other tools may have made them.
func TestParsePolicyOfOthers(t *testing.T) {
	t.Parallel()
	deep := &common.SignaturePolicy{Type: &common.SignaturePolicy_SignedBy{}}
	for range 100 {
		deep = &common.SignaturePolicy{Type: &common.SignaturePolicy_NOutOf_{NOutOf: &common.SignaturePolicy_NOutOf{N: 1, Rules: []*common.SignaturePolicy{deep}}}}
	}
	cases := map[string]struct {
		reason string
		policy *common.SignaturePolicyEnvelope
		want   string
	}{
		"Index":   {"It refers to a principal it does not have.", &common.SignaturePolicyEnvelope{Rule: &common.SignaturePolicy{Type: &common.SignaturePolicy_SignedBy{SignedBy: 3}}}, "principal 3 of 0"},
		"Minus":   {"Or to one before the first.", &common.SignaturePolicyEnvelope{Rule: &common.SignaturePolicy{Type: &common.SignaturePolicy_SignedBy{SignedBy: -1}}}, "principal -1 of 0"},
		"NoRule":  {"It asks for nothing.", &common.SignaturePolicyEnvelope{}, "empty rule"},
		"Deep":    {"It would overflow the stack.", &common.SignaturePolicyEnvelope{Rule: deep}, "more than 64 deep"},
		"Unit":    {"Fabric's language has only roles.", &common.SignaturePolicyEnvelope{Identities: []*msp.MSPPrincipal{{PrincipalClassification: msp.MSPPrincipal_ORGANIZATION_UNIT}}}, "ORGANIZATION_UNIT"},
		"Garbage": {"A principal is no message.", &common.SignaturePolicyEnvelope{Identities: []*msp.MSPPrincipal{{Principal: []byte{0xff}}}}, "a principal of the policy"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := proto.Marshal(&peer.ApplicationPolicy{Type: &peer.ApplicationPolicy_SignaturePolicy{SignaturePolicy: tc.policy}})
			if err != nil {
				t.Fatal(err)
			}
			if s, err := chaincode.ParsePolicy(b); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\nParsePolicy = %q, %v; want %s", tc.reason, s, err, tc.want)
			}
			if got := chaincode.PolicyString(b); got != "unreadable" {
				t.Errorf("%s\nPolicyString = %q", tc.reason, got)
			}
		})
	}
}

// FuzzCollectionsOf gives it whatever a peer may have committed.
func FuzzCollectionsOf(f *testing.F) {
	p, err := chaincode.Wanted(basic(), on(secrets()...))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.Collections)
	f.Add([]byte{0x0a, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := chaincode.CollectionsOf(b); err != nil && !strings.HasPrefix(err.Error(), "reading collection") {
			t.Errorf("CollectionsOf: %v", err)
		}
		_, _ = chaincode.ParsePolicy(b)
	})
}
