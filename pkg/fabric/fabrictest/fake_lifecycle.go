package fabrictest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	sdk "github.com/hyperledger/fabric-admin-sdk/pkg/chaincode"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer/lifecycle"
	"google.golang.org/protobuf/proto"

	"pivt.io/pivt/pkg/chaincode"
)

func key(name string, sequence int64) string { return fmt.Sprintf("%s#%d", name, sequence) }

// undefinedError is the one lifecycle error that comes as status 404.
type undefinedError struct{ name string }

func (e undefinedError) Error() string { return fmt.Sprintf("namespace %s is not defined", e.name) }

// lifecycle answers what does not need ordering; approve and commit only check here.
func (p *peerServer) lifecycle(prop *proposal, function string, arg []byte, mine *state) (proto.Message, error) {
	local := prop.from.admin && prop.from.mspID == p.node.Org.MSPID
	l := p.f.ledgers[prop.channel]
	switch function {
	case "InstallChaincode":
		in := &lifecycle.InstallChaincodeArgs{}
		if err := proto.Unmarshal(arg, in); err != nil || !local {
			return nil, errors.Join(err, errACL)
		}
		return p.f.install(mine, in.GetChaincodeInstallPackage())
	case "QueryInstalledChaincodes":
		if !local {
			return nil, errACL
		}
		r := &lifecycle.QueryInstalledChaincodesResult{}
		for _, id := range slices.Sorted(maps.Keys(mine.installed)) {
			r.InstalledChaincodes = append(r.InstalledChaincodes, &lifecycle.QueryInstalledChaincodesResult_InstalledChaincode{
				PackageId: id, Label: chaincode.Label(id), References: p.f.references(mine, id)})
		}
		return r, nil
	case "GetInstalledChaincodePackage":
		in := &lifecycle.GetInstalledChaincodePackageArgs{}
		if err := proto.Unmarshal(arg, in); err != nil || !local {
			return nil, errors.Join(err, errACL)
		}
		pkg, ok := mine.installed[in.GetPackageId()]
		if !ok {
			return nil, fmt.Errorf("could not load cc install package: chaincode install package '%s' not found", in.GetPackageId())
		}
		return &lifecycle.GetInstalledChaincodePackageResult{ChaincodeInstallPackage: pkg}, nil
	case "QueryChaincodeDefinition":
		in := &lifecycle.QueryChaincodeDefinitionArgs{}
		if err := proto.Unmarshal(arg, in); err != nil {
			return nil, err
		}
		d, ok := l.committed[in.GetName()]
		if !ok {
			return nil, undefinedError{in.GetName()}
		}
		return &lifecycle.QueryChaincodeDefinitionResult{Sequence: d.Sequence, Version: d.Version, EndorsementPlugin: "escc", ValidationPlugin: "vscc",
			ValidationParameter: d.Policy, InitRequired: d.InitRequired, Collections: collections(d), Approvals: l.approvals(d)}, nil
	case "QueryChaincodeDefinitions":
		r := &lifecycle.QueryChaincodeDefinitionsResult{}
		for _, name := range slices.Sorted(maps.Keys(l.committed)) {
			d := l.committed[name]
			r.ChaincodeDefinitions = append(r.ChaincodeDefinitions, &lifecycle.QueryChaincodeDefinitionsResult_ChaincodeDefinition{Name: name,
				Sequence: d.Sequence, Version: d.Version, EndorsementPlugin: "escc", ValidationPlugin: "vscc", ValidationParameter: d.Policy,
				InitRequired: d.InitRequired, Collections: collections(d)})
		}
		return r, nil
	case "QueryApprovedChaincodeDefinition":
		in := &lifecycle.QueryApprovedChaincodeDefinitionArgs{}
		if err := proto.Unmarshal(arg, in); err != nil || !local {
			return nil, errors.Join(err, errACL)
		}
		sequence := in.GetSequence()
		if sequence == 0 {
			if sequence = l.committed[in.GetName()].Sequence; l.approved[key(in.GetName(), sequence+1)][prop.from.mspID].Sequence > 0 {
				sequence++
			}
		}
		a, ok := l.approved[key(in.GetName(), sequence)][prop.from.mspID]
		if !ok {
			return nil, fmt.Errorf("could not fetch approved chaincode definition (name: '%s', sequence: '%d') on channel '%s'",
				in.GetName(), sequence, prop.channel)
		}
		return &lifecycle.QueryApprovedChaincodeDefinitionResult{Sequence: a.Sequence, Version: a.Version, EndorsementPlugin: "escc",
			ValidationPlugin: "vscc", ValidationParameter: a.Policy, InitRequired: a.InitRequired, Collections: collections(a.Definition),
			Source: &lifecycle.ChaincodeSource{Type: &lifecycle.ChaincodeSource_LocalPackage{
				LocalPackage: &lifecycle.ChaincodeSource_Local{PackageId: a.packageID}}}}, nil
	case "CheckCommitReadiness":
		in := &lifecycle.CheckCommitReadinessArgs{}
		if err := proto.Unmarshal(arg, in); err != nil {
			return nil, err
		}
		d := defined(in)
		if err := l.isNext(d); err != nil {
			return nil, err
		}
		return &lifecycle.CheckCommitReadinessResult{Approvals: l.approvals(d)}, nil
	case "ApproveChaincodeDefinitionForMyOrg":
		a, err := approvalOf(arg)
		if err != nil {
			return nil, err
		}
		if !local {
			return nil, errACL
		}
		return &lifecycle.ApproveChaincodeDefinitionForMyOrgResult{}, l.mayApprove(prop.from.mspID, a)
	case "CommitChaincodeDefinition":
		d, err := commitOf(arg)
		if err != nil {
			return nil, err
		}
		if err := l.isNext(d); err != nil {
			return nil, err
		}
		if !l.approvals(d)[p.node.Org.MSPID] {
			return nil, fmt.Errorf("chaincode definition not agreed to by this org (%s)", p.node.Org.MSPID)
		}
		return &lifecycle.CommitChaincodeDefinitionResult{}, nil
	}
	return nil, fmt.Errorf("method %s not found", function)
}

// install builds and keeps a package. Callers hold mu, which is let go during the build.
func (f *Nodes) install(mine *state, pkg []byte) (proto.Message, error) {
	meta, _, err := sdk.ParseChaincodePackage(pkg)
	if err != nil {
		return nil, fmt.Errorf("could not parse as a chaincode install package: %w", err)
	}
	id := chaincode.PackageID(meta.Label, pkg)
	for mine.building[id] { // one at a time; the others wait for its outcome
		f.built.Wait()
	}
	if _, ok := mine.installed[id]; ok {
		return nil, fmt.Errorf("chaincode already successfully installed (package ID '%s')", id)
	}
	mine.builds[meta.Label]++
	mine.building[id] = true
	for mine.held {
		f.built.Wait()
	}
	delete(mine.building, id)
	f.built.Broadcast()
	if strings.HasPrefix(meta.Label, broken) {
		return nil, errors.New("could not build chaincode: external builder failed: external builder failed to build: external builder 'test' failed: exit status 1")
	}
	mine.installed[id] = pkg
	return &lifecycle.InstallChaincodeResult{PackageId: id, Label: meta.Label}, nil
}

// references are the definitions for which a peer's organisation approved a package, where
// the peer is on the channel. Callers hold mu.
func (f *Nodes) references(s *state, id string) map[string]*lifecycle.QueryInstalledChaincodesResult_References {
	all := map[string]*lifecycle.QueryInstalledChaincodesResult_References{}
	for channel := range s.joined {
		refs := &lifecycle.QueryInstalledChaincodesResult_References{}
		for _, d := range f.ledgers[channel].committed {
			if f.runsOn(s, channel, d.Name) == id {
				refs.Chaincodes = append(refs.Chaincodes, &lifecycle.QueryInstalledChaincodesResult_Chaincode{Name: d.Name, Version: d.Version})
			}
		}
		if len(refs.Chaincodes) > 0 {
			all[channel] = refs
		}
	}
	return all
}

// policyOr spells the default out, as Fabric stores it.
func policyOr(policy []byte) []byte {
	if len(policy) > 0 {
		return policy
	}
	b, err := proto.Marshal(&peer.ApplicationPolicy{Type: &peer.ApplicationPolicy_ChannelConfigPolicyReference{
		ChannelConfigPolicyReference: chaincode.DefaultPolicyReference}})
	if err != nil {
		panic("unreachable: one string always marshals: " + err.Error())
	}
	return b
}

// asked is what arguments about a definition have in common.
type asked interface {
	GetName() string
	GetSequence() int64
	GetVersion() string
	GetValidationParameter() []byte
	GetCollections() *peer.CollectionConfigPackage
	GetInitRequired() bool
}

func defined(in asked) chaincode.Definition {
	collections, err := proto.MarshalOptions{Deterministic: true}.Marshal(in.GetCollections())
	if err != nil {
		panic("unreachable: what was just read can be written: " + err.Error())
	}
	return chaincode.Definition{Name: in.GetName(), Sequence: in.GetSequence(), Parameters: chaincode.Parameters{
		Version: in.GetVersion(), Policy: policyOr(in.GetValidationParameter()), Collections: collections, InitRequired: in.GetInitRequired()}}
}

func collections(d chaincode.Definition) *peer.CollectionConfigPackage {
	c := &peer.CollectionConfigPackage{}
	if err := proto.Unmarshal(d.Collections, c); err != nil {
		panic("unreachable: defined wrote it: " + err.Error())
	}
	return c
}

func approvalOf(arg []byte) (approved, error) {
	in := &lifecycle.ApproveChaincodeDefinitionForMyOrgArgs{}
	if err := proto.Unmarshal(arg, in); err != nil {
		return approved{}, err
	}
	return approved{defined(in), in.GetSource().GetLocalPackage().GetPackageId()}, nil
}

func commitOf(arg []byte) (chaincode.Definition, error) {
	in := &lifecycle.CommitChaincodeDefinitionArgs{}
	if err := proto.Unmarshal(arg, in); err != nil {
		return chaincode.Definition{}, err
	}
	return defined(in), nil
}

func (l *ledger) isNext(d chaincode.Definition) error {
	if next := l.committed[d.Name].Sequence + 1; d.Sequence != next {
		return fmt.Errorf("requested sequence is %d, but new definition must be sequence %d", d.Sequence, next)
	}
	return nil
}

// approvals says which members have approved just this definition.
func (l *ledger) approvals(d chaincode.Definition) map[string]bool {
	all := map[string]bool{}
	for _, mspID := range l.members {
		a, ok := l.approved[key(d.Name, d.Sequence)][mspID]
		all[mspID] = ok && a.Equal(d.Parameters)
	}
	return all
}

func (l *ledger) mayApprove(mspID string, a approved) error {
	current, committed := l.committed[a.Name]
	had, again := l.approved[key(a.Name, a.Sequence)][mspID]
	same := again && had.Equal(a.Parameters) && had.packageID == a.packageID
	switch {
	case a.Sequence < current.Sequence:
		return fmt.Errorf("currently defined sequence %d is larger than requested sequence %d", current.Sequence, a.Sequence)
	case a.Sequence > current.Sequence+1:
		return fmt.Errorf("requested sequence %d is larger than the next available sequence number %d", a.Sequence, current.Sequence+1)
	case committed && a.Sequence == current.Sequence && !current.Equal(a.Parameters):
		return fmt.Errorf("attempted to redefine the current committed sequence (%d) for namespace %s with different parameters: they differ", a.Sequence, a.Name)
	case committed && a.Sequence == current.Sequence && same:
		return fmt.Errorf("attempted to redefine the current committed sequence (%d) for namespace %s", a.Sequence, a.Name)
	case same:
		return fmt.Errorf("attempted to redefine uncommitted sequence (%d) for namespace %s with unchanged content", a.Sequence, a.Name)
	}
	return nil
}
