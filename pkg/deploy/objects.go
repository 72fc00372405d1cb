package deploy

import (
	"bytes"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// Labels of everything that pivt itself applies beside the Helm release.
const (
	labelPartOf    = "app.kubernetes.io/part-of"
	labelManagedBy = "app.kubernetes.io/managed-by"
	labelOrg       = "pivt.io/org"
	labelNode      = "pivt.io/node"
	labelChaincode = "pivt.io/chaincode"
	managedBy      = "pivt"
	// chaincodePods selects what peers' launchers make.
	chaincodePods = "app.kubernetes.io/component=chaincode"
)

// Objects makes the Secrets with the keys that pods need, what chaincode servers are told, and
// the ConfigMap with every organisation's certificates. They are applied beside the Helm
// release and never inside it, because a release keeps what it installed in its history. CA
// keys are in none.
// Of values, the merged files, only what decides about Secrets is read.
func Objects(n *network.Network, m *pki.Material, values map[string]any) ([]*unstructured.Unstructured, error) {
	var objects []runtime.Object
	public := map[string]string{}
	for _, org := range n.Orgs() {
		om := m.Orgs[org.Name]
		if om == nil {
			return nil, fmt.Errorf("org %q has no keys and certificates", org.Name)
		}
		public[org.PublicKey()] = string(om.Public.Marshal())
		objects = append(objects, secret(org.AdminSecret(), org, nil, map[string][]byte{
			"cert.pem": om.Admin.CertPEM, "key.pem": om.Admin.KeyPEM,
			"tls.crt": om.AdminTLS.CertPEM, "tls.key": om.AdminTLS.KeyPEM,
		}))
		if org.Kind == network.Peer {
			objects = append(objects, secret(org.ClientSecret(), org, nil, map[string][]byte{
				"cert.pem": om.Client.CertPEM, "key.pem": om.Client.KeyPEM,
			}))
		}
		told, err := servers(n, org, om)
		if err != nil {
			return nil, err
		}
		objects = append(objects, told...)
		for _, node := range org.Nodes {
			nm := om.Nodes[node.Hostname]
			if nm == nil {
				return nil, fmt.Errorf("%s has no keys and certificates", node.CommonName)
			}
			objects = append(objects, nodeSecrets(n, m, node, om, nm)...)
			if node.Org.Kind == network.Peer && usesCouchDB(values) {
				password, err := couchDBPassword(node, nm)
				if err != nil {
					return nil, err
				}
				objects = append(objects, secret(node.CouchDBSecret(), org, node, map[string][]byte{
					"username": []byte(couchDBUser), "password": []byte(password),
				}))
			}
		}
	}
	objects = append(objects, &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: network.MSPConfigMap, Labels: labels(nil, nil)},
		Data:       public,
	})
	return toUnstructured(objects)
}

func nodeSecrets(n *network.Network, m *pki.Material, node *network.Node, om *pki.OrgMaterial, nm *pki.NodeMaterial) []runtime.Object {
	msp := map[string][]byte{
		"cacert.pem":    pems(om.Public.RootCerts),
		"tlscacert.pem": pems(om.Public.TLSRootCerts),
		"signcert.pem":  nm.MSP.CertPEM,
		"key.pem":       nm.MSP.KeyPEM,
	}
	if node.Org.NodeOUs {
		msp["config.yaml"] = nm.ConfigYAML
	} else {
		msp["admincert.pem"] = om.Admin.CertPEM
	}
	tls := map[string][]byte{
		"server.crt": nm.TLS.CertPEM,
		"server.key": nm.TLS.KeyPEM,
		"ca.crt":     pems(om.Public.TLSRootCerts),
	}
	if node.Org.Kind == network.Orderer {
		// Orderers of several organisations form one cluster and check each other's
		// client certificates.
		var all [][]byte
		for _, o := range n.OrdererOrgs {
			if om := m.Orgs[o.Name]; om != nil { // Objects refuses one that is missing
				all = append(all, pems(om.Public.TLSRootCerts))
			}
		}
		tls["clients.crt"] = bytes.Join(all, nil)
	}
	return []runtime.Object{
		secret(node.MSPSecret(), node.Org, node, msp),
		secret(node.TLSSecret(), node.Org, node, tls),
	}
}

func secret(name string, org *network.Org, node *network.Node, data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels(org, node)},
		Type:       corev1.SecretTypeOpaque,
		Data:       data,
	}
}

func labels(org *network.Org, node *network.Node) map[string]string {
	l := map[string]string{labelPartOf: network.Release, labelManagedBy: managedBy}
	if org != nil {
		l[labelOrg] = org.Label()
	}
	if node != nil {
		l[labelNode] = node.Name()
	}
	return l
}

func pems(certs []string) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		b.WriteString(c)
		if len(c) > 0 && c[len(c)-1] != '\n' {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

func toUnstructured(objects []runtime.Object) ([]*unstructured.Unstructured, error) {
	out := make([]*unstructured.Unstructured, len(objects))
	for i, o := range objects {
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			return nil, fmt.Errorf("converting %T: %w", o, err)
		}
		// The zero time of a typed object would be applied as a field of ours.
		unstructured.RemoveNestedField(fields, "metadata", "creationTimestamp")
		out[i] = &unstructured.Unstructured{Object: fields}
	}
	return out, nil
}
