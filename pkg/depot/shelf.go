package depot

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/network"
)

// Shelf finds the package of any chaincode of a network: it is made, read or pulled, as the
// files say.
type Shelf struct {
	ConfigMaps typed.ConfigMapInterface // of the network's namespace
	Keychain   authn.Keychain           // of registries; nil for none
}

// Package is the package that the organisation's peers install.
func (s Shelf) Package(ctx context.Context, cc *network.Chaincode, o *network.Org) ([]byte, error) {
	switch {
	case cc.Source != "":
		pkg, err := Get(ctx, s.ConfigMaps, cc.Label())
		if err != nil {
			return nil, fmt.Errorf("chaincode %q: %w", cc.Name, err)
		}
		return pkg, nil
	case cc.Package != "":
		pkg, err := Pull(ctx, cc.Package, s.Keychain)
		if err != nil {
			return nil, fmt.Errorf("chaincode %q: %w", cc.Name, err)
		}
		return pkg, nil
	}
	return chaincode.Package(cc, o)
}
