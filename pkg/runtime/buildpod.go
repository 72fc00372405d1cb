package runtime

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"pivt.io/pivt/pkg/network"
)

// Places in a build pod. Those of the chaincode are the ones that Fabric's builder images
// and their scripts know.
const (
	inputPath  = "/chaincode/input"
	outputPath = "/chaincode/output"
	caPath     = "/etc/pivt"
	caFile     = "ca.crt"
	// buildTmpSize is for the caches of compilers and package managers.
	buildTmpSize = "10Gi"
	buildHash    = 12 // characters of a hash in names
)

// sharedName is the same for all peers of an organisation, so that the API server lets
// only one of them build.
func sharedName(p *Peer, s *Source) string {
	return buildPodName(p, s, maxName-1-buildHash) + "-" + s.Hash[:buildHash]
}

// ownName is nobody else's.
func ownName(p *Peer, s *Source, suffix string) string {
	return buildPodName(p, s, maxName-1-buildHash-1-suffixLength) + "-" + s.Hash[:buildHash] + "-" + suffix
}

func buildPodName(p *Peer, s *Source, room int) string {
	return network.Shorten(strings.Join([]string{"hlf-build", network.Label(p.Org), network.Label(s.Label)}, "--"), room)
}

// buildNames are those of one build. The Secret's is always its own: a pod of another peer
// that takes over the shared name must not find our ticket.
type buildNames struct {
	pod, secret string
	result      string // where other peers get the output, "" if they do not
}

// buildPod fetches, builds and returns, one after the other. The build's container sees
// neither the ticket nor the way back; what it leaves is read by the next one, when it can
// change nothing any more.
func buildPod(p *Peer, s *Source, n buildNames, o *Options) *corev1.Pod {
	notes := map[string]string{annotationHash: s.Hash, annotationLauncher: o.Process.String(), annotationVoice: buildName}
	if n.result != "" {
		notes[annotationResult] = n.result
	}
	out := bare(p, n.pod, labels(p, componentBuild, s.Label, s.Hash), notes)
	seconds := max(1, int64(s.Deadline.Seconds()))
	out.Spec.ActiveDeadlineSeconds = &seconds

	ticket := corev1.VolumeMount{Name: "ticket", MountPath: ticketPath, ReadOnly: true}
	fetch := helper(fetchName, o.Image, "fetch", "--ticket", ticketPath+"/"+ticketFile, "--to", inputPath)
	fetch.VolumeMounts = []corev1.VolumeMount{ticket, {Name: "input", MountPath: inputPath}}

	build := container(buildName, s.Image, o.Resources)
	build.Command = []string{"/bin/sh", "-c"}
	build.Args = []string{s.Script}
	build.WorkingDir = inputPath // that of the image may be closed to our user
	build.Env = buildEnvironment(s)
	build.VolumeMounts = []corev1.VolumeMount{
		{Name: "input", MountPath: inputPath},
		{Name: "output", MountPath: outputPath},
		{Name: "tmp", MountPath: home},
	}

	back := helper(returnName, o.Image, "return", "--ticket", ticketPath+"/"+ticketFile, "--from", outputPath)
	back.VolumeMounts = []corev1.VolumeMount{ticket, {Name: "output", MountPath: outputPath, ReadOnly: true}}

	out.Spec.Volumes = []corev1.Volume{
		scratch("input", codeSize), scratch("output", codeSize), scratch("tmp", buildTmpSize),
		secretVolume("ticket", n.secret, ticketFile),
	}
	if len(s.CA) > 0 {
		build.VolumeMounts = append(build.VolumeMounts, corev1.VolumeMount{Name: "ca", MountPath: caPath, ReadOnly: true})
		out.Spec.Volumes = append(out.Spec.Volumes, secretVolume("ca", n.secret, caFile))
	}
	out.Spec.InitContainers = []corev1.Container{fetch, build}
	out.Spec.Containers = []corev1.Container{back}
	return out
}

// buildEnvironment is the script's, and a home that can be written to unless it says
// otherwise.
func buildEnvironment(s *Source) []corev1.EnvVar {
	for _, e := range s.Env {
		if e.Name == "HOME" {
			return s.Env
		}
	}
	return append([]corev1.EnvVar{{Name: "HOME", Value: home}}, s.Env...)
}
