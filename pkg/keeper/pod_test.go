package keeper

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"pivt.io/pivt/pkg/backup"
)

func built(t *testing.T, change func(*Keeper, *plan)) *corev1.Pod {
	t.Helper()
	w := newWorld(t)
	k := w.keeper(nil).defaults()
	n := targetOf(peersA(w)[0]).Node
	p := plan{
		name: "x", role: "save", key: key, args: []string{"save"}, node: &n, network: true, machine: "machine1",
		claims: map[string]string{"data": "data-" + n.Name + "-0", "couchdb": "couchdb-" + n.Name + "-0"},
	}
	if change != nil {
		change(k, &p)
	}
	pod, err := k.build(p)
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

func mounts(pod *corev1.Pod) map[string]string {
	volumes := map[string]corev1.Volume{}
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = v
	}
	all := map[string]string{}
	for _, m := range pod.Spec.Containers[0].VolumeMounts {
		v := volumes[m.Name]
		text := "?"
		switch {
		case v.DownwardAPI != nil:
			text = v.DownwardAPI.Items[0].Path + " of " + v.DownwardAPI.Items[0].FieldRef.FieldPath
		case v.EmptyDir != nil && v.EmptyDir.SizeLimit != nil:
			text = "scratch"
		case v.Secret != nil && *v.Secret.DefaultMode == 0o440:
			text = "secret " + v.Secret.SecretName
		case v.PersistentVolumeClaim != nil && !v.PersistentVolumeClaim.ReadOnly:
			text = "claim " + v.PersistentVolumeClaim.ClaimName
		}
		if m.ReadOnly {
			text += ", read-only"
		}
		all[m.MountPath] = text
	}
	return all
}

func TestCopyPodMounts(t *testing.T) {
	t.Parallel()
	const data, couch = "claim data-hlf-peer--a--peer0-0", "claim couchdb-hlf-peer--a--peer0-0"
	common := map[string]string{
		"/run/pivt/settings": "settings.json of metadata.annotations['pivt.io/settings'], read-only",
		"/run/pivt/network":  "network.yaml of metadata.annotations['pivt.io/network'], read-only",
		"/run/pivt/node":     "node.json of metadata.annotations['pivt.io/node'], read-only",
		backup.CacheDir:      "scratch",
	}
	cases := map[string]struct {
		reason string
		change func(*Keeper, *plan)
		want   map[string]string
	}{
		"Save": {
			"A copy must not be able to change what it copies.", nil,
			map[string]string{backup.CredentialsDir: "secret hlf-backup, read-only", "/run/pivt/volumes/data": data + ", read-only", "/run/pivt/volumes/couchdb": couch + ", read-only"},
		},
		"Restore": {
			"What is put back is written.", func(_ *Keeper, p *plan) { p.role, p.writable = "restore", true },
			map[string]string{backup.CredentialsDir: "secret hlf-backup, read-only", "/run/pivt/volumes/data": data, "/run/pivt/volumes/couchdb": couch},
		},
		"IntoClaim": {
			"The repository is a volume then.",
			func(k *Keeper, p *plan) {
				p.claims = nil
				k.Settings.Target = backup.Target{Type: backup.PVC, PVC: backup.PVCTarget{ClaimName: "backups"}}
			},
			map[string]string{backup.CredentialsDir: "secret hlf-backup, read-only", backup.RepositoryDir: "claim backups"},
		},
		"Guard": {
			"It has no use for the repository.", func(_ *Keeper, p *plan) { p.role = roleGuard }, nil,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := map[string]string{}
			for _, m := range []map[string]string{common, tc.want} {
				for at, what := range m {
					want[at] = what
				}
			}
			if diff := cmp.Diff(want, mounts(built(t, tc.change))); diff != "" {
				t.Errorf("%s\nmounts: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestCopyPodIsHarmless(t *testing.T) {
	t.Parallel()
	pod := built(t, nil)
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for _, r := range evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec) {
		if !r.Allowed {
			t.Errorf("not restricted: %s", r.ForbiddenDetail)
		}
	}
	if *pod.Spec.AutomountServiceAccountToken {
		t.Error("a copy needs no token, and its right is to stop nodes")
	}
	if pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Error("a copy that failed must not begin again by itself: its node may run by then")
	}
	if !*pod.Spec.SecurityContext.RunAsNonRoot || *pod.Spec.SecurityContext.FSGroup != fabricUser {
		t.Error("nodes' files are not readable to it")
	}
	// A node's Service and policies select by this name.
	if name := pod.Labels["app.kubernetes.io/name"]; strings.HasPrefix(name, "hlf-peer") || pod.Labels["app.kubernetes.io/component"] == "peer" {
		t.Error("the node's Service would send it requests")
	}
	prefer := pod.Spec.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution
	if len(prefer) != 1 || prefer[0].Preference.MatchFields[0].Values[0] != "machine1" {
		t.Error("the volume would have to move to another machine")
	}
}

// Settings are the operator's, labels that we find things by are ours.
func TestPodSettings(t *testing.T) {
	t.Parallel()
	pod := built(t, func(k *Keeper, _ *plan) {
		k.Settings.Pod = backup.PodSettings{
			Image: "mirror/pivt", ImagePullPolicy: corev1.PullAlways, ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}},
			NodeSelector: map[string]string{"disk": "ssd"}, Tolerations: []corev1.Toleration{{Key: "a"}}, PriorityClassName: "low",
			Labels: map[string]string{"team": "x", RoleLabel: "mine"}, Annotations: map[string]string{"note": "y"},
			ExtraEnv:        []corev1.EnvVar{{Name: "HTTPS_PROXY", Value: "p"}},
			SecurityContext: &corev1.PodSecurityContext{RunAsUser: new(int64(9))}, ContainerContext: &corev1.SecurityContext{Privileged: new(false)},
		}
	})
	c := pod.Spec.Containers[0]
	got := []any{
		c.Image, c.ImagePullPolicy, pod.Spec.ImagePullSecrets[0].Name, pod.Spec.NodeSelector["disk"], pod.Spec.Tolerations[0].Key, pod.Spec.PriorityClassName,
		pod.Labels["team"], pod.Labels[RoleLabel], pod.Annotations["note"], c.Env[len(c.Env)-1].Value, *pod.Spec.SecurityContext.RunAsUser, *c.SecurityContext.Privileged,
	}
	want := []any{"mirror/pivt", corev1.PullAlways, "pull", "ssd", "a", "low", "x", "save", "y", "p", int64(9), false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want, +pod:\n%s", diff)
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	for _, v := range []string{"first", "second"} {
		if err := WriteAnswer(&out, v); err != nil {
			t.Fatal(err)
		}
	}
	cases := map[string]struct{ log, want string }{
		"LastCounts": {"{}\n" + out.String() + "bye", `"second"`},
		"None":       {"{\"msg\":\"PIVT-ANSWER\"}\n", ""},
		"Broken":     {answerMark + "!\n", ""},
		"Torn":       {out.String()[:len(answerMark)+20], ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ReadAnswer(tc.log)
			if (err == nil) != (tc.want != "") || strings.TrimSpace(string(got)) != tc.want {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}
