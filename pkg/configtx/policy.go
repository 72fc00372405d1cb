package configtx

import (
	"errors"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"

	"pivt.io/pivt/pkg/pki"
)

// Names of policies that Fabric itself looks up.
const (
	readers         = "Readers"
	writers         = "Writers"
	admins          = "Admins"
	endorsement     = "Endorsement"
	blockValidation = "BlockValidation"
)

// metaPolicy asks for some of the members' policies of one name: "ANY Readers".
type metaPolicy struct {
	name string
	rule common.ImplicitMetaPolicy_Rule
	sub  string
}

// readersWritersAdmins is what every group above the organisations has.
func readersWritersAdmins() []metaPolicy {
	return []metaPolicy{
		{readers, common.ImplicitMetaPolicy_ANY, readers},
		{writers, common.ImplicitMetaPolicy_ANY, writers},
		{admins, common.ImplicitMetaPolicy_MAJORITY, admins},
	}
}

func (g *group) metaPolicies(list []metaPolicy) {
	for _, p := range list {
		g.policy(p.name, common.Policy_IMPLICIT_META, &common.ImplicitMetaPolicy{Rule: p.rule, SubPolicy: p.sub})
	}
}

func (g *group) policy(name string, t common.Policy_PolicyType, m proto.Message) {
	b, err := marshal(m)
	if err != nil {
		g.err = errors.Join(g.err, err)
		return
	}
	g.Policies[name] = &common.ConfigPolicy{
		ModPolicy: admins,
		Policy:    &common.Policy{Type: int32(t), Value: b},
	}
}

// signaturePolicy is satisfied by any one of the roles: "OR('Org1MSP.admin', 'Org1MSP.peer')".
type signaturePolicy struct {
	name  string
	roles []msp.MSPRole_MSPRoleType
}

func peerOrgPolicies(p *pki.Public) []signaturePolicy {
	if !p.NodeOUs {
		// Without NodeOUs nobody is a peer or a client, only members and admins exist.
		return append(ordererOrgPolicies(p), signaturePolicy{endorsement, roles(msp.MSPRole_MEMBER)})
	}
	return []signaturePolicy{
		{readers, roles(msp.MSPRole_ADMIN, msp.MSPRole_PEER, msp.MSPRole_CLIENT)},
		{writers, roles(msp.MSPRole_ADMIN, msp.MSPRole_CLIENT)},
		{admins, roles(msp.MSPRole_ADMIN)},
		{endorsement, roles(msp.MSPRole_PEER)},
	}
}

func ordererOrgPolicies(*pki.Public) []signaturePolicy {
	return []signaturePolicy{
		{readers, roles(msp.MSPRole_MEMBER)},
		{writers, roles(msp.MSPRole_MEMBER)},
		{admins, roles(msp.MSPRole_ADMIN)},
	}
}

func roles(r ...msp.MSPRole_MSPRoleType) []msp.MSPRole_MSPRoleType { return r }

func (g *group) signaturePolicies(mspID string, list []signaturePolicy) {
	for _, p := range list {
		var principals []*msp.MSPPrincipal
		for _, r := range p.roles {
			b, err := marshal(&msp.MSPRole{MspIdentifier: mspID, Role: r})
			g.err = errors.Join(g.err, err)
			principals = append(principals, &msp.MSPPrincipal{
				PrincipalClassification: msp.MSPPrincipal_ROLE,
				Principal:               b,
			})
		}
		g.policy(p.name, common.Policy_SIGNATURE, outOf(1, principals))
	}
}

// outOf is satisfied by signatures of n different principals.
func outOf(n int, principals []*msp.MSPPrincipal) *common.SignaturePolicyEnvelope {
	var rules []*common.SignaturePolicy
	for i := range principals {
		rules = append(rules, &common.SignaturePolicy{Type: &common.SignaturePolicy_SignedBy{SignedBy: int32(i)}})
	}
	return &common.SignaturePolicyEnvelope{
		Rule: &common.SignaturePolicy{Type: &common.SignaturePolicy_NOutOf_{
			NOutOf: &common.SignaturePolicy_NOutOf{N: int32(n), Rules: rules},
		}},
		Identities: principals,
	}
}
