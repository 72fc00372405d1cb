package keeper

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pivt.io/pivt/pkg/backup"
)

// reconcile is one round of all controllers and kubelets.
func (w *world) reconcile() {
	w.mu.Lock()
	defer w.mu.Unlock()
	list, err := w.tracker.List(setsResource, appsv1.SchemeGroupVersion.WithKind("StatefulSet"), ns)
	w.must(err)
	away := map[string]int{}
	for i := range list.(*appsv1.StatefulSetList).Items {
		set := &list.(*appsv1.StatefulSetList).Items[i]
		if !w.reconcileSet(set) {
			away[set.Labels["app.kubernetes.io/component"]+set.Labels["pivt.io/org"]]++
		}
	}
	for _, n := range away {
		w.away = max(w.away, n)
	}
	w.reconcileJobs()
	w.reconcileSnapshots()
	pods, err := w.tracker.List(podsResource, corev1.SchemeGroupVersion.WithKind("Pod"), ns)
	w.must(err)
	for i := range pods.(*corev1.PodList).Items {
		if p := &pods.(*corev1.PodList).Items[i]; p.Status.Phase == corev1.PodPending && p.Labels[RoleLabel] != "" && !w.running[string(p.UID)] {
			w.kubelet(p)
		}
	}
}

func (w *world) reconcileSet(set *appsv1.StatefulSet) (serves bool) {
	name := podOf(set.Name)
	o, err := w.tracker.Get(podsResource, ns, name)
	var pod *corev1.Pod
	if err == nil {
		pod = o.(*corev1.Pod)
	}
	ready := int32(0)
	switch {
	case replicas(set) == 0 && pod != nil && pod.DeletionTimestamp == nil:
		pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = new(metav1.Now()), new(int64(0))
		w.must(w.tracker.Update(podsResource, pod, ns))
	case replicas(set) == 0 && pod != nil && !w.stuck[name], pod != nil && pod.DeletionTimestamp != nil && !w.stuck[name]:
		w.must(w.tracker.Delete(podsResource, ns, name))
	case replicas(set) > 0 && pod == nil:
		pod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, Spec: corev1.PodSpec{NodeName: "machine1"}}
		w.stamp(pod)
		w.starts[set.Name]++
		status := corev1.ConditionTrue
		if w.unready[set.Name] {
			status = corev1.ConditionFalse
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "peer", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
		}
		pod.Status.Phase = corev1.PodRunning
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}
		w.must(w.tracker.Create(podsResource, pod, ns))
	}
	if pod != nil && pod.DeletionTimestamp == nil && len(pod.Status.Conditions) > 0 && pod.Status.Conditions[0].Status == corev1.ConditionTrue {
		ready = 1
	}
	if set.Status.ObservedGeneration != set.Generation || set.Status.ReadyReplicas != ready {
		set.Status.ObservedGeneration, set.Status.ReadyReplicas = set.Generation, ready
		w.stamp(set)
		w.must(w.tracker.Update(setsResource, set, ns))
	}
	return ready == 1
}

func (w *world) reconcileJobs() {
	list, err := w.tracker.List(jobsResource, batchv1.SchemeGroupVersion.WithKind("Job"), ns)
	w.must(err)
	for _, job := range list.(*batchv1.JobList).Items {
		name := job.Name + "-pod"
		if _, err := w.tracker.Get(podsResource, ns, name); err == nil {
			continue
		}
		pod := &corev1.Pod{ObjectMeta: job.Spec.Template.ObjectMeta, Spec: job.Spec.Template.Spec}
		pod.Name, pod.Namespace = name, ns
		pod.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", Name: job.Name, UID: job.UID, Controller: new(true)}}
		pod.Status.Phase = corev1.PodPending
		w.stamp(pod)
		w.must(w.tracker.Create(podsResource, pod, ns))
	}
}

func (w *world) reconcileSnapshots() {
	list, err := w.objects.List(snapshots(), snapshotKind(), ns)
	w.must(err)
	if w.uncut {
		return
	}
	items, err := meta.ExtractList(list)
	w.must(err)
	for _, o := range items {
		s := o.(*unstructured.Unstructured)
		if at, _, _ := unstructured.NestedString(s.Object, "status", "creationTime"); at == "" {
			w.must(unstructured.SetNestedField(s.Object, "2026-11-21T12:00:00Z", "status", "creationTime"))
			w.must(w.objects.Update(snapshots(), s, ns))
		}
	}
}

// kubelet runs a pod of the keeper's.
func (w *world) kubelet(p *corev1.Pod) {
	status := func(s corev1.ContainerState) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: Container, State: s}}
	}
	var o outcome
	if w.end != nil && p.Labels[RoleLabel] != roleGuard {
		o = w.end(p)
	}
	if !w.images {
		o.waiting = `Failed to pull image "pivt": not found`
	}
	switch {
	case o.pending != "":
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: o.pending}}
	case o.mount != "":
		status(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}})
		w.warn(p.Name, o.mount)
	case o.waiting != "":
		status(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: o.waiting}})
	default:
		p.Status.Phase = corev1.PodRunning
		status(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
		w.running[string(p.UID)] = true
		if p.Labels[RoleLabel] != roleGuard {
			pod := p.DeepCopy()
			w.done.Go(func() { w.work(pod, o) })
		}
	}
	w.must(w.tracker.Update(podsResource, p, ns))
}

// warn is an event about an object; the lock is held.
func (w *world) warn(about, message string) {
	e := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: about, Namespace: ns}, Type: corev1.EventTypeWarning, Message: message,
		InvolvedObject: corev1.ObjectReference{Name: about},
	}
	if err := w.tracker.Create(corev1.SchemeGroupVersion.WithResource("events"), e, ns); err != nil && !apierrors.IsAlreadyExists(err) {
		w.t.Error(err)
	}
}

// work is what the program in a pod does.
func (w *world) work(p *corev1.Pod, o outcome) {
	node, role := p.Labels[NodeLabel], p.Labels[RoleLabel]
	w.mu.Lock()
	if live, err := w.tracker.Get(podsResource, ns, p.Name); err != nil || live.(*corev1.Pod).UID != p.UID {
		w.mu.Unlock()
		return
	}
	switch {
	case role == "restore" || role == "undo":
		for _, n := range append(w.all, node) {
			if w.up(n) {
				w.t.Errorf("%s of %s while %s runs", role, node, n)
			}
		}
	case role == "finish" && !w.up(node):
		w.t.Errorf("what %s had is removed before it runs again", node)
	}
	began, ran := w.starts[node], w.up(node)
	before := w.before
	w.mu.Unlock()
	if before != nil {
		before(w, p)
	}
	time.Sleep(w.slow)
	w.mu.Lock()
	defer w.mu.Unlock()
	live, err := w.tracker.Get(podsResource, ns, p.Name)
	if err != nil || live.(*corev1.Pod).UID != p.UID {
		return // deleted, and killed
	}
	pod := live.(*corev1.Pod)
	pod.Status.Phase = corev1.PodSucceeded
	if o.code != 0 || o.evicted != "" {
		pod.Status.Phase = corev1.PodFailed
	}
	if o.evicted != "" {
		pod.Status.Reason, pod.Status.Message = "Evicted", o.evicted
	}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: Container, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: o.code, Reason: o.reason, Message: o.message,
	}}}}
	if pod.Status.Phase == corev1.PodSucceeded {
		w.restored = append(w.restored, p.Labels[RoleLabel]+" "+node)
		w.onDisk(role, node, p.Spec.Containers[0].Args)
	}
	w.logs[p.Name] = o.log
	if p.Labels[RoleLabel] == "save" && o.code == 0 {
		clones := strings.Contains(fmt.Sprint(p.Spec.Volumes), "hlf-save--")
		stamp := p.Name + string(p.UID)
		if !clones && (ran || w.up(node) || w.starts[node] != began) {
			w.tainted[stamp] = true
		}
		var n backup.Node
		w.must(json.Unmarshal([]byte(p.Annotations[nodeAnnotation]), &n))
		n.Hostname, n.Channels = stamp, []backup.Channel{{Name: "common", Height: 5}}
		var line bytes.Buffer
		w.must(WriteAnswer(&line, n))
		w.logs[p.Name] = `{"msg":"progress","bytes":1}` + "\n" + line.String()
	}
	w.must(w.tracker.Update(podsResource, pod, ns))
}

// up reports whether a node's pod exists.
func (w *world) up(node string) bool {
	_, err := w.tracker.Get(podsResource, ns, podOf(node))
	return err == nil
}
