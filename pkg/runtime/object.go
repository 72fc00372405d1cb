package runtime

import (
	"encoding/base64"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pivt.io/pivt/pkg/network"
)

// Labels and annotations of what is made here. Network policies and people select by them.
const (
	labelComponent = "app.kubernetes.io/component"
	labelPartOf    = "app.kubernetes.io/part-of"
	labelManagedBy = "app.kubernetes.io/managed-by"
	labelNode      = "pivt.io/node"
	labelChaincode = "pivt.io/chaincode" // the package's label, as far as a label value can hold it
	labelPackage   = "pivt.io/package"   // the first half of its hash; all of it is one character too long

	componentChaincode = "chaincode"
	componentBuild     = "chaincode-build"

	annotationID       = "pivt.io/chaincode-id"
	annotationMSPID    = "pivt.io/mspid"
	annotationLauncher = "pivt.io/launcher"                        // the process that made it, see Process
	annotationHash     = "pivt.io/source"                          // of a build: all of Source.Hash
	annotationVoice    = "kubectl.kubernetes.io/default-container" // whose log people mean
	annotationResult   = "pivt.io/result"                          // of a build: host:port where other peers get its output
)

// Containers, by whose names templates can reach them.
const (
	containerName = "chaincode"
	waiterName    = "wait"
	fetchName     = "fetch"
	buildName     = "build"
	returnName    = "return"
)

const (
	nobody = 65532 // the user of images that follow distroless
	// mountPath and the names in it are those of Fabric's Docker builder, the one place
	// that images made for any builder know.
	mountPath    = "/etc/hyperledger/fabric"
	shortHash    = 8
	labelHash    = 32
	suffixLength = 5
	maxName      = 63

	program    = "/usr/local/bin/pivt" // in the pivt image
	ticketPath = "/run/pivt/ticket"
	ticketFile = "ticket.json"
	home       = "/tmp"
	// tmpSize is for what chaincode keeps in files, which is little.
	tmpSize = "1Gi"
)

var notInLabel = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

// labelValue spells a package label as a label value: the same text wherever possible.
func labelValue(s string) string {
	const ends = "-_."
	return strings.TrimRight(network.Shorten(strings.Trim(notInLabel.ReplaceAllString(s, "-"), ends), maxName), ends)
}

// podName is unique by its suffix: a run never meets the pod of another, not even of
// the run before it for the same package.
func podName(p *Peer, c *Chaincode, suffix string) string {
	room := maxName - 1 - shortHash - 1 - suffixLength
	return network.Shorten(p.Node+"--"+network.Label(c.Label()), room) + "-" + c.hash()[:shortHash] + "-" + suffix
}

func labels(p *Peer, component, label, hash string) map[string]string {
	return map[string]string{
		labelComponent: component,
		labelPartOf:    "hlf-kube",
		labelManagedBy: "pivt",
		labelNode:      p.Node,
		labelChaincode: labelValue(label),
		labelPackage:   hash[:min(len(hash), labelHash)],
	}
}

// bare is a pod without containers: whose it is, and that it can do no harm.
func bare(p *Peer, name string, marks, notes map[string]string) *corev1.Pod {
	yes, no, user := true, false, int64(nobody)
	grace := int64(deleteGrace)
	out := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: p.Namespace, Labels: marks, Annotations: notes},
		Spec: corev1.PodSpec{
			RestartPolicy:                 corev1.RestartPolicyNever,
			TerminationGracePeriodSeconds: &grace,
			AutomountServiceAccountToken:  &no,
			EnableServiceLinks:            &no,
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot:   &yes,
				RunAsUser:      &user,
				RunAsGroup:     &user,
				FSGroup:        &user,
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
		},
	}
	if p.UID != "" && p.Pod != "" {
		// Not BlockOwnerDeletion: some clusters ask for more rights then, and nothing is won.
		out.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: p.Pod, UID: types.UID(p.UID)}}
	}
	return out
}

// pod is the pod of one launch.
func pod(p *Peer, c *Chaincode, name string, o *Options) *corev1.Pod {
	out := bare(p, name, labels(p, componentChaincode, c.Label(), c.hash()), map[string]string{
		annotationID:       c.ID,
		annotationMSPID:    c.MSPID,
		annotationLauncher: o.Process.String(),
	})
	main := container(containerName, c.Image, o.Resources)
	main.Env = environment(c)
	main.VolumeMounts = []corev1.VolumeMount{{Name: "tmp", MountPath: home}}
	out.Spec.Volumes = []corev1.Volume{scratch("tmp", tmpSize)}
	if c.TLS() {
		out.Spec.Volumes = append(out.Spec.Volumes, secretVolume("tls", name, keyFiles()...))
		main.VolumeMounts = append(main.VolumeMounts, corev1.VolumeMount{Name: "tls", MountPath: mountPath, ReadOnly: true})
	}
	out.Spec.Containers = []corev1.Container{main}
	if c.Program != nil {
		addProgram(out, c.Program, o.Image)
	}
	if o.AwaitNetwork {
		out.Spec.InitContainers = []corev1.Container{helper(waiterName, o.Image, "wait", c.PeerAddress)}
	}
	return out
}

// addProgram lets a container beside the chaincode's fetch its code. An init container
// would do it before, at the price of the second that a kubelet takes to see its end. It stays
// when it has done its work: a pod with an ended container is "NotReady" for kubectl and for people.
func addProgram(out *corev1.Pod, p *Program, image string) {
	const code, state, ready = "/run/pivt/code", "/run/pivt/state", "/run/pivt"
	fetch := helper(fetchName, image, "fetch", "--ticket", ticketPath+"/"+ticketFile, "--to", code, "--ready", state+"/ready", "--stay")
	fetch.VolumeMounts = []corev1.VolumeMount{
		{Name: "ticket", MountPath: ticketPath, ReadOnly: true},
		{Name: "code", MountPath: code},
		{Name: "ready", MountPath: state},
	}
	main := &out.Spec.Containers[0]
	main.Command = []string{"/bin/sh", "-c"}
	main.Args = []string{"until [ -e " + ready + "/ready ]; do sleep 0.05 || sleep 1; done; " + p.Command}
	main.VolumeMounts = append(main.VolumeMounts,
		corev1.VolumeMount{Name: "code", MountPath: p.Path, ReadOnly: true},
		corev1.VolumeMount{Name: "ready", MountPath: ready, ReadOnly: true},
	)
	// Kubelets start containers one after the other: the code travels while the second starts.
	out.Spec.Containers = []corev1.Container{fetch, *main}
	out.Annotations[annotationVoice] = containerName
	out.Spec.Volumes = append(out.Spec.Volumes,
		scratch("code", codeSize), scratch("ready", "1Mi"), secretVolume("ticket", out.Name, ticketFile))
}

// codeSize is above what transfer.DefaultLimits let through: a volume that is exceeded
// evicts the pod without a word on what was in it.
const codeSize = "3Gi"

func container(name, image string, resources corev1.ResourceRequirements) corev1.Container {
	return corev1.Container{
		Name:                     name,
		Image:                    image,
		ImagePullPolicy:          corev1.PullIfNotPresent,
		Resources:                resources,
		SecurityContext:          restricted(),
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	}
}

// helper is a container of the pivt image that runs one of the launcher's commands.
func helper(name, image string, args ...string) corev1.Container {
	out := container(name, image, helperResources())
	out.Command = []string{program}
	out.Args = append([]string{"launcher"}, args...)
	return out
}

func scratch(name, size string) corev1.Volume {
	limit := resource.MustParse(size)
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}}}
}

// secretVolume shows some keys of the pod's Secret, to some of its containers.
func secretVolume(name, secret string, keys ...string) corev1.Volume {
	mode := int32(0o440) // readable through the group; fsGroup makes it ours
	source := &corev1.SecretVolumeSource{SecretName: secret, DefaultMode: &mode}
	for _, key := range keys {
		source.Items = append(source.Items, corev1.KeyToPath{Key: key, Path: key})
	}
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Secret: source}}
}

// environment is what the shims of all languages read. Those of Go take the address as an
// argument too, which a launcher of images cannot add without knowing their entrypoint.
func environment(c *Chaincode) []corev1.EnvVar {
	env := []corev1.EnvVar{
		{Name: "CORE_CHAINCODE_ID_NAME", Value: c.ID},
		{Name: "CORE_PEER_ADDRESS", Value: c.PeerAddress},
		{Name: "CORE_PEER_LOCALMSPID", Value: c.MSPID},
		{Name: "HOME", Value: home},
	}
	if !c.TLS() {
		return append(env, corev1.EnvVar{Name: "CORE_PEER_TLS_ENABLED", Value: "false"})
	}
	return append(env,
		corev1.EnvVar{Name: "CORE_PEER_TLS_ENABLED", Value: "true"},
		corev1.EnvVar{Name: "CORE_PEER_TLS_ROOTCERT_FILE", Value: mountPath + "/peer.crt"},
		corev1.EnvVar{Name: "CORE_TLS_CLIENT_KEY_PATH", Value: mountPath + "/client.key"},
		corev1.EnvVar{Name: "CORE_TLS_CLIENT_CERT_PATH", Value: mountPath + "/client.crt"},
		corev1.EnvVar{Name: "CORE_TLS_CLIENT_KEY_FILE", Value: mountPath + "/client_pem.key"},
		corev1.EnvVar{Name: "CORE_TLS_CLIENT_CERT_FILE", Value: mountPath + "/client_pem.crt"},
	)
}

// keys are the credentials of one launch in both encodings: PEM for the Go shim and base64
// of the PEM for the Node shim.
func keys(c *Chaincode) map[string][]byte {
	if !c.TLS() {
		return map[string][]byte{}
	}
	base64Of := func(pem string) []byte { return []byte(base64.StdEncoding.EncodeToString([]byte(pem))) }
	return map[string][]byte{
		"peer.crt":       []byte(c.RootCert),
		"client_pem.crt": []byte(c.ClientCert),
		"client_pem.key": []byte(c.ClientKey),
		"client.crt":     base64Of(c.ClientCert),
		"client.key":     base64Of(c.ClientKey),
	}
}

func keyFiles() []string {
	return []string{"client.crt", "client.key", "client_pem.crt", "client_pem.key", "peer.crt"}
}

// secret belongs to the pod and goes with it.
func secret(owner *corev1.Pod, name string, marks map[string]string, data map[string][]byte) *corev1.Secret {
	yes := true
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:            name,
			Namespace:       owner.Namespace,
			Labels:          marks,
			Annotations:     owner.Annotations,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: owner.Name, UID: owner.UID}},
		},
		Immutable: &yes,
		Type:      corev1.SecretTypeOpaque,
		Data:      data,
	}
}

func restricted() *corev1.SecurityContext {
	yes, no := true, false
	return &corev1.SecurityContext{
		RunAsNonRoot:             &yes,
		AllowPrivilegeEscalation: &no,
		ReadOnlyRootFilesystem:   &yes,
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

// DefaultResources suit a laptop. There is no limit of CPU: throttled chaincode misses
// Fabric's execution timeout long before anybody looks for the reason.
func DefaultResources() corev1.ResourceRequirements { return resources("20m", "32Mi", "512Mi") }

// BuildResources let compilers work and ask for little: builds are short, and a node that
// could not hold two at once should still take one.
func BuildResources() corev1.ResourceRequirements { return resources("100m", "128Mi", "3Gi") }

func helperResources() corev1.ResourceRequirements { return resources("10m", "16Mi", "128Mi") }

func resources(cpu, memory, limit string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse(cpu),
			corev1.ResourceMemory: resource.MustParse(memory),
		},
		Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(limit)},
	}
}
