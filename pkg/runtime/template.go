package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"pivt.io/pivt/pkg/exit"
)

// Template is a part of a pod, in YAML, that an operator wants in the pods made here: more
// memory, a node selector, pull secrets, annotations. It is merged as kubectl patches pods,
// so lists of containers, variables and volumes merge by name. The containers are called
// "chaincode", "wait" and "fetch", those of builds "fetch", "build" and "return".
type Template struct {
	Name string // for messages
	Data []byte
}

// shape merges the templates into the pod, later ones over earlier ones. What makes it the
// pod of this launch stays, see keep. A template may name containers that this pod does not
// have but others do; one that none has is a mistake.
func shape(p *corev1.Pod, templates []Template) (*corev1.Pod, error) {
	out := p
	for _, t := range templates {
		merged, err := t.merge(out, p)
		if err != nil {
			return nil, exit.With(fmt.Errorf("template %s: %w", t.Name, err), exit.Invalid)
		}
		out = merged
	}
	return out, nil
}

// merge merges the template into what others have made of our pod.
func (t *Template) merge(p, ours *corev1.Pod) (*corev1.Pod, error) {
	patch, err := yaml.YAMLToJSONStrict(t.Data)
	if err != nil {
		return nil, err
	}
	if string(patch) == "null" {
		return p, nil
	}
	var given corev1.Pod
	wrong, err := kjson.UnmarshalStrict(patch, &given)
	if err != nil || wrong != nil {
		return nil, errors.Join(append(wrong, err)...)
	}
	if err := check(&given, ours); err != nil {
		return nil, err
	}
	data, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	if data, err = strategicpatch.StrategicMergePatch(data, patch, corev1.Pod{}); err != nil {
		return nil, err
	}
	out := new(corev1.Pod)
	if err := json.Unmarshal(data, out); err != nil {
		return nil, err
	}
	keep(out, ours)
	return out, nil
}

// check refuses what would be a hole rather than a wish.
func check(given, p *corev1.Pod) error {
	known := []string{containerName, waiterName, fetchName, buildName, returnName}
	for _, c := range slices.Concat(given.Spec.InitContainers, given.Spec.Containers) {
		if !slices.Contains(known, c.Name) {
			return fmt.Errorf("there is no container %q to change; there are %s", c.Name, strings.Join(known, ", "))
		}
		for _, m := range c.VolumeMounts {
			if m.Name == "ticket" || m.Name == "tls" {
				return fmt.Errorf("container %s: volume %q is not to be mounted elsewhere", c.Name, m.Name)
			}
		}
	}
	if len(given.Spec.EphemeralContainers) > 0 {
		return errors.New("ephemeral containers cannot be part of a new pod")
	}
	for _, v := range given.Spec.Volumes {
		if slices.ContainsFunc(p.Spec.Volumes, func(ours corev1.Volume) bool { return ours.Name == v.Name && (ours.Secret != nil || v.EmptyDir == nil) }) {
			return fmt.Errorf("volume %q is taken", v.Name)
		}
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil {
				return fmt.Errorf("volume %q: no token of the service account for chaincode", v.Name)
			}
		}
	}
	return nil
}

// keep puts back into the merged pod what a template must not change: its name, owner and
// marks, that it is never started twice (its credentials are good for one connection), that
// it has no rights, what runs in it, and the variables that the shim reads.
func keep(out, p *corev1.Pod) {
	labels, annotations := out.Labels, out.Annotations
	out.ObjectMeta = p.ObjectMeta
	out.Labels, out.Annotations = over(labels, p.Labels), over(annotations, p.Annotations)
	out.TypeMeta, out.Status = p.TypeMeta, p.Status
	s, ours := &out.Spec, &p.Spec
	s.RestartPolicy = ours.RestartPolicy
	s.AutomountServiceAccountToken = ours.AutomountServiceAccountToken
	s.EnableServiceLinks = ours.EnableServiceLinks
	s.ActiveDeadlineSeconds = ours.ActiveDeadlineSeconds
	s.TerminationGracePeriodSeconds = ours.TerminationGracePeriodSeconds
	s.InitContainers = keepContainers(s.InitContainers, ours.InitContainers)
	s.Containers = keepContainers(s.Containers, ours.Containers)
	s.Volumes = keepVolumes(s.Volumes, ours.Volumes)
}

// keepContainers has ours, in our order, as far as they were merged.
func keepContainers(merged, ours []corev1.Container) []corev1.Container {
	var out []corev1.Container
	for _, own := range ours {
		c := own
		if i := slices.IndexFunc(merged, func(m corev1.Container) bool { return m.Name == own.Name }); i >= 0 {
			c = merged[i]
		}
		c.Name, c.Image, c.Command, c.Args, c.WorkingDir = own.Name, own.Image, own.Command, own.Args, own.WorkingDir
		c.RestartPolicy, c.Lifecycle = own.RestartPolicy, own.Lifecycle
		c.TerminationMessagePolicy, c.TerminationMessagePath = own.TerminationMessagePolicy, own.TerminationMessagePath
		c.LivenessProbe, c.ReadinessProbe, c.StartupProbe = own.LivenessProbe, own.ReadinessProbe, own.StartupProbe
		c.Env = keepEnv(c.Env, own.Env)
		c.VolumeMounts = keepMounts(c.VolumeMounts, own.VolumeMounts)
		out = append(out, c)
	}
	return out
}

// keepEnv has our variables first, so that others can refer to them. Those that Fabric
// knows are not for templates to change; what else we set, they may.
func keepEnv(merged, ours []corev1.EnvVar) []corev1.EnvVar {
	out := slices.Clone(ours)
	for _, e := range merged {
		i := slices.IndexFunc(out, func(o corev1.EnvVar) bool { return o.Name == e.Name })
		switch {
		case i < 0:
			out = append(out, e)
		case !strings.HasPrefix(e.Name, "CORE_"):
			out[i] = e
		}
	}
	return out
}

func keepMounts(merged, ours []corev1.VolumeMount) []corev1.VolumeMount {
	out := slices.Clone(ours)
	for _, m := range merged {
		if !slices.ContainsFunc(out, func(o corev1.VolumeMount) bool { return o.MountPath == m.MountPath }) {
			out = append(out, m)
		}
	}
	return out
}

// keepVolumes lets templates change the size and medium of our scratch volumes.
func keepVolumes(merged, ours []corev1.Volume) []corev1.Volume {
	out := slices.Clone(ours)
	for _, v := range merged {
		i := slices.IndexFunc(out, func(o corev1.Volume) bool { return o.Name == v.Name })
		switch {
		case i < 0:
			out = append(out, v)
		case out[i].EmptyDir != nil && v.EmptyDir != nil:
			out[i] = v
		}
	}
	return out
}

func over(base, ours map[string]string) map[string]string {
	out := map[string]string{}
	maps.Copy(out, base)
	maps.Copy(out, ours)
	return out
}
