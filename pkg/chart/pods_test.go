package chart

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// workloads are the StatefulSets of a manifest by name, decoded strictly.
func workloads(t testing.TB, manifest []byte) map[string]*appsv1.StatefulSet {
	t.Helper()
	all := map[string]*appsv1.StatefulSet{}
	for _, o := range objects(t, manifest) {
		if o.GetKind() != "StatefulSet" {
			continue
		}
		s := &appsv1.StatefulSet{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, s, true); err != nil {
			t.Fatalf("%s: %v", o.GetName(), err)
		}
		all[s.Name] = s
	}
	return all
}

// pods are the pods of a manifest by their workload's name: those of nodes, and chaincode
// servers. Claims of a StatefulSet count as volumes.
func pods(t testing.TB, manifest []byte) map[string]*corev1.PodSpec {
	t.Helper()
	all := map[string]*corev1.PodSpec{}
	for name, w := range workloads(t, manifest) {
		spec := w.Spec.Template.Spec.DeepCopy()
		for _, c := range w.Spec.VolumeClaimTemplates {
			spec.Volumes = append(spec.Volumes, corev1.Volume{Name: c.Name, VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c.Name + "-" + name + "-0"}}})
		}
		all[name] = spec
	}
	for name, d := range servers(t, manifest) {
		all[name] = &d.Spec.Template.Spec
	}
	return all
}

// flowPods are the pods that Argo makes of a flow's templates in a default installation:
// its own containers have no security context but what podSpecPatch gives them.
func flowPods(t testing.TB, wf *wfv1.Workflow) map[string]*corev1.PodSpec {
	t.Helper()
	patch, err := yaml.YAMLToJSON([]byte(wf.Spec.PodSpecPatch))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*corev1.PodSpec{}
	for _, tmpl := range wf.Spec.Templates {
		if tmpl.Container == nil {
			continue
		}
		main := *tmpl.Container
		main.Name = "main"
		spec, err := json.Marshal(corev1.PodSpec{
			InitContainers:  []corev1.Container{{Name: "init", Image: "argoexec"}},
			Containers:      []corev1.Container{{Name: "wait", Image: "argoexec"}, main},
			SecurityContext: wf.Spec.SecurityContext,
			Volumes:         append(append([]corev1.Volume(nil), wf.Spec.Volumes...), tmpl.Volumes...),
		})
		if err != nil {
			t.Fatal(err)
		}
		patched, err := strategicpatch.StrategicMergePatch(spec, patch, corev1.PodSpec{})
		if err != nil {
			t.Fatal(err)
		}
		pod := &corev1.PodSpec{}
		if err := json.Unmarshal(patched, pod); err != nil {
			t.Fatal(err)
		}
		if len(pod.InitContainers) != 1 || len(pod.Containers) != 2 {
			t.Fatalf("%s: podSpecPatch adds containers instead of changing Argo's", tmpl.Name)
		}
		all[tmpl.Name] = pod
	}
	return all
}

// Every pod passes what a namespace enforces with Pod Security restricted.
func TestPodsAreRestricted(t *testing.T) {
	t.Parallel()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	check := func(t *testing.T, name string, spec *corev1.PodSpec) {
		t.Helper()
		level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
		result := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &metav1.ObjectMeta{Name: name}, spec))
		if !result.Allowed {
			t.Errorf("pod %s is forbidden: %s", name, result.ForbiddenDetail())
		}
		for _, c := range append(append([]corev1.Container(nil), spec.InitContainers...), spec.Containers...) {
			argos := c.Image == "argoexec"
			if !argos && (c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem) {
				t.Errorf("pod %s: container %s can write to its root file system", name, c.Name)
			}
			if !argos && (c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero()) {
				t.Errorf("pod %s: container %s has no memory request or limit", name, c.Name)
			}
		}
	}
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for name, spec := range pods(t, mustRender(t, Network, s.values(t))) {
				check(t, name, spec)
			}
			for _, flow := range flows() {
				for name, spec := range flowPods(t, decode(t, mustRender(t, flow, s.values(t)))) {
					check(t, flow+"/"+name, spec)
				}
			}
		})
	}
	for _, s := range backupSamples(t) {
		for name, spec := range flowPods(t, backupWorkflow(t, mustRender(t, BackupFlow, s.values(t)))) {
			check(t, s.name+"/"+name, spec)
		}
	}
}

// A pod whose mount has no volume, or whose volume nobody mounts, is a slip.
func TestMountsAndVolumesMatch(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t) {
		for name, spec := range pods(t, mustRender(t, Network, s.values(t))) {
			have, used := map[string]bool{}, map[string]bool{}
			for _, v := range spec.Volumes {
				have[v.Name] = true
			}
			for _, c := range append(append([]corev1.Container(nil), spec.InitContainers...), spec.Containers...) {
				for _, m := range c.VolumeMounts {
					used[m.Name] = true
				}
			}
			if diff := cmp.Diff(have, used); diff != "" {
				t.Errorf("%s: %s: -volumes, +mounts:\n%s", s.name, name, diff)
			}
		}
	}
}

// Adding a peer, a channel or a chaincode must not restart what runs.
func TestGrowthRestartsNothing(t *testing.T) {
	t.Parallel()
	s := sampleNamed(t, "test-network")
	before := workloads(t, mustRender(t, Network, s.values(t)))
	org := "{Name: Org%d, Domain: org%d.example.com, EnableNodeOUs: true, Template: {Count: %d}}"
	peers := func(counts ...int) string {
		var orgs []string
		for i, n := range counts {
			orgs = append(orgs, fmt.Sprintf(org, i+1, i+1, n))
		}
		return "PeerOrgs: [" + strings.Join(orgs, ", ") + "]"
	}
	cases := map[string]struct {
		reason string
		more   string
		added  int
	}{
		"Peers":     {"Gossip starts at an organisation's first peer, so further peers are news to nobody's pod.", peers(3, 1), 2},
		"Org":       {"Organisations meet on channels, not in pod specs.", peers(1, 1, 2), 2},
		"Channel":   {"Channels are joined through the nodes' APIs.", "network: {channels: [{name: a, orgs: [Org1]}, {name: b, orgs: [Org2]}]}", 0},
		"Chaincode": {"Chaincode runs in pods of its own.", "network: {chaincodes: [{name: c}, {name: d}]}", 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			after := workloads(t, mustRender(t, Network, with(t, s, tc.more)))
			for name := range before {
				if diff := cmp.Diff(before[name], after[name]); diff != "" {
					t.Errorf("%s\n%s changed: -before, +after:\n%s", tc.reason, name, diff)
				}
			}
			if got := len(after) - len(before); got != tc.added {
				t.Errorf("%d workloads more, want %d", got, tc.added)
			}
		})
	}
}
