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

	annotationID       = "pivt.io/chaincode-id"
	annotationMSPID    = "pivt.io/mspid"
	annotationLauncher = "pivt.io/launcher" // the process that made it, see Process
)

const (
	containerName = "chaincode"
	waiterName    = "wait"
	nobody        = 65532 // the user of images that follow distroless
	// mountPath and the names in it are those of Fabric's Docker builder, the one place
	// that images made for any builder know.
	mountPath    = "/etc/hyperledger/fabric"
	shortHash    = 8
	labelHash    = 32
	suffixLength = 5
	maxName      = 63
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

func labels(p *Peer, c *Chaincode) map[string]string {
	hash := c.hash()
	return map[string]string{
		labelComponent: "chaincode",
		labelPartOf:    "hlf-kube",
		labelManagedBy: "pivt",
		labelNode:      p.Node,
		labelChaincode: labelValue(c.Label()),
		labelPackage:   hash[:min(len(hash), labelHash)],
	}
}

func pod(p *Peer, c *Chaincode, name string, o *Options) *corev1.Pod {
	yes, no, user := true, false, int64(nobody)
	grace := int64(deleteGrace)
	out := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:      name,
			Namespace: p.Namespace,
			Labels:    labels(p, c),
			Annotations: map[string]string{
				annotationID:       c.ID,
				annotationMSPID:    c.MSPID,
				annotationLauncher: o.Process.String(),
			},
		},
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
			Containers: []corev1.Container{{
				Name:                     containerName,
				Image:                    c.Image,
				ImagePullPolicy:          corev1.PullIfNotPresent,
				Env:                      environment(c),
				Resources:                o.Resources,
				SecurityContext:          restricted(),
				TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
				VolumeMounts:             []corev1.VolumeMount{{Name: "tmp", MountPath: "/tmp"}},
			}},
			Volumes: []corev1.Volume{{
				Name:         "tmp",
				VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
			}},
		},
	}
	if p.UID != "" && p.Pod != "" {
		// Not BlockOwnerDeletion: some clusters ask for more rights then, and nothing is won.
		out.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: p.Pod, UID: types.UID(p.UID)}}
	}
	if o.AwaitNetwork {
		out.Spec.InitContainers = []corev1.Container{{
			Name:                     waiterName,
			Image:                    o.Image,
			ImagePullPolicy:          corev1.PullIfNotPresent,
			Command:                  []string{"/usr/local/bin/pivt"},
			Args:                     []string{"launcher", "wait", c.PeerAddress},
			Resources:                waiterResources(),
			SecurityContext:          restricted(),
			TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		}}
	}
	if c.TLS() {
		mode := int32(0o440) // readable through the group; fsGroup makes it ours
		out.Spec.Volumes = append(out.Spec.Volumes, corev1.Volume{
			Name: "tls",
			VolumeSource: corev1.VolumeSource{
				Secret: &corev1.SecretVolumeSource{SecretName: name, DefaultMode: &mode},
			},
		})
		main := &out.Spec.Containers[0]
		main.VolumeMounts = append(main.VolumeMounts, corev1.VolumeMount{Name: "tls", MountPath: mountPath, ReadOnly: true})
	}
	return out
}

// environment is what the shims of all languages read. Those of Go take the address as an
// argument too, which a launcher of images cannot add without knowing their entrypoint.
func environment(c *Chaincode) []corev1.EnvVar {
	env := []corev1.EnvVar{
		{Name: "CORE_CHAINCODE_ID_NAME", Value: c.ID},
		{Name: "CORE_PEER_ADDRESS", Value: c.PeerAddress},
		{Name: "CORE_PEER_LOCALMSPID", Value: c.MSPID},
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

// secret holds the credentials of one launch in both encodings: PEM for the Go shim and
// base64 of the PEM for the Node shim. It belongs to the pod and goes with it.
func secret(p *Peer, c *Chaincode, owner *corev1.Pod) *corev1.Secret {
	yes := true
	base64Of := func(pem string) []byte { return []byte(base64.StdEncoding.EncodeToString([]byte(pem))) }
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:            owner.Name,
			Namespace:       p.Namespace,
			Labels:          labels(p, c),
			Annotations:     owner.Annotations,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: owner.Name, UID: owner.UID}},
		},
		Immutable: &yes,
		Type:      corev1.SecretTypeOpaque,
		Data: map[string][]byte{
			"peer.crt":       []byte(c.RootCert),
			"client_pem.crt": []byte(c.ClientCert),
			"client_pem.key": []byte(c.ClientKey),
			"client.crt":     base64Of(c.ClientCert),
			"client.key":     base64Of(c.ClientKey),
		},
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
func DefaultResources() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("20m"),
			corev1.ResourceMemory: resource.MustParse("32Mi"),
		},
		Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
	}
}

func waiterResources() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("10m"),
			corev1.ResourceMemory: resource.MustParse("16Mi"),
		},
		Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")},
	}
}
