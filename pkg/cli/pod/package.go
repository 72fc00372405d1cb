package pod

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/depot"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/runtime"
)

// packages knows where the packages of chaincodes come from.
type packages struct {
	// maps are the ConfigMaps of the pod's namespace. They are asked for only where a
	// package is there: other steps need no right to anything in Kubernetes.
	maps     func() (typed.ConfigMapInterface, error)
	keychain authn.Keychain
}

func newPackages(env func(string) string) packages {
	return packages{
		maps: func() (typed.ConfigMapInterface, error) { return configMaps(env) },
		// It reads config.json in the directory that DOCKER_CONFIG names, where the chart
		// mounts a pull secret.
		keychain: authn.DefaultKeychain,
	}
}

// get makes the packages of images and services from the files, and fetches all others:
// source is packaged once, where it is, so that every organisation installs the same bytes.
func (p packages) get(ctx context.Context, cc *network.Chaincode, o *network.Org) ([]byte, error) {
	switch {
	case cc.Package != "":
		return depot.Pull(ctx, cc.Package, p.keychain)
	case cc.Source != "":
		maps, err := p.maps()
		if err != nil {
			return nil, err
		}
		return depot.Get(ctx, maps, cc.Label())
	}
	return chaincode.Package(cc, o)
}

func configMaps(env func(string) string) (typed.ConfigMapInterface, error) {
	client, err := runtime.InCluster(env)
	if err != nil {
		return nil, err
	}
	dir := cmp.Or(env("PIVT_SERVICE_ACCOUNT"), "/var/run/secrets/kubernetes.io/serviceaccount")
	namespace, err := os.ReadFile(filepath.Join(dir, "namespace"))
	if err != nil {
		return nil, fmt.Errorf("reading the pod's namespace: %w", err)
	}
	return client.ConfigMaps(strings.TrimSpace(string(namespace))), nil
}
