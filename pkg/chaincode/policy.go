package chaincode

import (
	"errors"
	"fmt"
	"strings"

	sdk "github.com/hyperledger/fabric-admin-sdk/pkg/chaincode"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
)

// marshal is deterministic, because organisations compare each other's bytes.
var marshal = proto.MarshalOptions{Deterministic: true}

// maxPolicyDepth is how deep gates of a policy from elsewhere may nest.
const maxPolicyDepth = 64

// applicationPolicy makes a policy of what the files say: nil for nothing, a reference to one
// of the channel's policies for what begins with "/", else a signature policy.
func applicationPolicy(policy string) (*peer.ApplicationPolicy, error) {
	switch {
	case policy == "":
		return nil, nil
	case strings.HasPrefix(policy, "/"):
		return &peer.ApplicationPolicy{Type: &peer.ApplicationPolicy_ChannelConfigPolicyReference{
			ChannelConfigPolicyReference: policy}}, nil
	}
	return sdk.NewApplicationPolicy(policy, "")
}

// ParsePolicy reads a serialized policy back as the files write it; "" is the default.
func ParsePolicy(policy []byte) (string, error) {
	a, err := parsePolicy(policy)
	if err != nil {
		return "", err
	}
	if s, err := policyText(a); err != nil || s != DefaultPolicyReference {
		return s, err
	}
	return "", nil
}

// PolicyString shows a serialized policy as people write it.
func PolicyString(policy []byte) string {
	a, err := parsePolicy(policy)
	if err != nil {
		return "unreadable"
	}
	s, err := policyText(a)
	if err != nil {
		return "unreadable"
	}
	return s
}

func policyText(a *peer.ApplicationPolicy) (string, error) {
	if ref := a.GetChannelConfigPolicyReference(); ref != "" {
		return ref, nil
	}
	return signatureText(a.GetSignaturePolicy())
}

// signatureText writes a signature policy in Fabric's language. The SDK's own writer would
// panic on a policy that refers to a principal it does not have.
func signatureText(p *common.SignaturePolicyEnvelope) (string, error) {
	var names []string
	for _, id := range p.GetIdentities() {
		var role msp.MSPRole
		if id.GetPrincipalClassification() != msp.MSPPrincipal_ROLE {
			return "", fmt.Errorf("a principal of the policy is of kind %s and not a role", id.GetPrincipalClassification())
		}
		if err := proto.Unmarshal(id.GetPrincipal(), &role); err != nil {
			return "", fmt.Errorf("a principal of the policy: %w", err)
		}
		names = append(names, "'"+role.GetMspIdentifier()+"."+strings.ToLower(role.GetRole().String())+"'")
	}
	var b strings.Builder
	if err := writeRule(&b, p.GetRule(), names, 0); err != nil {
		return "", err
	}
	return b.String(), nil
}

func writeRule(b *strings.Builder, rule *common.SignaturePolicy, names []string, depth int) error {
	if depth > maxPolicyDepth {
		return fmt.Errorf("gates of the policy nest more than %d deep", maxPolicyDepth)
	}
	switch r := rule.GetType().(type) {
	case *common.SignaturePolicy_SignedBy:
		if r.SignedBy < 0 || int(r.SignedBy) >= len(names) {
			return fmt.Errorf("the policy refers to principal %d of %d", r.SignedBy, len(names))
		}
		b.WriteString(names[r.SignedBy])
		return nil
	case *common.SignaturePolicy_NOutOf_:
		n, rules := r.NOutOf.GetN(), r.NOutOf.GetRules()
		switch {
		case n == 1:
			b.WriteString("OR(")
		case int(n) == len(rules):
			b.WriteString("AND(")
		default:
			fmt.Fprintf(b, "OutOf(%d,", n)
		}
		for i, inner := range rules {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeRule(b, inner, names, depth+1); err != nil {
				return err
			}
		}
		b.WriteByte(')')
		return nil
	}
	return errors.New("the policy has an empty rule")
}

func parsePolicy(policy []byte) (*peer.ApplicationPolicy, error) {
	if len(policy) == 0 {
		return &peer.ApplicationPolicy{Type: &peer.ApplicationPolicy_ChannelConfigPolicyReference{
			ChannelConfigPolicyReference: DefaultPolicyReference}}, nil
	}
	a := &peer.ApplicationPolicy{}
	return a, proto.Unmarshal(policy, a)
}
