package deploy_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/chart"
	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/deploy/deploytest"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// withServers has a chaincode of each kind of server, and one that others serve.
const withServers = `
network:
  chaincodes:
    - {name: plain, version: "1.0", service: {image: pivt/server@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, tls: none}, channels: [{name: common}]}
    - {name: My_TLS, version: "1.0", service: {image: pivt/server@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, tls: tls}, channels: [{name: private.karga}]}
    - {name: mutual, version: "1.0", service: {image: pivt/server@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, tls: mtls, port: 7000, replicas: 2}, channels: [{name: common}]}
    - {name: elsewhere, version: "1.0", service: "elsewhere.example.com:9999", channels: [{name: common}]}
`

// told lists what was made for servers: "Kind/name: keys".
func told(t *testing.T, objects []*unstructured.Unstructured) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, o := range objects {
		if !strings.HasPrefix(o.GetName(), "hlf-chaincode--") {
			continue
		}
		data, _, err := unstructured.NestedMap(o.Object, "data")
		if err != nil {
			t.Fatal(err)
		}
		keys := make([]string, 0, len(data))
		for k := range data {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		all[o.GetKind()+"/"+o.GetName()] = keys
	}
	return all
}

func TestServers(t *testing.T) {
	t.Parallel()
	n, values := loaded(t, withServers)
	made := objects(t, n, material(t, n), values)
	id, keys := []string{"id"}, []string{"ca.crt", "server.crt", "server.crt.b64", "server.key", "server.key.b64", "server.pem"}
	want := map[string][]string{
		"ConfigMap/hlf-chaincode--karga--plain":        id,
		"ConfigMap/hlf-chaincode--nevergreen--plain":   id,
		"ConfigMap/hlf-chaincode--karga--my-tls":       id,
		"Secret/hlf-chaincode--karga--my-tls-tls":      keys,
		"ConfigMap/hlf-chaincode--karga--mutual":       id,
		"Secret/hlf-chaincode--karga--mutual-tls":      keys,
		"ConfigMap/hlf-chaincode--nevergreen--mutual":  id,
		"Secret/hlf-chaincode--nevergreen--mutual-tls": keys,
	}
	if diff := cmp.Diff(want, told(t, made)); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
	for _, o := range made {
		if name := o.GetName(); strings.HasPrefix(name, "hlf-chaincode--karga--my-tls") {
			l := o.GetLabels()
			if l["app.kubernetes.io/managed-by"] != "pivt" || l["pivt.io/org"] != "karga" || l["pivt.io/chaincode"] != "my-tls" {
				t.Errorf("%s has labels %v", name, l)
			}
		}
	}
}

// The id is the one that the peers of the organisation give to the package that they install.
func TestServersKnowTheirPackage(t *testing.T) {
	t.Parallel()
	const version2 = "network: {chaincodes: [{name: mutual, version: '2.0', service: {image: pivt/server@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, tls: mtls, port: 7000}, channels: [{name: common}]}]}"
	seen := map[string]string{}
	for _, more := range []string{withServers, version2} {
		n, values := loaded(t, more)
		cc := n.Chaincode("mutual")
		for _, o := range objects(t, n, material(t, n), values) {
			org := n.Org("Karga")
			if strings.Contains(o.GetName(), "nevergreen") {
				org = n.Org("Nevergreen")
			}
			if o.GetKind() != "ConfigMap" || o.GetName() != org.ChaincodeService(cc) {
				continue
			}
			got, _, err := unstructured.NestedString(o.Object, "data", "id")
			if err != nil {
				t.Fatal(err)
			}
			pkg, err := chaincode.Package(cc, org)
			if err != nil {
				t.Fatal(err)
			}
			if want := chaincode.PackageID(cc.Label(), pkg); got != want {
				t.Errorf("%s of version %s is told %s, its package is %s", o.GetName(), cc.Version, got, want)
			}
			if other, ok := seen[got]; ok {
				t.Errorf("%s has the id of %s", o.GetName(), other)
			}
			seen[got] = o.GetName()
		}
	}
	if len(seen) != 4 {
		t.Errorf("saw %d ids, want those of two organisations in two versions", len(seen))
	}
}

func TestServerKeys(t *testing.T) {
	t.Parallel()
	n, values := loaded(t, withServers)
	m := material(t, n)
	s := secretsOf(t, objects(t, n, m, values))["hlf-chaincode--karga--mutual-tls"].Data
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s["ca.crt"]) {
		t.Fatal("ca.crt holds no certificate")
	}
	decode := func(key string) []byte {
		b, err := base64.StdEncoding.DecodeString(string(s[key]))
		if err != nil {
			t.Errorf("%s: %v; Java takes no other base64", key, err)
		}
		return b
	}
	forms := map[string][2][]byte{
		"files":    {s["server.crt"], s["server.key"]},
		"one file": {s["server.pem"], s["server.pem"]},
		"base64":   {decode("server.crt.b64"), decode("server.key.b64")},
	}
	for form, f := range forms {
		pair, err := tls.X509KeyPair(f[0], f[1])
		if err != nil {
			t.Errorf("%s: %v", form, err)
			continue
		}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "hlf-chaincode--karga--mutual", Roots: roots, CurrentTime: now()}); err != nil {
			t.Errorf("%s: a peer would refuse the server: %v", form, err)
		}
	}
	// With mutual TLS, ca.crt is also what the server checks peers by.
	peer, err := tls.X509KeyPair(m.Orgs["Karga"].Nodes["peer0"].TLS.CertPEM, m.Orgs["Karga"].Nodes["peer0"].TLS.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("the server would refuse its organisation's peer: %v", err)
	}
	other, err := tls.X509KeyPair(m.Orgs["Nevergreen"].Nodes["peer0"].TLS.CertPEM, m.Orgs["Nevergreen"].Nodes["peer0"].TLS.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err == nil {
		t.Error("the server would take another organisation's peer")
	}
}

// A pod waits for ever for an object that nobody makes.
func TestServersGetWhatTheChartMounts(t *testing.T) {
	t.Parallel()
	n, values := loaded(t, withServers)
	made := told(t, objects(t, n, material(t, n), values))
	manifest, err := chart.Render(chart.Network, values, chart.RenderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, doc := range strings.Split(string(manifest), "\n---\n") {
		if !strings.Contains(doc, "kind: Deployment") {
			continue
		}
		looked++
		d := &appsv1.Deployment{}
		o := map[string]any{}
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatal(err)
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o, d); err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, v := range d.Spec.Template.Spec.Volumes {
			if v.Secret != nil {
				keys = made["Secret/"+v.Secret.SecretName]
			}
		}
		for _, e := range d.Spec.Template.Spec.Containers[0].Env {
			switch {
			case e.ValueFrom != nil && e.ValueFrom.ConfigMapKeyRef != nil:
				if ref := e.ValueFrom.ConfigMapKeyRef; !slices.Contains(made["ConfigMap/"+ref.Name], ref.Key) {
					t.Errorf("%s: %s comes from key %s of ConfigMap %s, which is not made", d.Name, e.Name, ref.Key, ref.Name)
				}
			case strings.HasPrefix(e.Value, "/etc/hyperledger/tls/") && !slices.Contains(keys, path.Base(e.Value)):
				t.Errorf("%s: %s is %s, and its Secret has the keys %v", d.Name, e.Name, e.Value, keys)
			}
		}
		if port := d.Spec.Template.Spec.Containers[0].Ports[0]; port != (corev1.ContainerPort{Name: "grpc", ContainerPort: port.ContainerPort}) {
			t.Errorf("%s: port %+v", d.Name, port)
		}
	}
	if looked != 5 {
		t.Errorf("looked at %d Deployments, want 5", looked)
	}
}

func TestServersNeedKeys(t *testing.T) {
	t.Parallel()
	n, values := loaded(t, withServers)
	m := material(t, n)
	m.Orgs["Karga"].Servers = map[string]pki.KeyPair{"mutual": m.Orgs["Karga"].Servers["mutual"]}
	_, err := deploy.Objects(n, m, values)
	if err == nil || !strings.Contains(err.Error(), `the server of chaincode "My_TLS" has no key and certificate in org "Karga"`) {
		t.Errorf("Objects: %v", err)
	}
	n.Chaincode("My_TLS").Service.TLS = network.NoTLS
	if _, err := deploy.Objects(n, m, values); err != nil {
		t.Errorf("a server without TLS needs no key: %v", err)
	}
}

// TestInstallTellsWhyServerIsAway: peers only say that nobody answers.
func TestInstallTellsWhyServerIsAway(t *testing.T) {
	t.Parallel()
	b := newBringUp(t)
	b.mustInstall()
	b.cluster.Undo("smoke-basic")
	b.cluster.FailTask("smoke-basic", deploytest.TaskFailure{ExitCode: 75, Message: "no answer in time"})
	b.cluster.Put("pods", namespace, map[string]any{"phase": "Pending", "containerStatuses": []any{map[string]any{
		"name": "chaincode", "state": map[string]any{"waiting": map[string]any{"reason": "ImagePullBackOff", "message": "no such image"}}}}},
		map[string]any{"name": "basic-x", "labels": map[string]any{"app.kubernetes.io/component": "chaincode-server", "pivt.io/org": "karga"}})
	_, _, err := b.install(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no answer in time; pod/basic-x of karga: ") || !strings.Contains(err.Error(), "no such image") {
		t.Errorf("%v: does not say why there was no answer", err)
	}
}

// TestChaincodeFlowMovesServers upgrades a chaincode without a whole install: its servers must
// learn the new id before peers look for them by it.
func TestChaincodeFlowMovesServers(t *testing.T) {
	t.Parallel()
	const version2 = "network: {chaincodes: [{name: mutual, version: '2.0', service: {image: pivt/server@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, tls: mtls}, channels: [{name: common}]}, " +
		"{name: basic, version: '1.0', image: pivt/basic@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, channels: [{name: common}]}]}"
	version1 := strings.Replace(version2, "2.0", "1.0", 1)
	moved := []string{"configmap/hlf-chaincode--karga--mutual configured", "configmap/hlf-chaincode--nevergreen--mutual configured", "release/hlf-kube configured"}
	cases := map[string]struct {
		reason  string
		install bool
		include []string
		want    []string
	}{
		"All":          {"Without names it is about all.", true, nil, moved},
		"Named":        {"With its name, too.", true, []string{"mutual"}, moved},
		"Others":       {"A flow for others must not move this one, whose new version nobody has asked for.", true, []string{"basic"}, nil},
		"NotInstalled": {"Nodes are install's business.", false, nil, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBringUp(t)
			if tc.install {
				b.mustInstall(version1)
			}
			s := &story{}
			changes, err := b.deployment(s, version2).RunFlow(t.Context(), deploy.ChaincodeFlow, tc.include)
			if err != nil && tc.install {
				t.Fatal(err)
			}
			var got []string
			for _, c := range lines(changes) {
				if strings.HasPrefix(c, "configmap/") || strings.HasPrefix(c, "release/") || strings.HasPrefix(c, "secret/") {
					got = append(got, c)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}
