package deploy

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/chart"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// serve brings the chaincode servers that a flow is about up to date, and with them keys and
// release: a new version is a new package id, by which nobody answers until the pods know it.
// Where nothing is installed yet, that is left to Install.
func (d *Deployment) serve(ctx context.Context, include []string) ([]Change, error) {
	if !slices.ContainsFunc(d.Network.Chaincodes, func(cc *network.Chaincode) bool {
		return cc.Service != nil && cc.Service.Image != "" && (len(include) == 0 || slices.Contains(include, cc.Name))
	}) {
		return nil, nil
	}
	if revisions, err := chart.History(d.Kube); err != nil || len(revisions) == 0 {
		return nil, err
	}
	if err := d.NotHeld(ctx); err != nil {
		return nil, err
	}
	material, changes, err := d.keys(ctx)
	if err != nil {
		return changes, err
	}
	applied, err := d.secrets(ctx, material)
	changes = append(changes, applied...)
	if err != nil {
		return changes, err
	}
	released, err := d.release(ctx)
	return append(changes, released...), err
}

// servers makes what an organisation's chaincode servers are told: each its package id, which
// is a hash that no chart can compute, and those with TLS their keys.
func servers(n *network.Network, org *network.Org, om *pki.OrgMaterial) ([]runtime.Object, error) {
	var objects []runtime.Object
	for _, cc := range n.Chaincodes {
		if cc.Service == nil || cc.Service.Image == "" || !slices.Contains(cc.Orgs, org) {
			continue
		}
		pkg, err := chaincode.Package(cc, org)
		if err != nil {
			return nil, err
		}
		name, l := org.ChaincodeService(cc), labels(org, nil)
		l[labelChaincode] = network.Shorten(network.Label(cc.Name), 63)
		objects = append(objects, &corev1.ConfigMap{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: l},
			Data:       map[string]string{"id": chaincode.PackageID(cc.Label(), pkg)},
		})
		if cc.Service.TLS != network.ServerTLS && cc.Service.TLS != network.MutualTLS {
			continue
		}
		pair, ok := om.Servers[cc.Name]
		if !ok {
			return nil, fmt.Errorf("the server of chaincode %q has no key and certificate in org %q", cc.Name, org.Name)
		}
		s := secret(name+"-tls", org, nil, serverTLS(pair, om.Public.TLSRoots()))
		s.Labels = l
		objects = append(objects, s)
	}
	return objects, nil
}

// serverTLS has the pair in every form that a shim reads: files for Go's and Node's, and for
// Java's base64 and one file with both, since it looks for the key in the certificate's.
func serverTLS(pair pki.KeyPair, roots []byte) map[string][]byte {
	return map[string][]byte{
		"server.crt":     pair.CertPEM,
		"server.key":     pair.KeyPEM,
		"ca.crt":         roots,
		"server.pem":     bytes.Join([][]byte{bytes.TrimSpace(pair.CertPEM), bytes.TrimSpace(pair.KeyPEM), nil}, []byte("\n")),
		"server.crt.b64": []byte(base64.StdEncoding.EncodeToString(pair.CertPEM)),
		"server.key.b64": []byte(base64.StdEncoding.EncodeToString(pair.KeyPEM)),
	}
}
