package runtimetest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes/scheme"
)

// granted is the Role hlf-peer of charts/hlf-kube, as far as it is needed.
var granted = []string{
	"create pods", "get pods", "list pods", "watch pods", "delete pods",
	"get pods/log", "create secrets", "delete secrets", "list events",
}

// ServeHTTP is the API server.
func (c *Cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	away := c.away
	c.mu.Unlock()
	if away {
		panic(http.ErrAbortHandler)
	}
	if r.Header.Get("Authorization") != "Bearer "+token {
		refuse(w, apierrors.NewUnauthorized("Unauthorized"))
		return
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/api/v1/namespaces/"+Namespace+"/")
	if !ok {
		refuse(w, apierrors.NewForbidden(schema.GroupResource{}, "", fmt.Errorf("no access to %s", r.URL.Path)))
		return
	}
	kind, rest, _ := strings.Cut(rest, "/")
	name, sub, _ := strings.Cut(rest, "/")
	verb := map[string]string{"POST": "create", "GET": "get", "DELETE": "delete", "PATCH": "patch", "PUT": "update"}[r.Method]
	if verb == "get" && name == "" {
		verb = "list"
		if r.URL.Query().Get("watch") != "" {
			verb = "watch"
		}
	}
	if sub != "" {
		kind += "/" + sub
	}
	call := verb + " " + kind
	if !slices.Contains(granted, call) {
		refuse(w, apierrors.NewForbidden(schema.GroupResource{Resource: kind}, name,
			fmt.Errorf("User \"system:serviceaccount:%s:hlf-peer\" cannot %s resource %q", Namespace, verb, kind)))
		return
	}
	c.mu.Lock()
	c.calls = append(c.calls, call)
	c.mu.Unlock()
	switch call {
	case "create pods":
		c.createPod(w, r)
	case "create secrets":
		c.createSecret(w, r)
	case "get pods":
		c.getPod(w, name)
	case "list pods":
		c.listPods(w, r)
	case "watch pods":
		c.watchPods(w, r)
	case "get pods/log":
		c.serveLog(w, r, name)
	case "delete pods":
		c.deletePod(w, r, name)
	case "delete secrets":
		c.deleteSecret(w, name)
	case "list events":
		c.listEvents(w, r)
	}
}

// decode reads a request in JSON or Protobuf, whichever the client prefers.
func decode(r *http.Request, into runtime.Object) error {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	_, _, err = scheme.Codecs.UniversalDeserializer().Decode(data, nil, into)
	return err
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, err *apierrors.StatusError) {
	status := err.Status()
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(status.Code))
	_ = json.NewEncoder(w).Encode(status)
}

func of(kind string) metav1.TypeMeta { return metav1.TypeMeta{Kind: kind, APIVersion: "v1"} }

func wire(p *corev1.Pod) *corev1.Pod {
	out := p.DeepCopy()
	out.TypeMeta = of("Pod")
	return out
}

var (
	podResource    = schema.GroupResource{Resource: "pods"}
	secretResource = schema.GroupResource{Resource: "secrets"}
)

func (c *Cluster) createPod(w http.ResponseWriter, r *http.Request) {
	pod := new(corev1.Pod)
	if err := decode(r, pod); err != nil {
		refuse(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	if problem := invalid(&pod.ObjectMeta); problem != "" {
		refuse(w, &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: "Failure", Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
			Message: fmt.Sprintf("Pod %q is invalid: %s", pod.Name, problem),
		}})
		return
	}
	if problem := notRestricted(pod); problem != "" {
		refuse(w, apierrors.NewForbidden(podResource, pod.Name, fmt.Errorf("violates PodSecurity \"restricted:latest\": %s", problem)))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pods[pod.Name] != nil {
		refuse(w, apierrors.NewAlreadyExists(podResource, pod.Name))
		return
	}
	if used := c.usedLocked(); c.o.Pods != 0 && used >= c.o.Pods {
		refuse(w, apierrors.NewForbidden(podResource, pod.Name,
			fmt.Errorf("exceeded quota: small, requested: pods=1, used: pods=%d, limited: pods=%d", used, c.o.Pods)))
		return
	}
	pod.Namespace = Namespace
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending}
	live := c.addLocked(pod)
	c.startKubeletLocked(live)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(wire(live.Pod))
}

func (c *Cluster) usedLocked() (n int) {
	for _, p := range c.pods {
		if len(p.Spec.Containers) > 0 {
			n++
		}
	}
	return n
}

func (c *Cluster) createSecret(w http.ResponseWriter, r *http.Request) {
	s := new(corev1.Secret)
	if err := decode(r, s); err != nil {
		refuse(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	if problem := invalid(&s.ObjectMeta); problem != "" {
		refuse(w, apierrors.NewBadRequest(problem))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.secrets[s.Name] != nil {
		refuse(w, apierrors.NewAlreadyExists(secretResource, s.Name))
		return
	}
	s.TypeMeta = of("Secret")
	c.secrets[s.Name] = s
	c.changed.Broadcast()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(s)
}

func (c *Cluster) getPod(w http.ResponseWriter, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.pods[name]; p != nil {
		answer(w, wire(p.Pod))
		return
	}
	refuse(w, apierrors.NewNotFound(podResource, name))
}

func (c *Cluster) listPods(w http.ResponseWriter, r *http.Request) {
	want, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		refuse(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	list := corev1.PodList{TypeMeta: of("PodList")}
	c.mu.Lock()
	list.ResourceVersion = strconv.Itoa(c.version)
	for _, p := range c.pods {
		if want.Matches(labels.Set(p.Labels)) {
			list.Items = append(list.Items, *wire(p.Pod))
		}
	}
	c.mu.Unlock()
	answer(w, list)
}

func (c *Cluster) watchPods(w http.ResponseWriter, r *http.Request) {
	want, err := fields.ParseSelector(r.URL.Query().Get("fieldSelector"))
	from, e := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	if err != nil || e != nil {
		refuse(w, apierrors.NewBadRequest("field selector or resource version"))
		return
	}
	stop := wake(r, c)
	defer stop()
	w.Header().Set("Content-Type", "application/json")
	flush(w)
	send := func(kind string, object any) {
		_ = json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": object})
		flush(w)
	}
	for r.Context().Err() == nil {
		c.mu.Lock()
		for r.Context().Err() == nil && from == c.version {
			c.changed.Wait()
		}
		oldest, next := c.oldest, c.version
		var news []event
		for _, e := range c.history {
			if e.version > from && want.Matches(fields.Set{"metadata.name": e.pod.Name}) {
				news = append(news, e)
			}
		}
		c.mu.Unlock()
		if from < oldest-1 {
			gone := apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", from, oldest)).Status()
			gone.TypeMeta = of("Status")
			send("ERROR", gone)
			return
		}
		for _, e := range news {
			send(e.kind, wire(e.pod))
		}
		from = next
	}
}

// wake makes waiting handlers look at their request when its connection ends.
func wake(r *http.Request, c *Cluster) (stop func()) {
	done := make(chan struct{})
	go func() {
		select {
		case <-r.Context().Done():
			c.mu.Lock()
			c.changed.Broadcast()
			c.mu.Unlock()
		case <-done:
		}
	}()
	return func() { close(done) }
}

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

func (c *Cluster) serveLog(w http.ResponseWriter, r *http.Request, name string) {
	q := r.URL.Query()
	var since time.Time
	if s := q.Get("sinceTime"); s != "" {
		var err error
		if since, err = time.Parse(time.RFC3339, s); err != nil {
			refuse(w, apierrors.NewBadRequest(err.Error()))
			return
		}
	}
	stop := wake(r, c)
	defer stop()
	sleep(r.Context(), c.o.LogDelay)
	c.mu.Lock()
	p := c.pods[name]
	switch {
	case p == nil:
		c.mu.Unlock()
		refuse(w, apierrors.NewNotFound(podResource, name))
		return
	case !p.live(q.Get("container")).started:
		c.mu.Unlock()
		refuse(w, apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is waiting to start", q.Get("container"), name)))
		return
	}
	in := p.live(q.Get("container"))
	c.mu.Unlock()
	flush(w)
	next, ended := 0, false
	for !ended && r.Context().Err() == nil {
		c.mu.Lock()
		for r.Context().Err() == nil && !in.ended && !p.gone && next == len(in.log) {
			c.changed.Wait()
		}
		news := in.log[next:]
		next, ended = len(in.log), in.ended || p.gone || q.Get("follow") != "true"
		c.mu.Unlock()
		for _, line := range news {
			if line.at.Before(since) {
				continue
			}
			if q.Get("timestamps") == "true" {
				fmt.Fprint(w, line.at.UTC().Format(time.RFC3339Nano)+" ")
			}
			fmt.Fprintln(w, line.text)
		}
		flush(w)
	}
}

func (c *Cluster) deletePod(w http.ResponseWriter, r *http.Request, name string) {
	var o metav1.DeleteOptions
	if err := decode(r, &o); err != nil {
		refuse(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	grace := 30 * time.Second
	if o.GracePeriodSeconds != nil {
		grace = time.Duration(*o.GracePeriodSeconds) * time.Second
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pods[name]
	if p == nil {
		refuse(w, apierrors.NewNotFound(podResource, name))
		return
	}
	if pre := o.Preconditions; pre != nil && pre.UID != nil && *pre.UID != p.UID {
		refuse(w, apierrors.NewConflict(podResource, name, fmt.Errorf("the UID in the precondition (%s) does not match the UID in record (%s)", *pre.UID, p.UID)))
		return
	}
	c.deleteLocked(p, grace)
	answer(w, wire(p.Pod))
}

func (c *Cluster) deleteSecret(w http.ResponseWriter, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.secrets[name] == nil {
		refuse(w, apierrors.NewNotFound(secretResource, name))
		return
	}
	delete(c.secrets, name)
	answer(w, metav1.Status{TypeMeta: of("Status"), Status: "Success"})
}

func (c *Cluster) listEvents(w http.ResponseWriter, r *http.Request) {
	want, err := fields.ParseSelector(r.URL.Query().Get("fieldSelector"))
	if err != nil {
		refuse(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	list := corev1.EventList{TypeMeta: of("EventList")}
	c.mu.Lock()
	for _, e := range c.events {
		if want.Matches(fields.Set{"involvedObject.kind": e.InvolvedObject.Kind, "involvedObject.name": e.InvolvedObject.Name, "type": e.Type}) {
			list.Items = append(list.Items, e)
		}
	}
	c.mu.Unlock()
	answer(w, list)
}

// invalid is the API server's own check of names and labels.
func invalid(m *metav1.ObjectMeta) string {
	problems := utilvalidation.IsDNS1123Label(m.Name) // stricter than for pods: the name becomes the host name
	for k, v := range m.Labels {
		problems = append(problems, utilvalidation.IsQualifiedName(k)...)
		problems = append(problems, utilvalidation.IsValidLabelValue(v)...)
	}
	for k := range m.Annotations {
		problems = append(problems, utilvalidation.IsQualifiedName(k)...)
	}
	return strings.Join(problems, "; ")
}

// notRestricted is Pod Security's level "restricted", and two rules of our own: chaincode
// gets no token and cannot write into its image.
func notRestricted(p *corev1.Pod) string {
	yes := func(b *bool) bool { return b != nil && *b }
	no := func(b *bool) bool { return b != nil && !*b }
	if s := p.Spec.SecurityContext; s == nil || !yes(s.RunAsNonRoot) || s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || s.RunAsUser != nil && *s.RunAsUser == 0 {
		return "pod must set securityContext.runAsNonRoot=true and seccompProfile.type=RuntimeDefault"
	}
	if !no(p.Spec.AutomountServiceAccountToken) {
		return "the pod would get a service account token"
	}
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		s := c.SecurityContext
		if s == nil || !no(s.AllowPrivilegeEscalation) || !yes(s.ReadOnlyRootFilesystem) || s.Capabilities == nil || !slices.Contains(s.Capabilities.Drop, "ALL") {
			return fmt.Sprintf("container %q must set securityContext", c.Name)
		}
		for _, e := range c.Env {
			if strings.Contains(e.Value, "PRIVATE KEY") {
				return fmt.Sprintf("container %q has a private key in its environment", c.Name)
			}
		}
		if err := mounts(p, &c); err != "" {
			return err
		}
	}
	for _, v := range p.Spec.Volumes {
		if v.HostPath != nil {
			return "hostPath volumes"
		}
		if v.EmptyDir != nil && v.EmptyDir.SizeLimit == nil {
			return fmt.Sprintf("volume %q has no limit", v.Name)
		}
	}
	return ""
}

// mounts checks that what is mounted exists, as the API server does.
func mounts(p *corev1.Pod, c *corev1.Container) string {
	for _, m := range c.VolumeMounts {
		if !slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }) {
			return fmt.Sprintf("container %q mounts volume %q, which does not exist", c.Name, m.Name)
		}
	}
	return ""
}

func requested(p *corev1.Pod) int64 {
	var total resource.Quantity
	for _, c := range p.Spec.Containers {
		total.Add(*c.Resources.Requests.Memory())
	}
	return total.Value()
}
