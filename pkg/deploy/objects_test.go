package deploy_test

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"pivt.io/pivt/pkg/chart"
	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

func objects(t *testing.T, n *network.Network, m *pki.Material, values map[string]any) []*unstructured.Unstructured {
	t.Helper()
	o, err := deploy.Objects(n, m, values)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// secretsOf decodes the Secrets, by name.
func secretsOf(t *testing.T, objects []*unstructured.Unstructured) map[string]*corev1.Secret {
	t.Helper()
	all := map[string]*corev1.Secret{}
	for _, o := range objects {
		if o.GetKind() != "Secret" {
			continue
		}
		s := &corev1.Secret{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, s); err != nil {
			t.Fatal(err)
		}
		all[s.Name] = s
	}
	return all
}

func keysOf(s *corev1.Secret) []string { return slices.Sorted(maps.Keys(s.Data)) }

// TestObjectsNames pins names and keys, which charts and steps refer to.
func TestObjectsNames(t *testing.T) {
	t.Parallel()
	n, values := loaded(t)
	made := objects(t, n, material(t, n), values)
	var got []string
	for _, o := range made {
		line := o.GetKind() + "/" + o.GetName()
		data, _, err := unstructured.NestedMap(o.Object, "data")
		if err != nil {
			t.Fatal(err)
		}
		line += ": " + strings.Join(slices.Sorted(maps.Keys(data)), " ")
		got = append(got, line)
	}
	want := []string{
		"Secret/hlf-orderer--alpha--admin-msp: cert.pem key.pem tls.crt tls.key",
		"Secret/hlf-orderer--alpha--orderer0-msp: cacert.pem config.yaml key.pem signcert.pem tlscacert.pem",
		"Secret/hlf-orderer--alpha--orderer0-tls: ca.crt clients.crt server.crt server.key",
		"Secret/hlf-orderer--alpha--orderer1-msp: cacert.pem config.yaml key.pem signcert.pem tlscacert.pem",
		"Secret/hlf-orderer--alpha--orderer1-tls: ca.crt clients.crt server.crt server.key",
		"Secret/hlf-orderer--beta-co--admin-msp: cert.pem key.pem tls.crt tls.key",
		"Secret/hlf-orderer--beta-co--orderer0-msp: admincert.pem cacert.pem key.pem signcert.pem tlscacert.pem",
		"Secret/hlf-orderer--beta-co--orderer0-tls: ca.crt clients.crt server.crt server.key",
		"Secret/hlf-peer--karga--admin-msp: cert.pem key.pem tls.crt tls.key",
		"Secret/hlf-peer--karga--client-msp: cert.pem key.pem",
		"Secret/hlf-peer--karga--peer0-msp: cacert.pem config.yaml key.pem signcert.pem tlscacert.pem",
		"Secret/hlf-peer--karga--peer0-tls: ca.crt server.crt server.key",
		"Secret/hlf-peer--karga--peer1-msp: cacert.pem config.yaml key.pem signcert.pem tlscacert.pem",
		"Secret/hlf-peer--karga--peer1-tls: ca.crt server.crt server.key",
		"Secret/hlf-peer--nevergreen--admin-msp: cert.pem key.pem tls.crt tls.key",
		"Secret/hlf-peer--nevergreen--client-msp: cert.pem key.pem",
		"Secret/hlf-peer--nevergreen--peer0-msp: admincert.pem cacert.pem key.pem signcert.pem tlscacert.pem",
		"Secret/hlf-peer--nevergreen--peer0-tls: ca.crt server.crt server.key",
		"ConfigMap/hlf-msp: alpha.json beta-co.json karga.json nevergreen.json",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects: -want, +got:\n%s", diff)
	}
	for _, o := range made {
		l := o.GetLabels()
		if l["app.kubernetes.io/part-of"] != network.Release || l["app.kubernetes.io/managed-by"] != "pivt" {
			t.Errorf("%s/%s has labels %v; uninstall would not find it", o.GetKind(), o.GetName(), l)
		}
	}
}

// TestObjectsContent reads the Secrets as the nodes will.
func TestObjectsContent(t *testing.T) {
	t.Parallel()
	n, values := loaded(t)
	m := material(t, n)
	secrets := secretsOf(t, objects(t, n, m, values))

	clients := string(secrets["hlf-orderer--alpha--orderer0-tls"].Data["clients.crt"])
	for _, org := range n.OrdererOrgs {
		for _, root := range m.Orgs[org.Name].Public.TLSRootCerts {
			if !strings.Contains(clients, strings.TrimSpace(root)) {
				t.Errorf("clients.crt of Alpha's orderer0 lacks the TLS CA of %s: its orderers could not replicate", org.Name)
			}
		}
	}
	if rest := []byte(clients); count(rest) != 2 {
		t.Errorf("clients.crt holds %d certificates, want one for each orderer organisation", count(rest))
	}
	ca := secrets["hlf-orderer--alpha--orderer0-tls"].Data["ca.crt"]
	if strings.Contains(string(ca), strings.TrimSpace(m.Orgs["Beta.Co"].Public.TLSRootCerts[0])) {
		t.Error("ca.crt, the root of an orderer's admin API, trusts another organisation")
	}
	for _, node := range n.Nodes() {
		msp, nm := secrets[node.MSPSecret()].Data, m.Orgs[node.Org.Name].Nodes[node.Hostname]
		if !bytes.Equal(msp["key.pem"], nm.MSP.KeyPEM) || !bytes.Equal(msp["signcert.pem"], nm.MSP.CertPEM) {
			t.Errorf("%s has another node's identity", node.Name())
		}
		if got, want := string(msp["config.yaml"]), "Enable: true"; node.Org.NodeOUs != strings.Contains(got, want) {
			t.Errorf("%s has NodeOUs %v, and config.yaml says\n%s", node.Name(), node.Org.NodeOUs, got)
		}
		if !node.Org.NodeOUs && !bytes.Equal(msp["admincert.pem"], m.Orgs[node.Org.Name].Admin.CertPEM) {
			t.Errorf("%s does not know its organisation's admin", node.Name())
		}
	}
}

func count(data []byte) int {
	n := 0
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return n
		}
		n++
	}
}

// TestObjectsHoldNoCAKey compares with every private key on disk: those of nodes, admins and
// first users may be in Secrets, those of CAs and of further users never, and the ConfigMap holds none.
func TestObjectsHoldNoCAKey(t *testing.T) {
	t.Parallel()
	n, values := loaded(t, "PeerOrgs:\n  - {Name: Karga, Domain: karga.example.com, EnableNodeOUs: true, Template: {Count: 1}, Users: {Count: 2}}\n"+
		"network: {channels: [], chaincodes: []}")
	dir := t.TempDir()
	if _, err := pki.Ensure(dir, n, pki.Options{Now: now}); err != nil {
		t.Fatal(err)
	}
	inSecrets := ""
	for _, o := range objects(t, n, read(t, dir, n), values) {
		data, _, err := unstructured.NestedStringMap(o.Object, "data")
		if err != nil {
			t.Fatal(err)
		}
		for key, v := range data {
			if o.GetKind() == "ConfigMap" {
				if strings.Contains(v, "PRIVATE") {
					t.Errorf("ConfigMap %s holds a private key at %s", o.GetName(), key)
				}
				continue
			}
			plain, err := base64.StdEncoding.DecodeString(v)
			if err != nil {
				t.Fatal(err)
			}
			inSecrets += string(plain)
		}
	}
	var secret, kept int
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(b, []byte("PRIVATE KEY")) {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		there := strings.Contains(inSecrets, strings.TrimSpace(string(b)))
		own := strings.Contains(rel, "/ca/") || strings.Contains(rel, "/tlsca/") || strings.Contains(rel, "User2@") ||
			strings.Contains(rel, "User1@") && strings.Contains(rel, "/tls/")
		switch {
		case own && there:
			t.Errorf("%s is in a Secret", rel)
		case own:
			kept++
		case !there:
			t.Errorf("%s is in no Secret", rel)
		default:
			secret++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if secret == 0 || kept < 6 {
		t.Errorf("looked at %d keys in Secrets and %d others; the test reads the wrong tree", secret, kept)
	}
}

func TestObjectsAreDeterministic(t *testing.T) {
	t.Parallel()
	n, values := loaded(t, "peer: {stateDatabase: CouchDB}")
	m := material(t, n)
	if diff := cmp.Diff(objects(t, n, m, values), objects(t, n, m, values)); diff != "" {
		t.Errorf("the same keys made different objects, so every install would change Secrets:\n%s", diff)
	}
}

func TestObjectsNeedAllKeys(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		lose   func(*pki.Material)
		want   string
	}{
		"FirstOrg":  {"An organisation added to the files has no keys yet.", func(m *pki.Material) { delete(m.Orgs, "Alpha") }, `org "Alpha"`},
		"SecondOrg": {"The first orderer's bundle needs the second organisation's CA.", func(m *pki.Material) { delete(m.Orgs, "Beta.Co") }, `org "Beta.Co"`},
		"Node":      {"So has a peer that Template.Count has just made.", func(m *pki.Material) { delete(m.Orgs["Karga"].Nodes, "peer1") }, "peer1.karga.example.com"},
		"BrokenKey": {"A password cannot be derived from a key that is none.", func(m *pki.Material) { m.Orgs["Karga"].Nodes["peer0"].MSP.KeyPEM = []byte("x") }, "private key of peer0.karga.example.com"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, values := loaded(t, "peer: {stateDatabase: CouchDB}")
			m := material(t, n)
			tc.lose(m)
			if _, err := deploy.Objects(n, m, values); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\nObjects: %v, want an error naming %s", tc.reason, err, tc.want)
			}
		})
	}
}

func TestCouchDB(t *testing.T) {
	t.Parallel()
	n, values := loaded(t, "peer: {stateDatabase: CouchDB}")
	dir := t.TempDir()
	if _, err := pki.Ensure(dir, n, pki.Options{Now: now}); err != nil {
		t.Fatal(err)
	}
	secrets := secretsOf(t, objects(t, n, read(t, dir, n), values))
	again := secretsOf(t, objects(t, n, read(t, dir, n), values))
	manifest, err := chart.Render(chart.Network, values, chart.RenderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	passwords := map[string]string{}
	for _, org := range n.PeerOrgs {
		for _, node := range org.Nodes {
			s := secrets[node.CouchDBSecret()]
			if s == nil {
				t.Fatalf("%s has no Secret %s", node.Name(), node.CouchDBSecret())
			}
			if diff := cmp.Diff([]string{"password", "username"}, keysOf(s)); diff != "" {
				t.Errorf("%s: -want, +got:\n%s", s.Name, diff)
			}
			if !bytes.Contains(manifest, []byte("{name: "+s.Name+", key: password}")) {
				t.Errorf("the chart does not refer to Secret %s", s.Name)
			}
			password := string(s.Data["password"])
			if len(password) < 32 || strings.Trim(password, "0123456789abcdef") != "" {
				t.Errorf("password of %s has %d characters, of which some are not hexadecimal", s.Name, len(password))
			}
			if other, taken := passwords[password]; taken {
				t.Errorf("%s and %s have the same password", s.Name, other)
			}
			passwords[password] = s.Name
			if password != string(again[s.Name].Data["password"]) {
				t.Errorf("another run has another password for %s, and its CouchDB would refuse it", s.Name)
			}
			if bytes.Contains(manifest, []byte(password)) {
				t.Errorf("the release holds the password of %s", s.Name)
			}
		}
	}
	for name := range secrets {
		if strings.Contains(name, "couchdb--alpha") {
			t.Errorf("Secret %s is for an orderer, which has no state database", name)
		}
	}

	other := secretsOf(t, objects(t, n, material(t, n), values))
	for password, name := range passwords {
		if password == string(other[name].Data["password"]) {
			t.Errorf("%s has the same password with other keys: it can be guessed from the files", name)
		}
	}
	_, level := loaded(t, "peer: {stateDatabase: goleveldb}")
	for name := range secretsOf(t, objects(t, n, read(t, dir, n), level)) {
		if strings.Contains(name, "couchdb") {
			t.Errorf("Secret %s is made though no peer has a CouchDB", name)
		}
	}
}
