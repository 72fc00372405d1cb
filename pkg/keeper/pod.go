package keeper

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/network"
)

// Container is the one container of all pods that are made here.
const Container = "backup"

// Labels of all that is made here, and of the guard among them.
const (
	KeyLabel  = "pivt.io/backup"
	NodeLabel = "pivt.io/node"
	RoleLabel = "pivt.io/role" // save, restore, finish, undo, guard or ask
)

// Annotations of pods, which they read as files below /run/pivt.
const (
	settingsAnnotation = "pivt.io/settings"
	networkAnnotation  = "pivt.io/network"
	nodeAnnotation     = "pivt.io/node"
)

// Under which hold a copy is made.
const (
	tokenAnnotation      = "pivt.io/hold"
	generationAnnotation = "pivt.io/generation"
	stoppedAnnotation    = "pivt.io/stopped"
)

const (
	program   = "/usr/local/bin/pivt-backup"
	cacheSize = "2Gi"
	podGrace  = 5 // seconds between SIGTERM and SIGKILL: a copy has nothing to save
	maxName   = 63
	roleGuard = "guard"
	roleAsk   = "ask"
)

// plan is a pod to be made.
type plan struct {
	name, role, key string
	args            []string
	node            *backup.Node // whose claims it has
	claims          map[string]string
	writable        bool
	network         bool // whether it gets the network file
	token           bool // whether it may call the API server
	machine         string
	pinned          bool // must, not only should, run on the machine
	limit           time.Duration
	hold            *grip
	owners          []metav1.OwnerReference
}

// name of an object for one key and node: the same for every run, so that two runs cannot have two.
func name(role, node, key string) string {
	return network.Shorten(fmt.Sprintf("hlf-%s--%s--%s", role, key, node), maxName)
}

// labels are on everything that is made here. They are none of a node's own: no Service and
// no NetworkPolicy of a node may take a copy pod for it.
func (k *Keeper) labels(role, key, node string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, k.Settings.Pod.Labels)
	maps.Copy(all, map[string]string{
		"app.kubernetes.io/name": "hlf-backup", "app.kubernetes.io/part-of": "hlf-kube", "app.kubernetes.io/component": "backup",
		"pivt.io/component": "backup", RoleLabel: role,
	})
	if key != "" {
		all[KeyLabel] = key
	}
	if node != "" {
		all[NodeLabel] = node
	}
	return all
}

// build makes the pod of a plan.
func (k *Keeper) build(p plan) (*corev1.Pod, error) {
	s := k.Settings.Pod
	settings, err := json.Marshal(k.Settings)
	if err != nil {
		return nil, err
	}
	annotations := map[string]string{}
	maps.Copy(annotations, s.Annotations)
	annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] = "false"
	annotations[settingsAnnotation] = string(settings)
	files := map[string]string{"settings/settings.json": settingsAnnotation}
	labelled := ""
	if p.node != nil {
		labelled = p.node.Name
		node, err := json.Marshal(p.node)
		if err != nil {
			return nil, err
		}
		annotations[nodeAnnotation] = string(node)
		files["node/node.json"] = nodeAnnotation
	}
	if p.network {
		annotations[networkAnnotation] = string(k.NetworkFile)
		files["network/network.yaml"] = networkAnnotation
	}
	if p.hold != nil {
		annotations[tokenAnnotation] = p.hold.hold.Token
		annotations[generationAnnotation] = fmt.Sprint(p.hold.generation)
	}
	volumes, mounts := k.volumes(p, files)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: p.name, Namespace: k.Namespace, Labels: k.labels(p.role, p.key, labelled), Annotations: annotations, OwnerReferences: p.owners},
		Spec: corev1.PodSpec{
			RestartPolicy:                 corev1.RestartPolicyNever,
			ServiceAccountName:            s.ServiceAccountName,
			AutomountServiceAccountToken:  new(p.token),
			EnableServiceLinks:            new(false),
			TerminationGracePeriodSeconds: new(int64(podGrace)),
			ImagePullSecrets:              s.ImagePullSecrets,
			NodeSelector:                  s.NodeSelector,
			Tolerations:                   s.Tolerations,
			PriorityClassName:             s.PriorityClassName,
			SecurityContext:               podContext(s),
			Affinity:                      near(p.machine, p.pinned),
			Volumes:                       volumes,
			Containers: []corev1.Container{{
				Name: Container, Image: s.Image, ImagePullPolicy: s.ImagePullPolicy,
				Command: []string{program}, Args: p.args, Env: k.env(),
				Resources: s.Resources, SecurityContext: containerContext(s), VolumeMounts: mounts,
				TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
			}},
		},
	}
	if p.limit > 0 {
		pod.Spec.ActiveDeadlineSeconds = new(max(1, int64(p.limit/time.Second)))
	}
	return pod, nil
}

func (k *Keeper) env() []corev1.EnvVar {
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
	}
	return append([]corev1.EnvVar{
		field("PIVT_NAMESPACE", "metadata.namespace"),
		field("PIVT_POD_NAME", "metadata.name"),
		field("PIVT_POD_UID", "metadata.uid"),
		{Name: "PIVT_WORKFLOW", Value: k.Workflow},
		{Name: "TMPDIR", Value: backup.CacheDir},
	}, k.Settings.Pod.ExtraEnv...)
}

// volumes of a pod. A claim is mounted, not attached, read-only: a file system that was not
// unmounted cleanly is repaired when it is attached, and that is writing.
func (k *Keeper) volumes(p plan, files map[string]string) ([]corev1.Volume, []corev1.VolumeMount) {
	var volumes []corev1.Volume
	var mounts []corev1.VolumeMount
	add := func(name, at string, readOnly bool, source corev1.VolumeSource) {
		volumes = append(volumes, corev1.Volume{Name: name, VolumeSource: source})
		mounts = append(mounts, corev1.VolumeMount{Name: name, MountPath: at, ReadOnly: readOnly})
	}
	claim := func(name string) corev1.VolumeSource {
		return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		dir, base := path.Split(file)
		dir = path.Clean(dir)
		add(dir, "/run/pivt/"+dir, true, corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{{
			Path: base, FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.annotations['" + files[file] + "']"},
		}}}})
	}
	limit := resource.MustParse(cacheSize)
	add("cache", backup.CacheDir, false, corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}})
	if p.role == roleGuard {
		return volumes, mounts // it starts nodes, and nothing more
	}
	if k.Settings.SecretName != "" {
		add("credentials", backup.CredentialsDir, true, corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: k.Settings.SecretName, DefaultMode: new(int32(0o440))}})
	}
	if t := k.Settings.Target; t.Type == backup.PVC {
		add("repository", backup.RepositoryDir, false, claim(t.PVC.ClaimName))
	}
	for _, volume := range slices.Sorted(maps.Keys(p.claims)) {
		add("volume-"+volume, path.Join(backup.VolumesDir, volume), !p.writable, claim(p.claims[volume]))
	}
	return volumes, mounts
}

// near sends a pod to the machine where the node's volumes and the image are already.
func near(machine string, must bool) *corev1.Affinity {
	if machine == "" {
		return nil
	}
	term := corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{machine}}}}
	a := &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 100, Preference: term}}}
	if must {
		a = &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term}}}
	}
	return &corev1.Affinity{NodeAffinity: a}
}

// What nodes' files belong to, see charts/hlf-kube.
const fabricUser = 7051

func podContext(s backup.PodSettings) *corev1.PodSecurityContext {
	if s.SecurityContext != nil {
		return s.SecurityContext
	}
	return &corev1.PodSecurityContext{
		RunAsNonRoot: new(true), RunAsUser: new(int64(fabricUser)), RunAsGroup: new(int64(fabricUser)), FSGroup: new(int64(fabricUser)),
		FSGroupChangePolicy: new(corev1.FSGroupChangeOnRootMismatch), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

func containerContext(s backup.PodSettings) *corev1.SecurityContext {
	if s.ContainerContext != nil {
		return s.ContainerContext
	}
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true), RunAsNonRoot: new(true),
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

func seconds(s *int64) time.Duration {
	if s == nil {
		return 0
	}
	return time.Duration(*s) * time.Second
}
