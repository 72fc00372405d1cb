package network

import (
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-admin-sdk/pkg/chaincode"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"
)

// fabrics parses a policy as Fabric's clients do and gives its principals in order.
func fabrics(policy string) ([]principal, error) {
	p, err := chaincode.NewApplicationPolicy(policy, "")
	if err != nil {
		return nil, err
	}
	var found []principal
	for _, id := range p.GetSignaturePolicy().GetIdentities() {
		var role msp.MSPRole
		if err := proto.Unmarshal(id.GetPrincipal(), &role); err != nil {
			return nil, err
		}
		found = append(found, principal{role.GetMspIdentifier(), strings.ToLower(role.GetRole().String())})
	}
	return found, nil
}

// sameAsFabric fails if we take a policy that Fabric refuses or reads otherwise. The
// converse is allowed: Fabric also takes policies nobody can meet.
func sameAsFabric(t *testing.T, policy string) {
	t.Helper()
	parsed, err := parsePolicy(policy)
	got := parsed.principals
	if err != nil {
		return
	}
	want, err := fabrics(policy)
	if err != nil {
		t.Fatalf("we take %q, and Fabric does not: %v", policy, err)
	}
	// Fabric numbers them from the innermost gate outwards.
	if sorted(got) != sorted(want) {
		t.Errorf("%q: we read %v, Fabric %v", policy, got, want)
	}
}

func sorted(ps []principal) string {
	words := strings.Fields(strings.Trim(fmt.Sprintf("%s", ps), "[]"))
	sort.Strings(words)
	return strings.Join(words, " ")
}

func TestParsePolicy(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		policy string
		want   string
	}{
		"Or":         {"The usual form.", "OR('Org1MSP.member','Org2MSP.peer')", "[{Org1MSP member} {Org2MSP peer}]"},
		"Nested":     {"Gates are arguments of gates, in any case Fabric knows.", "and('A.admin', Or(\"B.client\", OUTOF(1, 'C.orderer')))", "[{A admin} {B client} {C orderer}]"},
		"OutOf":      {"Everybody may be asked for.", "OutOf(2, 'A.peer', 'B.peer')", "[{A peer} {B peer}]"},
		"OutOfText":  {"Fabric takes the number in quotes too.", "OutOf('1', 'A.peer', 'B.peer')", "[{A peer} {B peer}]"},
		"OutOfGate":  {"A gate counts as one.", "OutOf(2, AND('A.peer', 'B.peer'), 'C.peer')", "[{A peer} {B peer} {C peer}]"},
		"Blanks":     {"Folded YAML brings blanks and line breaks.", "OR (\n  'A.peer' ,\n\t'B.peer'\n)\n", "[{A peer} {B peer}]"},
		"DotsInName": {"An MSP ID may hold dots and dashes.", "OR('MSP.WITH-DOTS.member')", "[{MSP.WITH-DOTS member}]"},
		"RoleInName": {"The last dot counts.", "OR('A.peer.member')", "[{A.peer member}]"},
		"Deep":       {"32 gates deep is enough for anybody.", strings.Repeat("OR(", 32) + "'A.peer'" + strings.Repeat(")", 32), "[{A peer}]"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parsed, err := parsePolicy(tc.policy)
			got := parsed.principals
			if err != nil {
				t.Fatalf("%s\nparsePolicy(%q): %v", tc.reason, tc.policy, err)
			}
			if fmt.Sprint(got) != tc.want {
				t.Errorf("%s\nparsePolicy(%q) = %v, want %s", tc.reason, tc.policy, got, tc.want)
			}
			sameAsFabric(t, tc.policy)
		})
	}
}

func TestParsePolicyRefused(t *testing.T) {
	t.Parallel()
	// Each of these Fabric refuses as well, except those that nobody could meet.
	cases := map[string]string{
		"":                             "expected AND",
		"   ":                          "expected AND",
		"OR":                           `expected "("`,
		"OR(":                          "expected AND",
		"OR()":                         "expected AND",
		"OR('A.peer'":                  `expected "," or ")"`,
		"OR('A.peer',)":                "expected AND",
		"OR('A.peer')) ":               `")" follows`,
		"OR('A.peer'; 'B.peer')":       `expected "," or ")"`,
		"'A.peer'":                     "needs a gate",
		"A.peer":                       "in quotes",
		"ANDD('A.peer')":               "did you mean AND?",
		"OR('A.peer\")":                "never closed",
		"OR('A_B.peer')":               "is not MSP.role",
		"OR('Apeer')":                  "is not MSP.role",
		"OR('A.boss')":                 "is not a role",
		"OutOf('A.peer')":              "how many must sign",
		"OutOf(1)":                     `expected ","`,
		"OutOf(-1, 'A.peer')":          "how many must sign",
		"OutOf(0, 'A.peer')":           "from 1 to 1",
		"OutOf(3, 'A.peer', 'B.peer')": "from 1 to 2",
		"OutOf(1.5, 'A.peer')":         "how many must sign",
		"OutOf('1, 'A.peer')":          "how many must sign",
		"é('A.peer')":                  `found "é"`,
		strings.Repeat("OR(", 50) + "'A.peer'" + strings.Repeat(")", 50): "more than 32 deep",
	}
	for policy, want := range cases {
		_, err := parsePolicy(policy)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parsePolicy(%q): error %v, want one with %q", policy, err, want)
		}
	}
}

func TestOneOf(t *testing.T) {
	t.Parallel()
	cases := map[string]bool{
		"OR('A.peer','B.peer')":                     true,
		"OR('A.peer',OR('B.peer','C.peer'))":        true,
		"AND('A.peer')":                             true,
		"OutOf(1,'A.peer','B.peer')":                true,
		"AND('A.peer','B.peer')":                    false,
		"OutOf(2,'A.peer','B.peer')":                false,
		"OR('A.peer',AND('B.peer','C.peer'))":       false,
		"OR(OutOf('2','A.peer','B.peer'),'C.peer')": false,
	}
	for policy, want := range cases {
		if got, err := parsePolicy(policy); err != nil || got.oneOf != want {
			t.Errorf("any one principal meets %q: %t, want %t (%v)", policy, got.oneOf, want, err)
		}
	}
}

// FuzzPolicy holds our reader of policies against Fabric's.
func FuzzPolicy(f *testing.F) {
	for _, p := range []string{
		"OR('A.peer','B.member')", "OutOf(2, 'A.peer', AND('B.admin', \"C.client\"), 'D.orderer')", "and(or('A-1.peer'))",
		"OutOf('1','A.peer')", "OR('2020-01-01.peer')", "OR('A.peer' , \n'B.peer')", "OR('\\'A.peer')",
	} {
		f.Add(p)
	}
	f.Fuzz(sameAsFabric)
}
