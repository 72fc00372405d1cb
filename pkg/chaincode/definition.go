package chaincode

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/proto"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// Fabric's defaults for what a definition leaves out.
const (
	DefaultEndorsementPlugin = "escc"
	DefaultValidationPlugin  = "vscc"
	DefaultPolicyReference   = "/Channel/Application/Endorsement"
)

// Parameters are what the organisations of a channel agree on when they approve a chaincode.
type Parameters struct {
	Version           string
	EndorsementPlugin string // "" is DefaultEndorsementPlugin
	ValidationPlugin  string // "" is DefaultValidationPlugin
	// Policy is a serialized peer.ApplicationPolicy; nil refers to DefaultPolicyReference.
	Policy []byte
	// Collections is a serialized peer.CollectionConfigPackage.
	Collections  []byte
	InitRequired bool
}

// Definition is a chaincode's definition on one channel.
type Definition struct {
	Name     string
	Sequence int64
	Parameters
}

// Wanted are the parameters the files ask for.
func Wanted(cc *network.Chaincode, on *network.ChaincodeChannel) (Parameters, error) {
	fail := func(err error) (Parameters, error) {
		return Parameters{}, exit.With(fmt.Errorf("chaincode %q on channel %q: %w", cc.Name, on.Channel.Name, err), exit.Invalid)
	}
	p := Parameters{Version: cc.Version, InitRequired: cc.Init != nil}
	policy, err := applicationPolicy(on.Policy)
	if err != nil {
		return fail(fmt.Errorf("endorsement policy %q: %w", on.Policy, err))
	}
	if policy != nil {
		if p.Policy, err = marshal.Marshal(policy); err != nil {
			return fail(err)
		}
	}
	if p.Collections, err = collectionPackage(on.Collections); err != nil {
		return fail(err)
	}
	return p, nil
}

// Differences names the parameters in which p and other differ, in a fixed order; none means
// that Fabric would call the two definitions equal.
func (p Parameters) Differences(other Parameters) []string {
	var d []string
	if p.Version != other.Version {
		d = append(d, fmt.Sprintf("version %s instead of %s", p.Version, other.Version))
	}
	if orDefault(p.EndorsementPlugin, DefaultEndorsementPlugin) != orDefault(other.EndorsementPlugin, DefaultEndorsementPlugin) {
		d = append(d, "endorsement plugin")
	}
	if orDefault(p.ValidationPlugin, DefaultValidationPlugin) != orDefault(other.ValidationPlugin, DefaultValidationPlugin) {
		d = append(d, "validation plugin")
	}
	if !samePolicy(p.Policy, other.Policy) {
		d = append(d, fmt.Sprintf("endorsement policy %s instead of %s", PolicyString(p.Policy), PolicyString(other.Policy)))
	}
	d = append(d, collectionDifferences(p.Collections, other.Collections)...)
	if p.InitRequired != other.InitRequired {
		d = append(d, "init required")
	}
	return d
}

// Equal reports whether Fabric would call the two the same.
func (p Parameters) Equal(other Parameters) bool { return len(p.Differences(other)) == 0 }

// Next is the definition to approve and commit when p is wanted and committed is what the
// channel has, nil for nothing. Fabric counts up by one with every change and refuses gaps;
// what is unchanged keeps its number.
func Next(name string, p Parameters, committed *Definition) Definition {
	d := Definition{Name: name, Sequence: 1, Parameters: p}
	switch {
	case committed == nil:
	case committed.Equal(p):
		d.Sequence = committed.Sequence
	default:
		d.Sequence = committed.Sequence + 1
	}
	return d
}

func samePolicy(a, b []byte) bool {
	x, errX := parsePolicy(a)
	y, errY := parsePolicy(b)
	if errX != nil || errY != nil {
		return bytes.Equal(a, b)
	}
	return proto.Equal(x, y)
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
