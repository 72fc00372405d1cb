package chaincode_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

func wanted(t *testing.T, policy string) chaincode.Parameters {
	t.Helper()
	p, err := chaincode.Wanted(basic(), &network.ChaincodeChannel{Channel: &network.Channel{Name: "common"}, Policy: policy})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDifferences(t *testing.T) {
	t.Parallel()
	either := "OR('Org1MSP.member','Org2MSP.member')"
	reference, err := proto.Marshal(&peer.ApplicationPolicy{Type: &peer.ApplicationPolicy_ChannelConfigPolicyReference{
		ChannelConfigPolicyReference: chaincode.DefaultPolicyReference}})
	if err != nil {
		t.Fatal(err)
	}
	// What a peer answers: every default is spelled out.
	stored := chaincode.Parameters{Version: "1.0", EndorsementPlugin: "escc", ValidationPlugin: "vscc", Policy: reference, Collections: []byte{}}
	newer := wanted(t, "")
	newer.Version = "2.0"

	cases := map[string]struct {
		reason string
		a, b   chaincode.Parameters
		want   []string
	}{
		"DefaultsSpelledOut": {"Fabric stores defaults that the file leaves out; that is no change.", wanted(t, ""), stored, nil},
		"SamePolicy":         {"Spaces in a policy do not matter.", wanted(t, either), wanted(t, "OR( 'Org1MSP.member', 'Org2MSP.member' )"), nil},
		"Policy": {"A changed policy must be approved anew.", wanted(t, either), stored,
			[]string{"endorsement policy OR('Org1MSP.member','Org2MSP.member') instead of /Channel/Application/Endorsement"}},
		"Version": {"So must a changed version.", newer, stored, []string{"version 2.0 instead of 1.0"}},
		"Other": {"A definition made with other tools may use what the file cannot say.", stored,
			chaincode.Parameters{Version: "1.0", EndorsementPlugin: "mine", ValidationPlugin: "mine", InitRequired: true,
				Collections: collections(t)},
			[]string{"endorsement plugin", "validation plugin", "without collection secrets", "init required"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, tc.a.Differences(tc.b)); diff != "" {
				t.Errorf("%s\nDifferences: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func collections(t *testing.T) []byte {
	t.Helper()
	b, err := proto.Marshal(&peer.CollectionConfigPackage{Config: []*peer.CollectionConfig{{Payload: &peer.CollectionConfig_StaticCollectionConfig{
		StaticCollectionConfig: &peer.StaticCollectionConfig{Name: "secrets"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestNext(t *testing.T) {
	t.Parallel()
	p := chaincode.Parameters{Version: "2.0"}
	cases := map[string]struct {
		reason    string
		committed *chaincode.Definition
		want      int64
	}{
		"First":     {"Fabric's first sequence number is 1.", nil, 1},
		"Unchanged": {"An equal definition keeps its number, whatever it is.", &chaincode.Definition{Sequence: 7, Parameters: p}, 7},
		"Changed":   {"Fabric refuses gaps.", &chaincode.Definition{Sequence: 7, Parameters: chaincode.Parameters{Version: "1.0"}}, 8},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := chaincode.Next("basic", p, tc.committed)
			if got.Sequence != tc.want || got.Name != "basic" || !got.Equal(p) {
				t.Errorf("%s\nNext = %+v, want sequence %d", tc.reason, got, tc.want)
			}
		})
	}
}

func TestWantedRefusesPolicy(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"OR('Org1MSP.member'", "Org1MSP.member", "OR('Org1MSP.king','Org2MSP.member')"} {
		_, err := chaincode.Wanted(basic(), &network.ChaincodeChannel{Channel: &network.Channel{Name: "common"}, Policy: policy})
		if exit.CodeOf(err) != exit.Invalid {
			t.Errorf("Wanted with policy %q: %v; a policy nobody can parse must not be tried again", policy, err)
		}
	}
}
