package chart

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// pod is somebody who talks or listens: who it is and its labels.
type pod struct {
	name   string
	labels map[string]string
}

// policies decodes the NetworkPolicies of a manifest.
func policies(t *testing.T, manifest []byte) []*networkingv1.NetworkPolicy {
	t.Helper()
	var all []*networkingv1.NetworkPolicy
	for _, o := range objects(t, manifest) {
		if o.GetKind() != "NetworkPolicy" {
			continue
		}
		p := &networkingv1.NetworkPolicy{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, p, true); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

func selects(t *testing.T, s *metav1.LabelSelector, of map[string]string) bool {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return selector.Matches(labels.Set(of))
}

// allowed says what the policies of one namespace mean, by the rules of Kubernetes: who is
// selected by no policy of a direction is free, else one rule must let it pass.
func allowed(t *testing.T, all []*networkingv1.NetworkPolicy, from, to pod, port int32) bool {
	t.Helper()
	passes := func(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, other pod) bool {
		onPort := len(ports) == 0
		for _, p := range ports {
			last := p.EndPort
			if last == nil && p.Port != nil {
				last = &p.Port.IntVal
			}
			onPort = onPort || p.Port == nil || p.Port.IntVal <= port && port <= *last
		}
		if !onPort {
			return false
		}
		for _, p := range peers {
			if p.NamespaceSelector == nil && p.IPBlock == nil && selects(t, p.PodSelector, other.labels) {
				return true
			}
		}
		return len(peers) == 0
	}
	in, out := true, true
	inRule, outRule := false, false
	for _, p := range all {
		for _, kind := range p.Spec.PolicyTypes {
			switch {
			case kind == networkingv1.PolicyTypeIngress && selects(t, &p.Spec.PodSelector, to.labels):
				in = false
				for _, r := range p.Spec.Ingress {
					inRule = inRule || passes(r.From, r.Ports, from)
				}
			case kind == networkingv1.PolicyTypeEgress && selects(t, &p.Spec.PodSelector, from.labels):
				out = false
				for _, r := range p.Spec.Egress {
					outRule = outRule || passes(r.To, r.Ports, to)
				}
			}
		}
	}
	return (in || inRule) && (out || outRule)
}

// Who reaches whom is a table; everything that is not in it is denied.
func TestWhoReachesWhom(t *testing.T) {
	t.Parallel()
	always := []string{
		"build of Org1's peer -> peer of Org1:7052", "build of Org1's peer -> peer of Org1:7150",
		"build of Org1's peer -> stranger:443", "build of Org1's peer -> stranger:80",
		"chaincode of Org1's peer -> peer of Org1:7052", "chaincode of Org1's peer -> peer of Org1:7150",
		"chaincode of Org2's peer -> peer of Org2:7052", "chaincode of Org2's peer -> peer of Org2:7150",
		"orderer0 -> orderer1:7050",
		"orderer1 -> orderer0:7050",
		"peer of Org1 -> orderer0:7050",
		"peer of Org1 -> orderer1:7050",
		"peer of Org1 -> other peer of Org1:7051", "peer of Org1 -> other peer of Org1:7150",
		"peer of Org1 -> peer of Org2:7051",
		"peer of Org2 -> orderer0:7050",
		"peer of Org2 -> orderer1:7050",
		"peer of Org2 -> peer of Org1:7051",
		"step -> orderer0:7050", "step -> orderer0:7053",
		"step -> orderer1:7050", "step -> orderer1:7053",
		"step -> peer of Org1:7051",
		"step -> peer of Org2:7051",
	}
	// Ports 7052 and 7100 to 7199 are guarded by certificates then, see networkpolicy.yaml.
	var open []string
	for _, from := range []string{"copy pod", "orderer0", "orderer1", "peer of Org1", "peer of Org2", "step", "stranger"} {
		for _, to := range []string{"peer of Org1", "peer of Org2", "other peer of Org1"} {
			if from != to && (to != "other peer of Org1" || from == "peer of Org1") {
				open = append(open, from+" -> "+to+":7052", from+" -> "+to+":7150")
			}
		}
	}
	for name, tc := range map[string]struct {
		values string
		want   []string
	}{
		"AwaitNetwork": {"launcher: {awaitNetwork: true}", always},
		"Default":      {"{global: {}}", append(slices.Clone(always), open...)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slices.Sort(tc.want)
			if diff := cmp.Diff(slices.Compact(tc.want), reaches(t, tc.values)); diff != "" {
				t.Errorf("-want, +policies:\n%s", diff)
			}
		})
	}
}

// reaches lists who reaches whom in the default network with some values changed.
func reaches(t *testing.T, more string) []string {
	t.Helper()
	sample := sampleNamed(t, "test-network")
	values := with(t, sample, more)
	set(values, "PeerOrgs", []any{
		map[string]any{"Name": "Org1", "Domain": "org1.example.com", "Template": map[string]any{"Count": 2}},
		map[string]any{"Name": "Org2", "Domain": "org2.example.com", "Template": map[string]any{"Count": 1}},
	})
	manifest := mustRender(t, Network, values)
	all := policies(t, manifest)
	pods := workloads(t, manifest)
	node := func(name, workload string) pod {
		w := pods[workload]
		if w == nil {
			t.Fatalf("no workload %s", workload)
		}
		return pod{name, w.Spec.Template.Labels}
	}
	code := func(name, component, node string) pod { // as package runtime labels it
		return pod{name, map[string]string{"app.kubernetes.io/component": component, "app.kubernetes.io/part-of": "hlf-kube", "pivt.io/node": node}}
	}
	everybody := []pod{
		node("orderer0", "hlf-orderer--orderer--orderer0"),
		node("orderer1", "hlf-orderer--orderer--orderer1"),
		node("peer of Org1", "hlf-peer--org1--peer0"),
		node("peer of Org2", "hlf-peer--org2--peer0"),
		node("other peer of Org1", "hlf-peer--org1--peer1"),
		code("chaincode of Org1's peer", "chaincode", "hlf-peer--org1--peer0"),
		code("chaincode of Org2's peer", "chaincode", "hlf-peer--org2--peer0"),
		code("build of Org1's peer", "chaincode-build", "hlf-peer--org1--peer0"),
		{"copy pod", map[string]string{ // as package keeper labels it
			"app.kubernetes.io/name": "hlf-backup", "app.kubernetes.io/component": "backup", "app.kubernetes.io/part-of": "hlf-kube",
			"pivt.io/component": "backup", "pivt.io/node": "hlf-peer--org1--peer0",
		}},
		{"step", decode(t, mustRender(t, ChannelFlow, sample.values(t))).Spec.PodMetadata.Labels},
		{"stranger", map[string]string{"app": "other"}},
	}
	var got []string
	for _, from := range everybody {
		for _, to := range everybody {
			if from.name == to.name || to.name == "stranger" && !strings.Contains(from.name, " of Org1's") {
				continue // nobody's business but the stranger's
			}
			const other = "other peer of Org1"
			if from.name == other || to.name == other && from.name != "peer of Org1" {
				continue // it is like its neighbour but towards that
			}
			for _, port := range []int32{80, 443, 5984, 7050, 7051, 7052, 7053, 7099, 7150, 7200, 8443, 9443} {
				if allowed(t, all, from, to, port) {
					got = append(got, fmt.Sprintf("%s -> %s:%d", from.name, to.name, port))
				}
			}
		}
	}
	sort.Strings(got)
	return got
}

// The rights of the service accounts, all of them. Reading Secrets is in none: they hold
// the keys of every organisation.
func TestRights(t *testing.T) {
	t.Parallel()
	want := map[string][]string{
		"hlf-backup": {
			"apps/statefulsets: get list patch", "argoproj.io/workflows: get", "argoproj.io/workflowtaskresults: create patch",
			"batch/jobs: create get delete", "configmaps [hlf-backup hlf-recovery]: get patch delete", "configmaps: create", "events: list",
			"persistentvolumeclaims: create get delete", "pods/log: get", "pods: create get list delete",
			"snapshot.storage.k8s.io/volumesnapshots: create get delete",
		},
		"hlf-flow": {"argoproj.io/workflowtaskresults: create patch", "configmaps: get"},
		"hlf-peer": {"events: list", "pods/log: get", "pods: create get list watch delete", "secrets: create delete"},
	}
	got := map[string][]string{}
	for key, o := range objects(t, mustRender(t, Network, sampleNamed(t, "test-network").values(t))) {
		switch {
		case strings.HasPrefix(key, "ClusterRole"):
			t.Errorf("%s: rights end at the namespace", key)
		case o.GetKind() == "Role":
			r := &rbacv1.Role{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, r, true); err != nil {
				t.Fatal(err)
			}
			for _, rule := range r.Rules {
				group := strings.Join(rule.APIGroups, ",")
				if group != "" {
					group += "/"
				}
				resources := group + strings.Join(rule.Resources, ",")
				if len(rule.ResourceNames) > 0 {
					resources += fmt.Sprint(" ", rule.ResourceNames)
				}
				got[r.Name] = append(got[r.Name], resources+": "+strings.Join(rule.Verbs, " "))
			}
			sort.Strings(got[r.Name])
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want, +roles:\n%s", diff)
	}
}
