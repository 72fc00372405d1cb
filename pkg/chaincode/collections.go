package chaincode

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"pivt.io/pivt/pkg/network"
)

// collectionPackage serializes collections as "peer lifecycle chaincode approveformyorg
// --collections-config" does; nil for none.
func collectionPackage(cs []*network.Collection) ([]byte, error) {
	if len(cs) == 0 {
		return nil, nil
	}
	pkg := &peer.CollectionConfigPackage{}
	for _, c := range cs {
		static, err := collection(c)
		if err != nil {
			return nil, fmt.Errorf("collection %q: %w", c.Name, err)
		}
		pkg.Config = append(pkg.Config, &peer.CollectionConfig{
			Payload: &peer.CollectionConfig_StaticCollectionConfig{StaticCollectionConfig: static}})
	}
	return marshal.Marshal(pkg)
}

func collection(c *network.Collection) (*peer.StaticCollectionConfig, error) {
	members, err := applicationPolicy(c.Policy)
	if err != nil {
		return nil, fmt.Errorf("policy %q: %w", c.Policy, err)
	}
	if members.GetSignaturePolicy() == nil {
		return nil, fmt.Errorf("policy %q does not list organisations", c.Policy)
	}
	endorsers, err := applicationPolicy(c.EndorsementPolicy)
	if err != nil {
		return nil, fmt.Errorf("endorsementPolicy %q: %w", c.EndorsementPolicy, err)
	}
	return &peer.StaticCollectionConfig{
		Name: c.Name,
		MemberOrgsPolicy: &peer.CollectionPolicyConfig{
			Payload: &peer.CollectionPolicyConfig_SignaturePolicy{SignaturePolicy: members.GetSignaturePolicy()}},
		RequiredPeerCount: c.RequiredPeerCount,
		MaximumPeerCount:  c.MaxPeerCount,
		BlockToLive:       c.BlockToLive,
		MemberOnlyRead:    c.MemberOnlyRead,
		MemberOnlyWrite:   c.MemberOnlyWrite,
		EndorsementPolicy: endorsers,
	}, nil
}

// CollectionsOf reads serialized collections back as the files write them.
func CollectionsOf(collections []byte) ([]*network.Collection, error) {
	pkg := &peer.CollectionConfigPackage{}
	if err := proto.Unmarshal(collections, pkg); err != nil {
		return nil, fmt.Errorf("reading collections: %w", err)
	}
	var cs []*network.Collection
	for _, config := range pkg.GetConfig() {
		s := config.GetStaticCollectionConfig()
		if s == nil {
			return nil, errors.New("reading collections: one is of a kind that this version does not know")
		}
		c := &network.Collection{Name: s.GetName(), RequiredPeerCount: s.GetRequiredPeerCount(), MaxPeerCount: s.GetMaximumPeerCount(),
			BlockToLive: s.GetBlockToLive(), MemberOnlyRead: s.GetMemberOnlyRead(), MemberOnlyWrite: s.GetMemberOnlyWrite()}
		var err error
		if c.Policy, err = signatureText(s.GetMemberOrgsPolicy().GetSignaturePolicy()); err != nil {
			return nil, fmt.Errorf("reading collection %q: %w", c.Name, err)
		}
		if e := s.GetEndorsementPolicy(); e != nil {
			if c.EndorsementPolicy, err = policyText(e); err != nil {
				return nil, fmt.Errorf("reading collection %q: endorsement policy: %w", c.Name, err)
			}
		}
		cs = append(cs, c)
	}
	return cs, nil
}

// collectionDifferences names the collections in which two serialized packages differ.
func collectionDifferences(ours, theirs []byte) []string {
	x, y := &peer.CollectionConfigPackage{}, &peer.CollectionConfigPackage{}
	switch errX, errY := proto.Unmarshal(ours, x), proto.Unmarshal(theirs, y); {
	case bytes.Equal(ours, theirs):
		return nil
	case errX != nil || errY != nil:
		return []string{"collections"}
	case proto.Equal(x, y):
		return nil
	}
	before := map[string]*peer.CollectionConfig{}
	for _, c := range y.GetConfig() {
		before[c.GetStaticCollectionConfig().GetName()] = c
	}
	var d []string
	for _, c := range x.GetConfig() {
		name := c.GetStaticCollectionConfig().GetName()
		switch old, ok := before[name]; {
		case !ok:
			d = append(d, fmt.Sprintf("new collection %s", name))
		case !proto.Equal(c, old):
			d = append(d, fmt.Sprintf("changed collection %s", name))
		}
		delete(before, name)
	}
	for _, c := range y.GetConfig() {
		if name := c.GetStaticCollectionConfig().GetName(); before[name] != nil {
			d = append(d, fmt.Sprintf("without collection %s", name))
		}
	}
	if d == nil {
		d = append(d, "other order of collections")
	}
	return d
}
