package keeper

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	fakerest "k8s.io/client-go/rest/fake"
	clienttesting "k8s.io/client-go/testing"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/network"
)

const (
	ns       = "fabric"
	workflow = "backup-flow-x"
	key      = "20261121-120000"
)

// granted is the Role hlf-backup of charts/hlf-kube, see TestRightsAreTheCharts.
var granted = []string{
	"statefulsets: get list patch", "pods: create get list delete", "pods/log: get", "events: list",
	"jobs: create get delete", "persistentvolumeclaims: create get delete", "volumesnapshots: create get delete",
	"configmaps: create get patch delete", "workflows: get", "workflowtaskresults: create patch",
}

// outcome is how a copy pod ends.
type outcome struct {
	waiting string // the kubelet's reason why its container cannot run
	pending string // the scheduler's reason
	mount   string // why its volumes cannot be mounted, which only events tell
	code    int32
	reason  string // OOMKilled…
	message string // termination message
	evicted string
	log     string
}

// world is a cluster in memory: what controllers, scheduler and kubelets do to the objects that the
// keeper makes, and nothing that it is told in advance.
type world struct {
	t       *testing.T
	net     *network.Network
	tracker clienttesting.ObjectTracker
	objects clienttesting.ObjectTracker // of the dynamic client
	stop    context.CancelFunc
	done    sync.WaitGroup

	mu       sync.Mutex
	version  int
	uids     int
	down     bool
	stuck    map[string]bool // pods that do not end
	unready  map[string]bool // nodes that never get ready
	images   bool            // false: no image can be pulled
	running  map[string]bool // pods whose program has begun
	starts   map[string]int  // how often a node was started
	logs     map[string]string
	saved    map[string]backup.Node
	away     int // most nodes of one group that were away at a time
	slow     time.Duration
	before   func(w *world, pod *corev1.Pod) // called when a copy pod begins to work, without the lock
	end      func(pod *corev1.Pod) outcome
	restored []string // what copy pods did, in order
	all      []string // nodes that must be down while one of them is restored
	tainted  map[string]bool
	trouble  func(verb, what, name string) error // an answer of the API server's own
	uncut    bool                                // no snapshot's moment ever comes
	disks    map[string]*disk                    // of nodes
	quorum   int                                 // orderers that must be up for any to serve
	ahead    map[string]uint64                   // heights of nodes that do not have 7 blocks
	unjoined string                              // an orderer that has no channel
	log      bytes.Buffer
}

func load(t *testing.T) *network.Network {
	t.Helper()
	n, _, err := network.Load([]network.Source{{Name: "network.yaml", Data: []byte(`
OrdererOrgs: [{Name: Ord, Domain: ord.example.com, Specs: [{Hostname: o0}, {Hostname: o1}, {Hostname: o2}]}]
PeerOrgs: [{Name: A, Domain: a.example.com, Template: {Count: 2}, Users: {Count: 1}}, {Name: B, Domain: b.example.com, Template: {Count: 1}, Users: {Count: 1}}]
network: {channels: [{name: common, orgs: [A, B]}]}
`)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func newWorld(t *testing.T) *world {
	t.Helper()
	decoder := scheme.Codecs.UniversalDecoder()
	dyn := runtime.NewScheme()
	dyn.AddKnownTypeWithName(snapshotKind(), &unstructured.Unstructured{})
	dyn.AddKnownTypeWithName(schema.GroupVersionKind{Group: snapshots().Group, Version: "v1", Kind: "VolumeSnapshotList"}, &unstructured.UnstructuredList{})
	w := &world{
		t: t, net: load(t), images: true,
		tracker: clienttesting.NewObjectTracker(scheme.Scheme, decoder),
		objects: clienttesting.NewObjectTracker(dyn, decoder),
		stuck:   map[string]bool{}, unready: map[string]bool{}, running: map[string]bool{}, starts: map[string]int{},
		disks: map[string]*disk{}, logs: map[string]string{}, saved: map[string]backup.Node{}, tainted: map[string]bool{},
	}
	for _, n := range w.net.Nodes() {
		w.add(nodeSet(n))
	}
	w.setPhase("Running")
	ctx, stop := context.WithCancel(t.Context())
	w.stop = stop
	w.reconcile()
	w.reconcile()
	w.done.Go(func() {
		for ctx.Err() == nil {
			w.reconcile()
			time.Sleep(time.Millisecond)
		}
	})
	t.Cleanup(func() { stop(); w.done.Wait() })
	return w
}

func snapshotKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: snapshots().Group, Version: "v1", Kind: "VolumeSnapshot"}
}

func nodeSet(n *network.Node) *appsv1.StatefulSet {
	claim := corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}}
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name(), Namespace: ns, Generation: 1, Labels: map[string]string{
			"app.kubernetes.io/component": string(n.Org.Kind), "app.kubernetes.io/part-of": "hlf-kube", "pivt.io/org": n.Org.Label(),
		}},
		Spec: appsv1.StatefulSetSpec{Replicas: new(int32(1)), VolumeClaimTemplates: []corev1.PersistentVolumeClaim{claim}},
	}
}

var (
	setsResource   = appsv1.SchemeGroupVersion.WithResource("statefulsets")
	podsResource   = corev1.SchemeGroupVersion.WithResource("pods")
	jobsResource   = batchv1.SchemeGroupVersion.WithResource("jobs")
	claimsResource = corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims")
	mapsResource   = corev1.SchemeGroupVersion.WithResource("configmaps")
)

func (w *world) add(set *appsv1.StatefulSet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stamp(set)
	w.must(w.tracker.Create(setsResource, set, ns))
	for _, c := range claims(set) {
		pvc := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: c, Namespace: ns}, Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: new("fast"),
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("5Gi")}},
		}}
		w.must(w.tracker.Create(claimsResource, pvc, ns))
	}
}

func (w *world) must(err error) {
	if err != nil {
		w.t.Helper()
		w.t.Errorf("the world: %v", err)
	}
}

// stamp gives an object what the API server gives it.
func (w *world) stamp(o metav1.Object) {
	w.version++
	o.SetResourceVersion(fmt.Sprint(w.version))
	if o.GetUID() == "" {
		w.uids++
		o.SetUID(types.UID(fmt.Sprintf("uid-%d", w.uids)))
	}
}

// disk is what lies on a node's volumes: "old" before any restore.
type disk struct{ now, former, source string }

// onDisk does to a node's volumes what package volume does. The lock is held.
func (w *world) onDisk(role, node string, args []string) {
	d := w.disks[node]
	if d == nil {
		d = &disk{now: "old"}
		w.disks[node] = d
	}
	source := "own"
	if slices.Contains(args, "--quorum") {
		source = "quorum"
	}
	switch {
	case role == "restore" && d.source != source:
		if d.source == "" {
			d.former = d.now
		}
		d.now, d.source = source, source
	case role == "undo" && d.source != "":
		d.now, d.former, d.source = d.former, "", ""
	case role == "finish":
		d.former, d.source = "", ""
	}
}

// started is how often a node was started.
func (w *world) started(node string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.starts[node]
}

// disksOf tells what nodes run on, and whether anything else is left on their volumes.
func (w *world) disksOf(nodes []*network.Node) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, n := range nodes {
		text := "old"
		if d := w.disks[n.Name()]; d != nil {
			if text = d.now; d.source != "" || d.former != "" {
				text += " and " + d.former
			}
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// lives is one process' time: after so many calls it is dead, and nothing it does reaches the API server.
type lives struct {
	mu    sync.Mutex
	left  int // -1 for ever
	calls []string
}

var errKilled = errors.New("this process is dead")

func (l *lives) spend(call string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, call)
	if l.left == 0 {
		return errKilled
	}
	if l.left > 0 {
		l.left--
	}
	return nil
}

func (w *world) keeper(l *lives) *Keeper {
	if l == nil {
		l = &lives{left: -1}
	}
	core := &fake.Clientset{}
	dyn := &dynamicfake.FakeDynamicClient{}
	serve := func(tracker clienttesting.ObjectTracker) clienttesting.ReactionFunc {
		fallback := clienttesting.ObjectReaction(tracker)
		return func(a clienttesting.Action) (bool, runtime.Object, error) {
			what := a.GetResource().Resource
			if s := a.GetSubresource(); s != "" {
				what += "/" + s
			}
			if !grantedTo(a.GetVerb(), what) {
				return true, nil, apierrors.NewForbidden(a.GetResource().GroupResource(), "", fmt.Errorf("hlf-backup may not %s %s", a.GetVerb(), what))
			}
			if err := l.spend(a.GetVerb() + " " + what); err != nil {
				return true, nil, err
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.down {
				return true, nil, apierrors.NewServiceUnavailable("the API server is away")
			}
			if w.trouble != nil {
				name := ""
				if n, ok := a.(interface{ GetName() string }); ok {
					name = n.GetName()
				}
				if err := w.trouble(a.GetVerb(), what, name); err != nil {
					return true, nil, err
				}
			}
			return w.serve(tracker, a, fallback)
		}
	}
	core.AddReactor("*", "*", serve(w.tracker))
	dyn.AddReactor("*", "*", serve(w.objects))
	k := &Keeper{
		Kube: clients{core, w, l}, Dynamic: dyn, Namespace: ns, Network: w.net, NetworkFile: []byte("network: {}"), Workflow: workflow, Pod: "step-pod",
		Settings: backup.Settings{SecretName: "hlf-backup", MaxDowntime: "1m", Target: backup.Target{Type: backup.S3}, Pod: backup.PodSettings{Image: "pivt", ServiceAccountName: "hlf-backup"}},
		Nodes:    (*fabric)(w), Poll: time.Millisecond,
		Log: slog.New(slog.NewTextHandler(&logOf{w}, nil)),
		Put: func(_ context.Context, k string, n backup.Node) error {
			if err := l.spend("put"); err != nil {
				return err
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.tainted[n.Hostname] {
				w.t.Errorf("a copy of %s counts that was made while the node ran", n.Name)
			}
			w.saved[n.Name] = n
			return nil
		},
		times: quick(),
	}
	return k
}

// quick has every wait short but those of a healthy cluster, which a busy machine may draw out.
func quick() times {
	return times{
		call: 10 * time.Second, away: 10 * time.Second, refused: time.Second, parting: 5 * time.Second,
		beat: 5 * time.Millisecond, silence: 10 * time.Second, grace: time.Minute, dead: time.Hour,
		settle: 10 * time.Second, stop: 10 * time.Second, stuck: 50 * time.Millisecond, start: 10 * time.Second,
		ready: 10 * time.Second, recover: 10 * time.Second, cut: 10 * time.Second, report: time.Hour,
	}
}

type logOf struct{ w *world }

func (l *logOf) Write(p []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.log.Write(p)
}

func grantedTo(verb, what string) bool {
	return slices.ContainsFunc(granted, func(g string) bool {
		resource, verbs, _ := strings.Cut(g, ": ")
		return resource == what && slices.Contains(strings.Fields(verbs), verb)
	})
}

// serve answers as an API server does, beyond what the tracker does: versions, conflicts,
// generations, uids, preconditions and logs.
func (w *world) serve(tracker clienttesting.ObjectTracker, a clienttesting.Action, fallback clienttesting.ReactionFunc) (bool, runtime.Object, error) {
	gvr := a.GetResource()
	switch a := a.(type) {
	case clienttesting.CreateActionImpl:
		o := a.Object.DeepCopyObject()
		m, err := meta.Accessor(o)
		if err != nil {
			return true, nil, err
		}
		m.SetNamespace(ns)
		w.stamp(m)
		if pod, ok := o.(*corev1.Pod); ok {
			pod.Status.Phase = corev1.PodPending
		}
		if err := tracker.Create(gvr, o, ns); err != nil {
			return true, nil, err
		}
		return true, o, nil
	case clienttesting.PatchActionImpl:
		o, err := w.patch(tracker, a)
		return true, o, err
	case clienttesting.DeleteActionImpl:
		o, err := tracker.Get(gvr, ns, a.Name)
		if err != nil {
			return true, nil, err
		}
		m, err := meta.Accessor(o)
		if err != nil {
			return true, nil, err
		}
		if p := a.DeleteOptions.Preconditions; p != nil && *p.UID != m.GetUID() {
			return true, nil, apierrors.NewConflict(gvr.GroupResource(), a.Name, errors.New("another uid"))
		}
		w.must(tracker.Delete(gvr, ns, a.Name))
		w.collect(m.GetUID())
		return true, nil, nil
	}
	return fallback(a)
}

// The fake of a pod's log does not say which pod's.
type (
	clients struct {
		kubernetes.Interface
		w *world
		l *lives
	}
	coreClient struct {
		typed.CoreV1Interface
		c clients
	}
	podClient struct {
		typed.PodInterface
		c clients
	}
)

func (c clients) CoreV1() typed.CoreV1Interface { return coreClient{c.Interface.CoreV1(), c} }
func (c coreClient) Pods(ns string) typed.PodInterface {
	return podClient{c.CoreV1Interface.Pods(ns), c.c}
}
func (p podClient) GetLogs(name string, _ *corev1.PodLogOptions) *rest.Request {
	return (&fakerest.RESTClient{
		NegotiatedSerializer: scheme.Codecs.WithoutConversion(), GroupVersion: corev1.SchemeGroupVersion, VersionedAPIPath: "/",
		Client: fakerest.CreateHTTPClient(func(*http.Request) (*http.Response, error) {
			if err := p.c.l.spend("get pods/log"); err != nil {
				return nil, err
			}
			w := p.c.w
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.down {
				return nil, apierrors.NewServiceUnavailable("the API server is away")
			}
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(w.logs[name]))}, nil
		}),
	}).Request()
}

// collect removes what belonged to an object.
func (w *world) collect(uid types.UID) {
	list, err := w.tracker.List(podsResource, corev1.SchemeGroupVersion.WithKind("Pod"), ns)
	w.must(err)
	for _, p := range list.(*corev1.PodList).Items {
		for _, o := range p.OwnerReferences {
			if o.UID == uid {
				w.must(w.tracker.Delete(podsResource, ns, p.Name))
			}
		}
	}
}

func (w *world) patch(tracker clienttesting.ObjectTracker, a clienttesting.PatchActionImpl) (runtime.Object, error) {
	gvr := a.GetResource()
	if a.PatchType != types.MergePatchType {
		return nil, apierrors.NewBadRequest("patch type " + string(a.PatchType))
	}
	old, err := tracker.Get(gvr, ns, a.Name)
	if err != nil {
		return nil, err
	}
	was, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	var given, before struct {
		Metadata struct{ ResourceVersion, UID string }
		Spec     json.RawMessage
	}
	if err := errors.Join(json.Unmarshal(a.Patch, &given), json.Unmarshal(was, &before)); err != nil {
		return nil, err
	}
	if v := given.Metadata; v.ResourceVersion != "" && v.ResourceVersion != before.Metadata.ResourceVersion || v.UID != "" && v.UID != before.Metadata.UID {
		return nil, apierrors.NewConflict(gvr.GroupResource(), a.Name, errors.New("the object has been modified"))
	}
	var is, change map[string]any
	if err := errors.Join(json.Unmarshal(was, &is), json.Unmarshal(a.Patch, &change)); err != nil {
		return nil, err
	}
	merged, err := json.Marshal(merge(is, change))
	if err != nil {
		return nil, err
	}
	now := old.DeepCopyObject()
	switch n := now.(type) {
	case *appsv1.StatefulSet:
		*n = appsv1.StatefulSet{}
	case *corev1.ConfigMap:
		*n = corev1.ConfigMap{}
	}
	if err := json.Unmarshal(merged, now); err != nil {
		return nil, err
	}
	m, err := meta.Accessor(now)
	if err != nil {
		return nil, err
	}
	w.stamp(m)
	if set, ok := now.(*appsv1.StatefulSet); ok && replicas(set) != replicas(old.(*appsv1.StatefulSet)) {
		set.Generation++
	}
	return now, tracker.Update(gvr, now, ns)
}

// merge is RFC 7386.
func merge(into, patch map[string]any) map[string]any {
	if into == nil {
		into = map[string]any{}
	}
	for k, v := range patch {
		inner, ok := v.(map[string]any)
		switch {
		case v == nil:
			delete(into, k)
		case ok:
			was, _ := into[k].(map[string]any)
			into[k] = merge(was, inner)
		default:
			into[k] = v
		}
	}
	return into
}

// fabric answers for the nodes that run.
type fabric world

func (f *fabric) Heights(_ context.Context, n *network.Node) (map[string]uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !(*world)(f).up(n.Name()) {
		return nil, errors.New("connection refused")
	}
	if n.Name() == f.unjoined {
		return map[string]uint64{}, nil
	}
	return map[string]uint64{"common": f.height(n)}, nil
}

func (f *fabric) height(n *network.Node) uint64 {
	if h, ok := f.ahead[n.Name()]; ok {
		return h
	}
	return 7
}

func (f *fabric) Serving(_ context.Context, n *network.Node, floor map[string]uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !(*world)(f).up(n.Name()):
		return errors.New("connection refused")
	case floor["common"] > f.height(n):
		return fmt.Errorf("channel common: %d of %d blocks", f.height(n), floor["common"])
	}
	up := 0
	for _, o := range f.net.OrdererOrgs[0].Nodes {
		if (*world)(f).up(o.Name()) {
			up++
		}
	}
	if n.Org.Kind == network.Orderer && up < f.quorum {
		return errors.New("channel common: no leader")
	}
	return nil
}

func (w *world) setPhase(phase string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": map[string]any{"name": workflow, "namespace": ns},
		"status": map[string]any{"phase": phase},
	}}
	_ = w.objects.Delete(workflows(), ns, workflow)
	if phase != "" {
		w.must(w.objects.Create(workflows(), u, ns))
	}
}

// edit changes a StatefulSet as somebody else does.
func (w *world) edit(name string, f func(*appsv1.StatefulSet)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o, err := w.tracker.Get(setsResource, ns, name)
	w.must(err)
	set := o.(*appsv1.StatefulSet)
	was := replicas(set)
	f(set)
	if replicas(set) != was {
		set.Generation++
	}
	w.stamp(set)
	w.must(w.tracker.Update(setsResource, set, ns))
}

func (w *world) hold(name string) *Hold {
	w.mu.Lock()
	defer w.mu.Unlock()
	o, err := w.tracker.Get(setsResource, ns, name)
	w.must(err)
	return holdOf(o.(*appsv1.StatefulSet))
}

// eventually waits for what controllers do.
func (w *world) eventually(what string, f func() bool) {
	w.t.Helper()
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) {
		if f() {
			return
		}
	}
	w.t.Fatalf("never: %s\n%s", what, w.told())
}

func (w *world) told() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

// sound checks what must be true after a backup, whatever became of it.
func (w *world) sound() {
	w.t.Helper()
	for _, n := range w.net.Nodes() {
		name := n.Name()
		w.eventually(name+" runs and is free", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			o, err := w.tracker.Get(setsResource, ns, name)
			w.must(err)
			set := o.(*appsv1.StatefulSet)
			return replicas(set) == 1 && holdOf(set) == nil && (set.Status.ReadyReplicas == 1 || w.unready[name] || w.stuck[podOf(name)])
		})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away > 1 {
		w.t.Errorf("%d nodes of one group were away at a time", w.away)
	}
}

// left are pods, claims and snapshots that a backup has left.
func (w *world) left() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	pods, err := w.tracker.List(podsResource, corev1.SchemeGroupVersion.WithKind("Pod"), ns)
	w.must(err)
	for _, p := range pods.(*corev1.PodList).Items {
		if p.Labels[RoleLabel] != "" {
			all = append(all, "pod/"+p.Name)
		}
	}
	pvcs, err := w.tracker.List(claimsResource, corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim"), ns)
	w.must(err)
	for _, c := range pvcs.(*corev1.PersistentVolumeClaimList).Items {
		if c.Labels[RoleLabel] != "" {
			all = append(all, "claim/"+c.Name)
		}
	}
	list, err := w.objects.List(snapshots(), snapshotKind(), ns)
	w.must(err)
	items, err := meta.ExtractList(list)
	w.must(err)
	for range items {
		all = append(all, "snapshot")
	}
	return all
}

func (w *world) savedNames() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.saved))
}

func names(nodes []*network.Node) []string {
	var all []string
	for _, n := range nodes {
		all = append(all, n.Name())
	}
	return slices.Sorted(slices.Values(all))
}

var _ io.Writer = (*logOf)(nil)
