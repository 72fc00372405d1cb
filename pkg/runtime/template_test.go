package runtime

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"pivt.io/pivt/pkg/exit"
)

func TestShape(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason    string
		templates []string
		change    func(*corev1.Pod) // what becomes of the pod
	}{
		"None":  {"Most networks have none.", nil, func(*corev1.Pod) {}},
		"Empty": {"A file of comments is no change.", []string{"# nothing\n"}, func(*corev1.Pod) {}},
		"Resources": {
			reason:    "Limits are what people ask for first; the container keeps the rest.",
			templates: []string{"spec: {containers: [{name: chaincode, resources: {limits: {memory: 2Gi}}, env: [{name: HTTPS_PROXY, value: proxy}]}]}"},
			change: func(p *corev1.Pod) {
				c := &p.Spec.Containers[0]
				c.Resources.Limits[corev1.ResourceMemory] = resource.MustParse("2Gi")
				c.Env = append(c.Env, corev1.EnvVar{Name: "HTTPS_PROXY", Value: "proxy"})
			},
		},
		"Later": {
			reason:    "The file of one chaincode overrules the file of all.",
			templates: []string{"spec: {nodeSelector: {disk: fast, zone: a}, imagePullSecrets: [{name: x}]}", "spec: {nodeSelector: {zone: b}}"},
			change: func(p *corev1.Pod) {
				p.Spec.NodeSelector = map[string]string{"disk": "fast", "zone": "b"}
				p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "x"}}
			},
		},
		"Protected": {
			reason: "Selectors of network policies, the pinned image and one start per launch are not for templates.",
			templates: []string{`
metadata: {name: mine, labels: {team: a, pivt.io/node: other}, annotations: {pivt.io/launcher: nobody, mesh: "off"}}
spec:
  restartPolicy: Always
  automountServiceAccountToken: true
  terminationGracePeriodSeconds: 600
  containers:
  - name: chaincode
    image: mine
    command: [sh]
    env: [{name: CORE_PEER_ADDRESS, value: evil:1}, {name: CORE_CHAINCODE_LOGGING_LEVEL, value: debug}, {name: HOME, value: /home}]
    volumeMounts: [{name: mine, mountPath: /etc/hyperledger/fabric}, {name: mine, mountPath: /mine}]
  - {name: fetch, image: mine}
  volumes: [{name: mine, emptyDir: {sizeLimit: 1Mi}}, {name: tmp, emptyDir: {sizeLimit: 2Gi}}]`},
			change: func(p *corev1.Pod) {
				p.Labels["team"] = "a"
				p.Annotations["mesh"] = "off"
				c, limit, tmp := &p.Spec.Containers[0], resource.MustParse("1Mi"), resource.MustParse("2Gi")
				for i := range c.Env {
					if c.Env[i].Name == "HOME" {
						c.Env[i].Value = "/home"
					}
				}
				c.Env = append(c.Env, corev1.EnvVar{Name: "CORE_CHAINCODE_LOGGING_LEVEL", Value: "debug"})
				c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "mine", MountPath: "/mine"})
				p.Spec.Volumes[0].EmptyDir.SizeLimit = &tmp
				p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "mine", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}}})
			},
		},
		"Wishes": {
			reason: "What operators ask for, all at once, and again by a later template.",
			templates: []string{`
spec:
  tolerations: [{key: fabric, operator: Exists}]
  hostAliases: [{ip: 10.0.0.1, hostnames: [peer0]}]
  priorityClassName: high
  securityContext: {runAsUser: 1000}
  volumes: [{name: data, emptyDir: {sizeLimit: 1Mi}}]`, `
spec:
  containers: [{name: chaincode, env: [{name: CORE_PEER_ADDRESS, value: evil:1}]}]
  volumes: [{name: data, emptyDir: {sizeLimit: 2Mi}}]`},
			change: func(p *corev1.Pod) {
				user, limit := int64(1000), resource.MustParse("2Mi")
				p.Spec.Tolerations = []corev1.Toleration{{Key: "fabric", Operator: corev1.TolerationOpExists}}
				p.Spec.HostAliases = []corev1.HostAlias{{IP: "10.0.0.1", Hostnames: []string{"peer0"}}}
				p.Spec.PriorityClassName = "high"
				p.Spec.SecurityContext.RunAsUser = &user
				p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}}})
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peer, cc, o := Peer{Namespace: "fabric", Node: node}, chaincode("basic_1.0"), Options{}.withDefaults()
			want := pod(&peer, &cc, "name", &o)
			tc.change(want)
			var templates []Template
			for _, data := range tc.templates {
				templates = append(templates, Template{Name: "pod.yaml", Data: []byte(data)})
			}
			got, err := shape(pod(&peer, &cc, "name", &o), templates)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s\nshape: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestShapeRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ reason, template, want string }{
		"Typo":      {"A misspelt key would change nothing, silently.", "spec: {nodeSelectors: {a: b}}", `unknown field "spec.nodeSelectors"`},
		"Sidecar":   {"A container of somebody else could see the ticket.", "spec: {containers: [{name: spy, image: x}]}", `there is no container "spy" to change`},
		"Ticket":    {"So could one of ours that is not meant to.", "spec: {initContainers: [{name: build, volumeMounts: [{name: ticket, mountPath: /t}]}]}", `volume "ticket" is not to be mounted elsewhere`},
		"Keys":      {"The volume of the keys is not for another source.", "spec: {volumes: [{name: tls, emptyDir: {}}]}", `volume "tls" is taken`},
		"HostTmp":   {"Nor is that of the scratch space.", "spec: {volumes: [{name: tmp, hostPath: {path: /}}]}", `volume "tmp" is taken`},
		"Token":     {"Chaincode has no rights, by whatever door.", "spec: {volumes: [{name: t, projected: {sources: [{serviceAccountToken: {path: token}}]}}]}", "no token of the service account"},
		"Directive": {"A patch can delete as well, which none of ours may.", "spec: {containers: [{name: chaincode, $patch: delete}]}", `unknown field "spec.containers[0].$patch"`},
		"Duplicate": {"The second would win without a word.", "spec: {nodeSelector: {a: b}}\nspec: {}", `key "spec" already set`},
		"NoYAML":    {"Tabs happen.", "spec:\n\tx", "found character that cannot start any token"},
		"List":      {"Only a pod is merged.", "[]", "cannot unmarshal array"},
		"Nothing":   {"A quantity is checked by nobody later.", "spec: {containers: [{name: chaincode, resources: {limits: {memory: much}}}]}", "quantities must match"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peer, cc, o := Peer{Namespace: "fabric", Node: node}, chaincode("basic_1.0"), Options{}.withDefaults()
			_, err := shape(pod(&peer, &cc, "name", &o), []Template{{Name: "basic_1.0.yaml", Data: []byte(tc.template)}})
			if exit.CodeOf(err) != exit.Invalid || !strings.Contains(err.Error(), "template basic_1.0.yaml: ") || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\nshape = %v, want %q", tc.reason, err, tc.want)
			}
		})
	}
}

// TestShapeBuild: the builder's image and script, and the order of a build, are the
// package's and not the template's.
func TestShapeBuild(t *testing.T) {
	t.Parallel()
	peer, s := Peer{Namespace: "fabric", Node: node, Org: "org1"}, Source{Label: "a", Hash: testHash, Image: "builder", Script: "make", Deadline: DefaultDeadline}
	o := Options{Image: "pivt"}.withDefaults()
	made := func() *corev1.Pod { return buildPod(&peer, &s, buildNames{pod: "p", secret: "s"}, &o) }
	got, err := shape(made(), []Template{{Name: "build.pod", Data: []byte(`
spec:
  activeDeadlineSeconds: 99999
  initContainers:
  - {name: build, image: other, args: [evil], resources: {limits: {memory: 8Gi}}}
  - {name: fetch, image: other}
  containers: [{name: return, image: other}]`)}})
	if err != nil {
		t.Fatal(err)
	}
	want := made()
	want.Spec.InitContainers[1].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("8Gi")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("shape: -want, +got:\n%s", diff)
	}
}
