package chart

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"pivt.io/pivt/pkg/exit"
)

func TestGoldens(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			values := s.values(t)
			for _, name := range append(flows(), Network) { // backups have goldens of their own
				got := mustRender(t, name, values)
				if *update {
					s.setGolden(name, got)
					continue
				}
				if diff := cmp.Diff(string(s.golden(name)), string(got)); diff != "" {
					t.Errorf("%s: -golden, +got (go test ./pkg/chart -update rewrites):\n%s", name, diff)
				}
			}
			if *update {
				if err := os.WriteFile(s.path, txtar.Format(s.archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestRenderIsPure(t *testing.T) {
	t.Parallel()
	s := sampleNamed(t, "test-network")
	values := s.values(t)
	for _, name := range Names() {
		first := mustRender(t, name, values)
		if diff := cmp.Diff(s.values(t), values); diff != "" {
			t.Errorf("rendering %s changed the values it was given: -before, +after:\n%s", name, diff)
		}
		if again := mustRender(t, name, values); !bytes.Equal(first, again) {
			t.Errorf("rendering %s twice gave different bytes", name)
		}
		elsewhere, err := Render(name, values, RenderOptions{Release: "other", Namespace: "elsewhere"})
		if err != nil {
			t.Fatal(err)
		}
		if same := bytes.Equal(first, elsewhere); same != (name != Network) {
			t.Errorf("%s: same bytes under another release and namespace: %v; flows must not depend on either, and the network's labels must", name, same)
		}
	}
}

// What "pivt render" prints is what Helm's own command prints.
func TestSameBytesAsHelm(t *testing.T) {
	t.Parallel()
	helm := helmBinary(t)
	for _, s := range samples(t) {
		for _, name := range Names() {
			t.Run(s.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				compareWithHelm(t, helm, name, s)
			})
		}
	}
}

func compareWithHelm(t *testing.T, helm, name string, s *sample) {
	t.Helper()
	args := append([]string{"template", filepath.Join(chartsDir, name)}, s.write(t)...)
	cmd := exec.CommandContext(t.Context(), helm, args...)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "HELM_NAMESPACE=default", "KUBECONFIG="+filepath.Join(home, "none"))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	want, err := cmd.Output()
	if err != nil {
		t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	if diff := cmp.Diff(string(want), string(mustRender(t, name, s.values(t)))); diff != "" {
		t.Errorf("-helm, +pivt:\n%s", diff)
	}
}

// helmBinary is PIVT_TEST_HELM, or the helm of the PATH, or one built from the module that
// we link: it is our dependency anyway, so building it needs no network.
func helmBinary(t *testing.T) string {
	t.Helper()
	if helm := os.Getenv("PIVT_TEST_HELM"); helm != "" {
		return helm
	}
	if helm, err := exec.LookPath("helm"); err == nil {
		return helm
	}
	helm, err := buildHelm()
	if err != nil {
		t.Skipf("no helm: PIVT_TEST_HELM is not set, none is in the PATH, and building it failed: %v", err)
	}
	return helm
}

var buildHelm = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "helm")
	if err != nil {
		return "", err
	}
	builtHelm = dir
	helm := filepath.Join(dir, "helm")
	out, err := exec.Command("go", "build", "-o", helm, "helm.sh/helm/v3/cmd/helm").CombinedOutput()
	if err != nil {
		return "", &buildError{string(out), err}
	}
	return helm, nil
})

// builtHelm is removed when all tests have run.
var builtHelm string

type buildError struct {
	output string
	err    error
}

func (e *buildError) Error() string { return e.err.Error() + ": " + e.output }

func TestMain(m *testing.M) {
	code := m.Run()
	if builtHelm != "" {
		os.RemoveAll(builtHelm)
	}
	os.Exit(code)
}

func TestRenderRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		chart  string
		more   string
		want   string
	}{
		"NoOrganisations": {
			reason: "Someone who forgets crypto-config.yaml must hear its name.",
			chart:  Network, more: "{OrdererOrgs: [], PeerOrgs: []}",
			want: "rendering chart hlf-kube: OrdererOrgs and PeerOrgs: there are none; give the organisations with -f crypto-config.yaml",
		},
		"ChannelFlowWithoutOrderers": {
			reason: "Without orderers no channel can be made.",
			chart:  ChannelFlow, more: "OrdererOrgs: []",
			want: "rendering chart channel-flow: OrdererOrgs: there are none; give the organisations with -f crypto-config.yaml",
		},
		"ChannelFlowWithoutPeers": {
			reason: "Without peers nobody joins.",
			chart:  ChannelFlow, more: "PeerOrgs: []",
			want: "rendering chart channel-flow: PeerOrgs: there are none; give the organisations with -f crypto-config.yaml",
		},
		"ChaincodeFlowWithoutPeers": {
			reason: "Without peers nobody installs.",
			chart:  ChaincodeFlow, more: "PeerOrgs: []",
			want: "rendering chart chaincode-flow: PeerOrgs: there are none; give the organisations with -f crypto-config.yaml",
		},
		"UnknownOrgInChannel": {
			reason: "A mistyped organisation would wait for a Secret for ever.",
			chart:  ChannelFlow, more: "network: {channels: [{name: c, orgs: [Org1, Orgg2]}]}",
			want: `rendering chart channel-flow: network.channels[0].orgs: channel "c": org "Orgg2" is not in PeerOrgs of crypto-config.yaml; known orgs: Org1, Org2`,
		},
		"UnknownOrdererOrg": {
			reason: "The same for orderers.",
			chart:  ChannelFlow, more: "network: {channels: [{name: c, orgs: [Org1], ordererOrgs: [Ordererr]}]}",
			want: `rendering chart channel-flow: network.channels[0].ordererOrgs: channel "c": org "Ordererr" is not in OrdererOrgs of crypto-config.yaml; known orgs: Orderer`,
		},
		"UnknownChannelIncluded": {
			reason: "An include that names nothing would end at once and look like success.",
			chart:  ChannelFlow, more: "flow: {channel: {include: [my]}}",
			want: `rendering chart channel-flow: flow.channel.include: channel "my" is not in network.channels; known channels: mychannel`,
		},
		"UnknownChaincodeIncluded": {
			reason: "An include that names nothing would end at once and look like success.",
			chart:  ChaincodeFlow, more: "flow: {chaincode: {include: [basics]}}",
			want: `rendering chart chaincode-flow: flow.chaincode.include: chaincode "basics" is not in network.chaincodes; known chaincodes: basic`,
		},
		"UnknownOrgInChaincode": {
			reason: "A mistyped organisation would wait for a Secret for ever.",
			chart:  ChaincodeFlow, more: "network: {chaincodes: [{name: c, orgs: [Org3]}]}",
			want: `rendering chart chaincode-flow: network.chaincodes[0].orgs: chaincode "c": org "Org3" is not in PeerOrgs of crypto-config.yaml; known orgs: Org1, Org2`,
		},
		"UnknownChannelInChaincode": {
			reason: "A definition needs its channel.",
			chart:  ChaincodeFlow, more: "network: {chaincodes: [{name: c, channels: [{name: other}]}]}",
			want: `rendering chart chaincode-flow: network.chaincodes[0].channels[0].name: chaincode "c": channel "other" is not in network.channels; known channels: mychannel`,
		},
		"OrgOutsideChannel": {
			reason: "An organisation can only approve where it is a member.",
			chart:  ChaincodeFlow, more: "network: {channels: [{name: a, orgs: [Org1]}], chaincodes: [{name: c, channels: [{name: a, orgs: [Org2]}]}]}",
			want: `rendering chart chaincode-flow: network.chaincodes[0].channels[0].orgs: chaincode "c": org "Org2" is not in channel "a"; its orgs: Org1`,
		},
		"CollectionsFile": {
			reason: "Pods have no files; only pivt can read one into the network.",
			chart:  ChaincodeFlow, more: "network: {chaincodes: [{name: a}, {name: c, collections: ./collections.json}]}",
			want: `rendering chart chaincode-flow: network.chaincodes[1].collections: chaincode "c": helm cannot read the file "./collections.json"; write the list into network.yaml, or give the file with --set-file network.chaincodes[1].collections=./collections.json if it is JSON, or let "pivt render chaincode-flow" read it`,
		},
		"CollectionsFileOnChannel": {
			reason: "The same at a channel.",
			chart:  ChaincodeFlow, more: "network: {chaincodes: [{name: c, channels: [{name: mychannel, collections: c.yaml}]}]}",
			want: `rendering chart chaincode-flow: network.chaincodes[0].channels[0].collections: chaincode "c": helm cannot read the file "c.yaml"; write the list into network.yaml, or give the file with --set-file network.chaincodes[0].channels[0].collections=c.yaml if it is JSON, or let "pivt render chaincode-flow" read it`,
		},
		"MetricsForNobody": {
			reason: "Access to a port that serves nothing is a misunderstanding.",
			chart:  Network, more: "metrics: {from: [{podSelector: {}}]}",
			want: "rendering chart hlf-kube: metrics.from: nothing is served while metrics.enabled is false; set metrics.enabled=true or leave metrics.from empty",
		},
		"MetricsForEverybody": {
			reason: "Without policies a list of who may look gives false safety.",
			chart:  Network, more: "{metrics: {enabled: true, from: [{podSelector: {}}]}, networkPolicy: {enabled: false}}",
			want: "rendering chart hlf-kube: metrics.from: networkPolicy.enabled is false, so everybody may reach the operations ports; enable it or leave metrics.from empty",
		},
		"Typo": {
			reason: "A key nobody reads must not pass in silence.",
			chart:  ChaincodeFlow, more: "network: {chaincodes: [{name: c, verison: \"1\"}]}",
			want: `rendering chart chaincode-flow: values: network.chaincodes.0: additional properties 'verison' not allowed`,
		},
		"TwoTypos": {
			reason: "All of a schema's complaints are printed at once.",
			chart:  Network, more: "{peer: {resorces: {}}, netwrk: {}}",
			want: `rendering chart hlf-kube: values: at the left edge: additional properties 'netwrk' not allowed; peer: additional properties 'resorces' not allowed`,
		},
		"UnquotedVersion": {
			reason: "Helm reads 2.0 as the number 2, so it must be quoted.",
			chart:  ChaincodeFlow, more: "chaincode: {version: 2.0}",
			want: `rendering chart chaincode-flow: values: chaincode.version: got number, want string`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Render(tc.chart, with(t, sampleNamed(t, "test-network"), tc.more), RenderOptions{})
			if err == nil {
				t.Fatalf("%s\nrendered without an error", tc.reason)
			}
			if diff := cmp.Diff(tc.want, err.Error()); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
			if code := exit.CodeOf(err); code != exit.Invalid {
				t.Errorf("exit code %d, want %d: the files are wrong, and nothing was changed", code, exit.Invalid)
			}
		})
	}
}
