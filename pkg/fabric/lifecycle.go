package fabric

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	sdk "github.com/hyperledger/fabric-admin-sdk/pkg/chaincode"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer/lifecycle"
	"google.golang.org/protobuf/proto"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/exit"
)

const lifecycleName = "_lifecycle"

// Installed lists the ids of the packages on this peer, sorted. Admins only.
func (p *Peer) Installed(ctx context.Context) ([]string, error) {
	packages, err := p.Packages(ctx)
	var ids []string
	for _, pkg := range packages {
		ids = append(ids, pkg.ID)
	}
	return ids, err
}

// Package is a chaincode package on a peer.
type Package struct {
	ID    string
	Label string
	Uses  []Use // by channel and chaincode; none if no channel's definition refers to it
}

// Use is a committed definition for which the peer's organisation approved a package.
type Use struct{ Channel, Chaincode, Version string }

// Packages lists the packages on this peer by id. Admins only.
func (p *Peer) Packages(ctx context.Context) ([]Package, error) {
	result, err := sdk.NewPeer(p.conn, p.id).QueryInstalled(ctx)
	if err != nil {
		return nil, classify(ctx, p.e.Address, err)
	}
	var all []Package
	for _, cc := range result.GetInstalledChaincodes() {
		pkg := Package{ID: cc.GetPackageId(), Label: cc.GetLabel()}
		for channel, found := range cc.GetReferences() {
			for _, ref := range found.GetChaincodes() {
				pkg.Uses = append(pkg.Uses, Use{channel, ref.GetName(), ref.GetVersion()})
			}
		}
		slices.SortFunc(pkg.Uses, func(a, b Use) int {
			return cmp.Or(strings.Compare(a.Channel, b.Channel), strings.Compare(a.Chaincode, b.Chaincode))
		})
		all = append(all, pkg)
	}
	slices.SortFunc(all, func(a, b Package) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}

// InstalledPackage is a package as it was installed; ErrNotInstalled if the peer has none of
// that id. Admins only.
func (p *Peer) InstalledPackage(ctx context.Context, id string) ([]byte, error) {
	pkg, err := sdk.NewPeer(p.conn, p.id).GetInstalled(ctx, id)
	return pkg, classify(ctx, p.e.Address, err)
}

// Install puts a package on this peer, which builds it before it answers, and returns its id;
// ErrExists if it is there already, ErrBuild if it cannot be built. A build that goes on after
// the peer, or the caller, stopped waiting may be joined by installing again: the peer builds a
// package once at a time. Admins only.
func (p *Peer) Install(ctx context.Context, pkg []byte) (string, error) {
	result, err := sdk.NewPeer(p.conn, p.id).Install(ctx, bytes.NewReader(pkg))
	if err == nil {
		return result.GetPackageId(), nil
	}
	if err = classify(ctx, p.e.Address, err); errors.Is(err, ErrSlow) {
		err = exit.Transient(err)
	}
	return "", err
}

// Committed is a chaincode's definition on a channel and which organisations (MSP ids) have
// approved just that.
type Committed struct {
	chaincode.Definition
	Approvals map[string]bool
}

// Committed is the chaincode's definition on the channel; ErrNotDefined if there is none.
func (p *Peer) Committed(ctx context.Context, channel, name string) (*Committed, error) {
	arg, err := proto.Marshal(&lifecycle.QueryChaincodeDefinitionArgs{Name: name})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.e.Address, err)
	}
	r := &lifecycle.QueryChaincodeDefinitionResult{}
	if err := p.ask(ctx, channel, lifecycleName, "QueryChaincodeDefinition", arg, r); err != nil {
		return nil, err
	}
	d, err := definition(name, r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.e.Address, err)
	}
	return &Committed{d, r.GetApprovals()}, nil
}

// Definitions lists everything that is defined on a channel, by name. Approvals are not told.
func (p *Peer) Definitions(ctx context.Context, channel string) ([]chaincode.Definition, error) {
	arg, err := proto.Marshal(&lifecycle.QueryChaincodeDefinitionsArgs{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.e.Address, err)
	}
	r := &lifecycle.QueryChaincodeDefinitionsResult{}
	if err := p.ask(ctx, channel, lifecycleName, "QueryChaincodeDefinitions", arg, r); err != nil {
		return nil, err
	}
	var all []chaincode.Definition
	for _, cc := range r.GetChaincodeDefinitions() {
		d, err := definition(cc.GetName(), cc)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.e.Address, err)
		}
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b chaincode.Definition) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Approved is what an organisation has approved for one sequence number.
type Approved struct {
	chaincode.Definition
	PackageID string // "" if the organisation approved without running the chaincode itself
}

// Approved is what the identity's organisation has approved for a sequence number, which may
// be a former one, or nil. Number 0 means the newest: the next definition if it is approved
// already, else the committed one.
// Admins only, and of the peer's own organisation.
func (p *Peer) Approved(ctx context.Context, channel, name string, sequence int64) (*Approved, error) {
	arg, err := proto.Marshal(&lifecycle.QueryApprovedChaincodeDefinitionArgs{Name: name, Sequence: sequence})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.e.Address, err)
	}
	r := &lifecycle.QueryApprovedChaincodeDefinitionResult{}
	err = p.ask(ctx, channel, lifecycleName, "QueryApprovedChaincodeDefinition", arg, r)
	if errors.Is(err, ErrNotDefined) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d, err := definition(name, r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.e.Address, err)
	}
	return &Approved{d, r.GetSource().GetLocalPackage().GetPackageId()}, nil
}

// Approve approves a definition for the identity's organisation and waits for the block;
// ErrUnchanged if that is approved already, ErrStale if another sequence number is due.
func (p *Peer) Approve(ctx context.Context, channel string, d chaincode.Definition, packageID string) error {
	def, err := sdkDefinition(channel, d)
	if err != nil {
		return fmt.Errorf("%s: %w", p.e.Address, err)
	}
	def.PackageID = packageID
	return classify(ctx, p.e.Address, sdk.NewGateway(p.conn, p.id).Approve(ctx, def))
}

// Readiness says for each organisation of the channel (MSP id) whether it has approved d.
func (p *Peer) Readiness(ctx context.Context, channel string, d chaincode.Definition) (map[string]bool, error) {
	def, err := sdkDefinition(channel, d)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.e.Address, err)
	}
	arg, err := proto.Marshal(&lifecycle.CheckCommitReadinessArgs{Name: d.Name, Version: d.Version, Sequence: d.Sequence,
		EndorsementPlugin: d.EndorsementPlugin, ValidationPlugin: d.ValidationPlugin, ValidationParameter: d.Policy,
		Collections: def.Collections, InitRequired: d.InitRequired})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.e.Address, err)
	}
	r := &lifecycle.CheckCommitReadinessResult{}
	if err := p.ask(ctx, channel, lifecycleName, "CheckCommitReadiness", arg, r); err != nil {
		return nil, err
	}
	return r.GetApprovals(), nil
}

// Commit commits a definition to the channel and waits for the block.
func (p *Peer) Commit(ctx context.Context, channel string, d chaincode.Definition) error {
	def, err := sdkDefinition(channel, d)
	if err != nil {
		return fmt.Errorf("%s: %w", p.e.Address, err)
	}
	return classify(ctx, p.e.Address, sdk.NewGateway(p.conn, p.id).Commit(ctx, def))
}

// defined is what the results of all lifecycle queries have in common.
type defined interface {
	GetSequence() int64
	GetVersion() string
	GetEndorsementPlugin() string
	GetValidationPlugin() string
	GetValidationParameter() []byte
	GetCollections() *peer.CollectionConfigPackage
	GetInitRequired() bool
}

func definition(name string, r defined) (chaincode.Definition, error) {
	collections, err := proto.Marshal(r.GetCollections())
	if err != nil {
		return chaincode.Definition{}, fmt.Errorf("reading the collections of chaincode %q: %w", name, err)
	}
	return chaincode.Definition{Name: name, Sequence: r.GetSequence(), Parameters: chaincode.Parameters{
		Version: r.GetVersion(), EndorsementPlugin: r.GetEndorsementPlugin(), ValidationPlugin: r.GetValidationPlugin(),
		Policy: r.GetValidationParameter(), Collections: collections, InitRequired: r.GetInitRequired()}}, nil
}

func sdkDefinition(channel string, d chaincode.Definition) (*sdk.Definition, error) {
	def := &sdk.Definition{ChannelName: channel, Name: d.Name, Version: d.Version, Sequence: d.Sequence,
		EndorsementPlugin: d.EndorsementPlugin, ValidationPlugin: d.ValidationPlugin, InitRequired: d.InitRequired}
	if len(d.Policy) > 0 {
		def.ApplicationPolicy = &peer.ApplicationPolicy{}
		if err := proto.Unmarshal(d.Policy, def.ApplicationPolicy); err != nil {
			return nil, fmt.Errorf("endorsement policy of chaincode %q: %w", d.Name, err)
		}
	}
	if len(d.Collections) > 0 {
		def.Collections = &peer.CollectionConfigPackage{}
		if err := proto.Unmarshal(d.Collections, def.Collections); err != nil {
			return nil, fmt.Errorf("collections of chaincode %q: %w", d.Name, err)
		}
	}
	return def, nil
}
