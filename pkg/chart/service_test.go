package chart

import (
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"

	"pivt.io/pivt/pkg/network"
)

// servers are the Deployments of a manifest by name, decoded strictly: chaincode servers.
func servers(t testing.TB, manifest []byte) map[string]*appsv1.Deployment {
	t.Helper()
	all := map[string]*appsv1.Deployment{}
	for _, o := range objects(t, manifest) {
		if o.GetKind() != "Deployment" {
			continue
		}
		d := &appsv1.Deployment{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, d, true); err != nil {
			t.Fatalf("%s: %v", o.GetName(), err)
		}
		all[d.Name] = d
	}
	return all
}

// served is a network.yaml with one chaincode that runs as a server; more is YAML of its
// service beside the image.
func served(more string) string {
	return fmt.Sprintf("network: {channels: [{name: mychannel, orgs: [Org1, Org2]}], chaincodes: [{name: served, version: %q, service: {image: %q%s}, channels: [{name: mychannel}]}]}",
		"1.0", "pivt/server@"+digest1, more)
}

const (
	srv     = "Deployment/hlf-chaincode--org1--served "
	srvPod  = srv + "spec.template.spec."
	srvMain = srvPod + "containers[name=chaincode]."
)

// serverChanges are the values of chaincode servers.
func serverChanges() []change {
	one, two := served(""), served(", replicas: 2")
	pdb := "PodDisruptionBudget/hlf-chaincode--org1--served "
	const key = "chaincodeService."
	return []change{
		{value: key + "resources", to: "{requests: {cpu: 2}}", more: one, at: srvMain + "resources.requests.cpu", want: "2"},
		{value: key + "drainSeconds", to: "7", more: one, at: srvMain + "lifecycle.preStop.sleep.seconds", want: "7"},
		{value: key + "drainSeconds", to: "7", more: one, at: srvPod + "terminationGracePeriodSeconds", want: "37"},
		{value: key + "drainSeconds", to: "0", more: one, at: srvMain + "lifecycle", want: "absent"},
		{value: key + "tmpSizeLimit", to: "1Gi", more: one, at: srvPod + "volumes[name=tmp].emptyDir.sizeLimit", want: "1Gi"},
		{value: key + "startupProbe", to: "{failureThreshold: 9}", more: one, at: srvMain + "startupProbe.failureThreshold", want: "9"},
		{value: key + "readinessProbe", to: "{periodSeconds: 9}", more: one, at: srvMain + "readinessProbe.periodSeconds", want: "9"},
		{value: key + "livenessProbe", to: "{failureThreshold: 9}", more: one, at: srvMain + "livenessProbe.failureThreshold", want: "9"},
		{value: key + "podDisruptionBudget.enabled", to: "false", more: two, at: pdb + "kind", want: "absent"},
		{value: key + "podDisruptionBudget.maxUnavailable", to: "50%", more: two, at: pdb + "spec.maxUnavailable", want: "50%"},
		{value: key + "serviceAnnotations", to: "{a: b}", more: one, at: "Service/hlf-chaincode--org1--served metadata.annotations.a", want: "b"},
		{value: key + "nodeSelector", to: "{disk: ssd}", more: one, at: srvPod + "nodeSelector.disk", want: "ssd"},
		{value: key + "tolerations", to: "[{key: k}]", more: one, at: srvPod + "tolerations[0].key", want: "k"},
		{value: key + "affinity", to: "{nodeAffinity: {}}", more: one, at: srvPod + "affinity", want: "{nodeAffinity: {}}"},
		{value: key + "priorityClassName", to: "high", more: one, at: srvPod + "priorityClassName", want: "high"},
		{value: key + "podLabels", to: "{team: a}", more: one, at: srv + "spec.template.metadata.labels.team", want: "a"},
		{value: key + "podAnnotations", to: "{note: a}", more: one, at: srv + "spec.template.metadata.annotations.note", want: "a"},
		{value: key + "podSecurityContext", to: "{runAsUser: 5}", more: one, at: srvPod + "securityContext.runAsUser", want: "5"},
		{value: key + "containerSecurityContext", to: "{privileged: false}", more: one, at: srvMain + "securityContext.privileged", want: "false"},
		{value: key + "extraEnv", to: "[{name: GOGC, value: '50'}]", more: one, at: srvMain + "env[name=GOGC].value", want: "'50'"},
		{value: key + "extraVolumes", to: "[{name: more, emptyDir: {}}]", more: one, at: srvPod + "volumes[name=more].emptyDir", want: "{}"},
		{value: key + "extraVolumeMounts", to: "[{name: tmp, mountPath: /more}]", more: one, at: srvMain + "volumeMounts[mountPath=/more].name", want: "tmp"},
		{value: "imagePullPolicy", to: "Always", more: one, at: srvMain + "imagePullPolicy", want: "Always"},
		{value: "imagePullSecrets", to: "[{name: key}]", more: one, at: srvPod + "imagePullSecrets[0].name", want: "key"},
		{value: "networkPolicy.dns", to: "[{ipBlock: {cidr: 169.254.0.0/16}}]", more: one, at: "NetworkPolicy/hlf-chaincode--org1--served spec.egress[0].to", want: "[{ipBlock: {cidr: 169.254.0.0/16}}]"},
		{value: "networkPolicy.chaincodeEgress", to: "[{ports: [{port: 443}]}]", more: one, at: "NetworkPolicy/hlf-chaincode--org1--served spec.egress[1].ports[0].port", want: "443"},
		{value: "networkPolicy.enabled", to: "false", more: one, at: "NetworkPolicy/hlf-chaincode--org1--served kind", want: "absent"},
	}
}

// Which servers there are, and that objects, Secrets and ConfigMaps have the names that
// package network gives them.
func TestChaincodeServers(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a-name-", 12) + "x"
	cases := map[string]struct {
		reason string
		cc     string // the chaincode, without its name
		name   string
		want   []string // organisations
	}{
		"OrgsOfChannels": {reason: "Who installs a chaincode runs its server.", name: "basic",
			cc: "channels: [{name: both}, {name: one}]", want: []string{"Org1", "Org2"}},
		"OrgsOfDefinition": {reason: "A definition may name fewer than the channel has.", name: "basic",
			cc: "channels: [{name: both, orgs: [Org2]}]", want: []string{"Org2"}},
		"OrgsNamed": {reason: "orgs decides where it is there.", name: "basic",
			cc: "orgs: [Org1], channels: [{name: both}]", want: []string{"Org1"}},
		"OddName":  {reason: "Fabric allows capitals and underscores.", name: "My_CC", cc: "channels: [{name: one}]", want: []string{"Org1"}},
		"LongName": {reason: "Names are cut where Kubernetes cuts them.", name: long, cc: "channels: [{name: one}]", want: []string{"Org1"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sampleNamed(t, "test-network")
			manifest := mustRender(t, Network, with(t, s, fmt.Sprintf(
				"network: {channels: [{name: both, orgs: [Org1, Org2]}, {name: one, orgs: [Org1]}], chaincodes: [{name: %s, version: %q, service: {image: %q, tls: tls}, %s}]}",
				tc.name, "2.0", "pivt/server@"+digest1, tc.cc)))
			n := s.network(t)
			found, byName := servers(t, manifest), objects(t, manifest)
			if len(found) != len(tc.want) {
				t.Errorf("%s\n%d servers, want those of %v", tc.reason, len(found), tc.want)
			}
			for _, o := range tc.want {
				name := n.Org(o).ChaincodeService(&network.Chaincode{Name: tc.name})
				d := found[name]
				if d == nil {
					t.Errorf("%s\n%s has no Deployment %s", tc.reason, o, name)
					continue
				}
				if byName["Service/"+name] == nil || byName["NetworkPolicy/"+name] == nil {
					t.Errorf("%s has no Service or NetworkPolicy of its name", name)
				}
				if byName["PodDisruptionBudget/"+name] != nil {
					t.Errorf("a budget for the only pod of %s would stop drains", name)
				}
				spec := d.Spec.Template.Spec
				for _, e := range spec.Containers[0].Env {
					if e.ValueFrom != nil && (e.ValueFrom.ConfigMapKeyRef.Name != name || e.ValueFrom.ConfigMapKeyRef.Key != "id") {
						t.Errorf("%s: %s is %s of ConfigMap %s", name, e.Name, e.ValueFrom.ConfigMapKeyRef.Key, e.ValueFrom.ConfigMapKeyRef.Name)
					}
				}
				for _, v := range spec.Volumes {
					if v.Secret != nil && v.Secret.SecretName != name+"-tls" {
						t.Errorf("%s: its keys are in Secret %s", name, v.Secret.SecretName)
					}
				}
				if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
					t.Errorf("%s has a service account token", name)
				}
				for key, value := range d.Spec.Template.Labels {
					if problems := validation.IsValidLabelValue(value); len(problems) > 0 {
						t.Errorf("%s: label %s: %v", name, key, problems)
					}
				}
				if got := d.Spec.Template.Labels["pivt.io/org"]; got != n.Org(o).Label() {
					t.Errorf("%s: label pivt.io/org is %q", name, got)
				}
			}
		})
	}
}

// environment is what a server is told; "id" stands for the package id.
func environment(d *appsv1.Deployment) map[string]string {
	env := map[string]string{}
	for _, e := range d.Spec.Template.Spec.Containers[0].Env {
		if env[e.Name] = e.Value; e.ValueFrom != nil {
			env[e.Name] = e.ValueFrom.ConfigMapKeyRef.Key
		}
	}
	return env
}

// What the servers of Go (as in Fabric's samples), Node and Java read.
func TestServerEnvironment(t *testing.T) {
	t.Parallel()
	const dir = "/etc/hyperledger/tls/"
	always := map[string]string{
		"CHAINCODE_ID": "id", "CORE_CHAINCODE_ID": "id", "CORE_CHAINCODE_ID_NAME": "id",
		"CHAINCODE_SERVER_ADDRESS": "0.0.0.0:7777", "CORE_CHAINCODE_ADDRESS": "0.0.0.0:7777",
		"CORE_PEER_LOCALMSPID": "Org1MSP", "HOME": "/tmp",
	}
	none := map[string]string{"CHAINCODE_TLS_DISABLED": "true", "CORE_PEER_TLS_ENABLED": "false"}
	tls := map[string]string{
		"CHAINCODE_TLS_DISABLED": "false", "CORE_PEER_TLS_ENABLED": "true",
		"CHAINCODE_TLS_KEY": dir + "server.key", "CHAINCODE_TLS_CERT": dir + "server.crt",
		"CORE_CHAINCODE_TLS_KEY_FILE": dir + "server.key", "CORE_CHAINCODE_TLS_CERT_FILE": dir + "server.crt",
		"CORE_TLS_CLIENT_KEY_FILE": dir + "server.pem", "CORE_TLS_CLIENT_CERT_FILE": dir + "server.pem",
		"CORE_TLS_CLIENT_KEY_PATH": dir + "server.key.b64", "CORE_TLS_CLIENT_CERT_PATH": dir + "server.crt.b64",
		"CORE_PEER_TLS_ROOTCERT_FILE": dir + "ca.crt",
	}
	mutual := map[string]string{
		"CHAINCODE_CLIENT_CA_CERT": dir + "ca.crt", "CHAINCODE_TLS_CLIENT_CA_CERT": dir + "ca.crt",
		"CORE_CHAINCODE_TLS_CLIENT_CACERT_FILE": dir + "ca.crt",
	}
	cases := map[string]struct {
		reason string
		tls    string
		want   []map[string]string
	}{
		"None":   {"Without TLS there is nothing to mount, and nothing may hint at it.", "none", []map[string]string{always, none}},
		"TLS":    {"A CA for clients would make a server refuse peers that show no certificate.", "tls", []map[string]string{always, tls}},
		"Mutual": {"The CA of the peers' own certificates is the organisation's TLS CA.", "mtls", []map[string]string{always, tls, mutual}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			manifest := mustRender(t, Network, with(t, sampleNamed(t, "test-network"), served(", port: 7777, tls: "+tc.tls)))
			d := servers(t, manifest)["hlf-chaincode--org1--served"]
			want := map[string]string{}
			for _, m := range tc.want {
				for k, v := range m {
					want[k] = v
				}
			}
			if diff := cmp.Diff(want, environment(d)); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
			if got := len(d.Spec.Template.Spec.Volumes) == 2; got != (tc.tls != "none") {
				t.Errorf("%s\nvolumes %v", tc.reason, d.Spec.Template.Spec.Volumes)
			}
			if port := d.Spec.Template.Spec.Containers[0].Ports[0].ContainerPort; port != 7777 {
				t.Errorf("the server listens on %d", port)
			}
		})
	}
}

// A server is told its package id once, when it starts: whatever changes the id must change
// the pods, and what does not should leave them alone.
func TestServersRoll(t *testing.T) {
	t.Parallel()
	s := sampleNamed(t, "test-network")
	const base = "{name: served, version: '1.0', service: {image: %q, replicas: 2, port: 9999, tls: tls}, channels: [{name: mychannel}]}"
	render := func(text string) *appsv1.Deployment {
		return servers(t, mustRender(t, Network, with(t, s, text)))["hlf-chaincode--org1--served"]
	}
	text := func(cc string) string {
		return "network: {channels: [{name: mychannel, orgs: [Org1, Org2]}], chaincodes: [" + cc + "]}"
	}
	cc := fmt.Sprintf(base, "pivt/server@"+digest1)
	before := render(text(cc))
	cases := map[string]struct {
		reason string
		text   string
		rolls  bool
	}{
		"Version":        {"The label is part of the id.", text(strings.Replace(cc, "1.0", "2.0", 1)), true},
		"DefaultVersion": {"So it is when it comes from elsewhere.", text(strings.Replace(cc, "version: '1.0', ", "", 1)) + "\nchaincode: {version: '2.0'}", true},
		"Port":           {"connection.json has the port.", text(strings.Replace(cc, "9999", "9998", 1)), true},
		"TLS":            {"And whether there is TLS.", text(strings.Replace(cc, "tls: tls", "tls: mtls", 1)), true},
		"Image":          {"New code needs new pods.", text(strings.Replace(cc, "server@", "server2@", 1)), true},
		"Replicas":       {"More pods are no other pods.", text(strings.Replace(cc, "replicas: 2", "replicas: 3", 1)), false},
		"SameVersion":    {"The default is 1.0.", text(strings.Replace(cc, "version: '1.0', ", "", 1)), false},
		"Policy":         {"A policy is the channel's business.", text(strings.Replace(cc, "{name: mychannel}", "{name: mychannel, policy: \"OR('Org1MSP.member')\"}", 1)), false},
		"Another":        {"Chaincodes do not disturb each other.", text(cc + ", {name: other, service: {image: x@" + digest1 + "}, channels: [{name: mychannel}]}"), false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			after := render(tc.text)
			if rolled := cmp.Diff(before.Spec.Template, after.Spec.Template) != ""; rolled != tc.rolls {
				t.Errorf("%s\npods change: %t, want %t", tc.reason, rolled, tc.rolls)
			}
			if diff := cmp.Diff(before.Spec.Selector, after.Spec.Selector); diff != "" {
				t.Errorf("Kubernetes refuses a changed selector:\n%s", diff)
			}
		})
	}
}

// Servers are reached by the peers of their organisation, and by nobody else; they reach nobody.
func TestWhoReachesServers(t *testing.T) {
	t.Parallel()
	manifest := mustRender(t, Network, with(t, sampleNamed(t, "test-network"), served("")))
	all := policies(t, manifest)
	nodes, found := workloads(t, manifest), servers(t, manifest)
	everybody := []pod{
		{"orderer", nodes["hlf-orderer--orderer--orderer0"].Spec.Template.Labels},
		{"peer of Org1", nodes["hlf-peer--org1--peer0"].Spec.Template.Labels},
		{"peer of Org2", nodes["hlf-peer--org2--peer0"].Spec.Template.Labels},
		{"server of Org1", found["hlf-chaincode--org1--served"].Spec.Template.Labels},
		{"server of Org2", found["hlf-chaincode--org2--served"].Spec.Template.Labels},
		{"chaincode", map[string]string{"app.kubernetes.io/component": "chaincode", "app.kubernetes.io/part-of": "hlf-kube", "pivt.io/node": "hlf-peer--org1--peer0"}},
		{"step", map[string]string{"app.kubernetes.io/part-of": "hlf-kube", "pivt.io/component": "flow"}},
		{"stranger", map[string]string{"app": "other"}},
	}
	var got []string
	for _, from := range everybody {
		for _, to := range everybody {
			if from.name == to.name || !strings.HasPrefix(from.name, "server") && !strings.HasPrefix(to.name, "server") {
				continue
			}
			for _, port := range []int32{80, 443, 7050, 7051, 7052, 7100, 8443, 9443, 9999} {
				if allowed(t, all, from, to, port) {
					got = append(got, fmt.Sprintf("%s -> %s:%d", from.name, to.name, port))
				}
			}
		}
	}
	sort.Strings(got)
	want := []string{"peer of Org1 -> server of Org1:9999", "peer of Org2 -> server of Org2:9999"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want, +policies:\n%s", diff)
	}
}

func TestServersRefused(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		more   string
		want   string
	}{
		"UnknownOrg": {
			reason: "Its server would wait for a Secret for ever.",
			more:   strings.Replace(served(""), "name: served", "name: served, orgs: [Org3]", 1),
			want:   `rendering chart hlf-kube: network.chaincodes[0].orgs: chaincode "served": org "Org3" is not in PeerOrgs of crypto-config.yaml; known orgs: Org1, Org2`,
		},
		"AddressAndImage": {
			reason: "Two places cannot both be meant.",
			more:   served(", address: elsewhere.example.com:9999"),
			want:   `rendering chart hlf-kube: network.chaincodes[0].service: chaincode "served" has both address and image; keep address if somebody else runs the server, or image to run it here`,
		},
		"SameName": {
			reason: "Kubernetes has fewer letters than Fabric.",
			more:   "network: {chaincodes: [{name: a-b, service: {image: x@" + digest1 + "}}, {name: a_b, service: {image: x@" + digest1 + "}}]}",
			want:   `rendering chart hlf-kube: network.chaincodes[1].name: the servers of chaincodes "a-b" and "a_b" would have one name; rename one`,
		},
		"Tag": {
			reason: "Peers could run different code under one version.",
			more:   "network: {chaincodes: [{name: a, service: {image: 'x:1.0'}}]}",
			want:   `rendering chart hlf-kube: values: network.chaincodes.0.service.image: 'x:1.0' does not match pattern '^[^@]+@sha256:[0-9a-f]{64}$'`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Render(Network, with(t, sampleNamed(t, "test-network"), tc.more), RenderOptions{})
			if err == nil {
				t.Fatalf("%s\nrendered without an error", tc.reason)
			}
			if diff := cmp.Diff(tc.want, err.Error()); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}
