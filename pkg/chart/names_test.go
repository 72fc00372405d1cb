package chart

import (
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"pivt.io/pivt/pkg/network"
)

func allNetworks(t *testing.T) map[string][]network.Source {
	t.Helper()
	all := map[string][]network.Source{"8x3x5x5": scaled(8, 3, 5, 5)}
	for _, s := range samples(t) {
		all[s.name] = s.sources()
	}
	return all
}

// Templates and package network derive the same names from the same files.
func TestNamesAreThoseOfNetwork(t *testing.T) {
	t.Parallel()
	for name, sources := range allNetworks(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, _, err := network.Load(sources, nil)
			if err != nil {
				t.Fatal(err)
			}
			values, err := network.Values(sources, nil)
			if err != nil {
				t.Fatal(err)
			}
			manifest := mustRender(t, Network, values)
			byName := objects(t, manifest)
			pods := workloads(t, manifest)
			var want, got []string
			for _, node := range n.Nodes() {
				want = append(want, node.Name())
			}
			for name := range pods {
				got = append(got, name)
			}
			sort.Strings(want)
			sort.Strings(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("workloads: -network, +chart:\n%s", diff)
			}
			for _, node := range n.Nodes() {
				checkNode(t, node, &pods[node.Name()].Spec.Template.Spec, pods[node.Name()].Spec.Template.Labels)
				if byName["Service/"+node.Name()] == nil {
					t.Errorf("%s has no Service of its name", node.Name())
				}
				if got := pods[node.Name()].Spec.ServiceName; got != node.Name() {
					t.Errorf("%s: service name %s", node.Name(), got)
				}
			}
			for _, sa := range []string{network.ServicePeer, network.ServiceOrderer, network.ServiceFlow, "hlf-backup"} {
				if byName["ServiceAccount/"+sa] == nil {
					t.Errorf("no service account %s", sa)
				}
			}
			for _, flow := range flows() {
				wf := decode(t, mustRender(t, flow, values))
				if wf.Spec.ServiceAccountName != network.ServiceFlow {
					t.Errorf("%s runs as %s, want %s", flow, wf.Spec.ServiceAccountName, network.ServiceFlow)
				}
				if !slices.ContainsFunc(wf.Spec.Volumes, func(v corev1.Volume) bool {
					return v.ConfigMap != nil && v.ConfigMap.Name == network.MSPConfigMap
				}) {
					t.Errorf("%s does not mount ConfigMap %s", flow, network.MSPConfigMap)
				}
			}
		})
	}
}

func checkNode(t *testing.T, node *network.Node, spec *corev1.PodSpec, labels map[string]string) {
	t.Helper()
	secrets := map[string]string{}
	for _, v := range spec.Volumes {
		if v.Secret != nil {
			secrets[v.Name] = v.Secret.SecretName
		}
	}
	want := map[string]string{"msp": node.MSPSecret(), "tls": node.TLSSecret()}
	if diff := cmp.Diff(want, secrets); diff != "" {
		t.Errorf("%s: Secrets: -network, +chart:\n%s", node.Name(), diff)
	}
	env := map[string]string{}
	for _, e := range spec.Containers[0].Env {
		env[e.Name] = e.Value
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil && e.ValueFrom.SecretKeyRef.Name != node.CouchDBSecret() {
			t.Errorf("%s: %s comes from Secret %s, want %s", node.Name(), e.Name, e.ValueFrom.SecretKeyRef.Name, node.CouchDBSecret())
		}
	}
	wantEnv := map[string]string{"ORDERER_GENERAL_LOCALMSPID": node.Org.MSPID}
	wantSA := network.ServiceOrderer
	image := "fabric-orderer"
	if node.Org.Kind == network.Peer {
		wantSA, image = network.ServicePeer, "fabric-peer"
		wantEnv = map[string]string{
			"CORE_PEER_LOCALMSPID":       node.Org.MSPID,
			"CORE_PEER_ID":               node.Name(),
			"CORE_PEER_ADDRESS":          node.Address(),
			"CORE_PEER_GOSSIP_BOOTSTRAP": node.Org.Nodes[0].Address(),
			"PIVT_NODE":                  node.Name(),
		}
	}
	for key, value := range wantEnv {
		if env[key] != value {
			t.Errorf("%s: %s is %q, want %q", node.Name(), key, env[key], value)
		}
	}
	if spec.ServiceAccountName != wantSA {
		t.Errorf("%s runs as %s, want %s", node.Name(), spec.ServiceAccountName, wantSA)
	}
	if !strings.Contains(spec.Containers[0].Image, "hyperledger/"+image) {
		t.Errorf("%s runs %s", node.Name(), spec.Containers[0].Image)
	}
	if got, want := labels["pivt.io/node"], node.Name(); got != want {
		t.Errorf("%s: label pivt.io/node is %q", node.Name(), got)
	}
	if got, want := labels["pivt.io/org"], node.Org.Label(); got != want {
		t.Errorf("%s: label pivt.io/org is %q, want %q", node.Name(), got, want)
	}
	for key, value := range labels {
		if problems := validation.IsValidLabelValue(value); len(problems) > 0 {
			t.Errorf("%s: label %s: %v", node.Name(), key, problems)
		}
	}
	ports := map[string]int32{}
	for _, p := range spec.Containers[0].Ports {
		ports[p.Name] = p.ContainerPort
	}
	wantPorts := map[string]int32{"grpc": network.OrdererPort, "admin": network.OrdererAdminPort, "operations": network.OrdererOperations}
	if node.Org.Kind == network.Peer {
		wantPorts = map[string]int32{"grpc": network.PeerPort, "chaincode": network.ChaincodePort, "operations": network.PeerOperations}
	}
	if diff := cmp.Diff(wantPorts, ports); diff != "" {
		t.Errorf("%s: ports: -network, +chart:\n%s", node.Name(), diff)
	}
	wantItems := "config.yaml"
	if !node.Org.NodeOUs {
		wantItems = "admincerts/admin.pem"
	}
	for _, v := range spec.Volumes {
		if v.Name == "msp" && !slices.ContainsFunc(v.Secret.Items, func(i corev1.KeyToPath) bool { return i.Path == wantItems }) {
			t.Errorf("%s: NodeOUs are %v, but the MSP has no %s", node.Name(), node.Org.NodeOUs, wantItems)
		}
	}
}

// The defaults of values.yaml are those of package network.
func TestDefaultsAreThoseOfNetwork(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		c, err := load(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Values["hyperledgerVersion"]; got != network.DefaultVersion {
			t.Errorf("%s: hyperledgerVersion is %v, want %s", name, got, network.DefaultVersion)
		}
	}
	s := sampleNamed(t, "test-network")
	sources := append(s.sources(), network.Source{Name: "more.yaml", Data: []byte("network: {chaincodes: [{name: basic, image: \"pivt/basic@sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef\", channels: [{name: mychannel}]}]}")})
	n, _, err := network.Load(sources, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := load(ChaincodeFlow)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Values["chaincode"].(map[string]any)["version"]; got != n.Chaincodes[0].Version {
		t.Errorf("chaincode.version is %v, want %s", got, n.Chaincodes[0].Version)
	}
}
