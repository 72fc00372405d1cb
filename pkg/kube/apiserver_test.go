package kube_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"pivt.io/pivt/pkg/kube"
)

type object = map[string]any

// apiServer is an API server in memory: it stores, applies, selects, watches and forgets as
// the real one does for what package kube asks of it, over HTTP, and can be taken down.
type apiServer struct {
	*httptest.Server
	kinds map[string]string // "apps/v1/statefulsets" to "StatefulSet"

	mu       sync.Mutex
	objects  map[string]object // by path
	owned    map[string]object // what a field manager applied last, by manager and path
	version  int
	history  []change
	watchers map[chan struct{}]bool
	down     bool
	refuse   map[string]int // path to a status it is answered with
	requests []string
}

type change struct {
	kind, path string
	object     object
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{
		kinds: map[string]string{
			"v1/secrets": "Secret", "v1/configmaps": "ConfigMap", "v1/namespaces": "Namespace",
			"v1/pods": "Pod", "v1/events": "Event", "apps/v1/statefulsets": "StatefulSet",
		},
		objects: map[string]object{}, owned: map[string]object{}, watchers: map[chan struct{}]bool{}, refuse: map[string]int{},
	}
	s.Server = httptest.NewUnstartedServer(s)
	// Requests end with the test, also one that was given up on and arrives after connections have been closed.
	s.Config.BaseContext = func(net.Listener) context.Context { return t.Context() }
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// client connects to the server by way of a kubeconfig, as a user does.
func (s *apiServer) client(t *testing.T) *kube.Client {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	config := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: story,
clusters: [{name: c, cluster: {server: %q}}], users: [{name: u, user: {}}],
contexts: [{name: story, context: {cluster: c, user: u, namespace: fabric}}]}`, s.URL)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := kube.New(kube.Options{Kubeconfig: file})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// setDown makes the server answer nothing, or lets it return, with its memory.
func (s *apiServer) setDown(down bool) {
	s.mu.Lock()
	s.down = down
	for w := range s.watchers {
		close(w)
		delete(s.watchers, w)
	}
	s.mu.Unlock()
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	down, status := s.down, s.refuse[r.Method+" "+r.URL.Path]
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	s.mu.Unlock()
	path := strings.Trim(r.URL.Path, "/")
	switch {
	case down:
		fail(w, 503, "the server is currently unable to handle the request") // a load balancer says so
	case status != 0:
		fail(w, status, "told to refuse")
	case path == "version":
		write(w, 200, object{"gitVersion": "v1.34.4"})
	case path == "api":
		write(w, 200, object{"versions": []string{"v1"}})
	case path == "apis":
		v := object{"groupVersion": "apps/v1", "version": "v1"}
		write(w, 200, object{"kind": "APIGroupList", "groups": []object{{"name": "apps", "versions": []object{v}, "preferredVersion": v}}})
	case path == "api/v1" || path == "apis/apps/v1":
		s.discovery(w, strings.TrimPrefix(strings.TrimPrefix(path, "apis/"), "api/"))
	case strings.HasSuffix(path, "selfsubjectaccessreviews"):
		review := body(r)
		review["status"] = object{"allowed": review["spec"].(object)["resourceAttributes"].(object)["verb"] != "delete"}
		write(w, 201, review)
	case strings.HasSuffix(path, "/slow-0/portforward"):
		<-r.Context().Done()
	case strings.HasSuffix(path, "/peer-0/portforward"):
		portForward(w, r)
	default:
		s.resource(w, r, path)
	}
}

func (s *apiServer) discovery(w http.ResponseWriter, gv string) {
	var resources []object
	for key, kind := range s.kinds {
		if name, ok := strings.CutPrefix(key, gv+"/"); ok {
			resources = append(resources, object{"name": name, "kind": kind, "namespaced": kind != "Namespace", "verbs": []string{"get"}})
		}
	}
	write(w, 200, object{"kind": "APIResourceList", "groupVersion": gv, "resources": resources})
}

// resource serves objects. path is api/v1/namespaces/NS/pods/NAME, or a part of that.
func (s *apiServer) resource(w http.ResponseWriter, r *http.Request, path string) {
	parts := strings.Split(path, "/")
	gv, rest := "v1", parts[2:]
	if parts[0] == "apis" {
		gv, rest = parts[1]+"/"+parts[2], parts[3:]
	}
	if len(rest) > 2 && rest[0] == "namespaces" {
		rest = rest[2:]
	}
	kind := ""
	if len(rest) > 0 {
		kind = s.kinds[gv+"/"+rest[0]]
	}
	if kind == "" {
		fail(w, 404, "the server could not find the requested resource")
		return
	}
	isList := len(rest) == 1
	switch {
	case isList && r.Method == http.MethodGet && r.URL.Query().Get("watch") == "true":
		s.watch(w, r, path, object{"kind": kind, "apiVersion": gv})
	case isList && r.Method == http.MethodGet:
		s.list(w, r, path, gv, kind)
	case len(rest) > 2:
		fail(w, 404, path+" not found")
	default:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.single(w, r, path, kind)
	}
}

func (s *apiServer) single(w http.ResponseWriter, r *http.Request, path, kind string) {
	live, exists := s.objects[path]
	switch {
	case r.Method == http.MethodPost:
		obj := body(r)
		path += "/" + obj["metadata"].(object)["name"].(string)
		if _, exists := s.objects[path]; exists {
			fail(w, 409, "already exists")
			return
		}
		write(w, 201, s.store("ADDED", path, obj))
	case r.Method == http.MethodPatch && r.Header.Get("Content-Type") == "application/apply-patch+yaml":
		s.apply(w, r, path, kind)
	case !exists:
		fail(w, 404, path+" not found")
	case r.Method == http.MethodGet:
		write(w, 200, live)
	case r.Method == http.MethodPatch:
		var patch object
		_ = json.NewDecoder(r.Body).Decode(&patch)
		write(w, 200, s.store("MODIFIED", path, merge(live, patch)))
	case r.Method == http.MethodDelete:
		var options metav1.DeleteOptions
		_ = json.NewDecoder(r.Body).Decode(&options)
		if p := options.Preconditions; p != nil && string(*p.UID) != live["metadata"].(object)["uid"] {
			fail(w, 409, "uid differs")
			return
		}
		if len(options.DryRun) == 0 {
			s.store("DELETED", path, live)
		}
		write(w, 200, object{"kind": "Status", "status": "Success"})
	}
}

// apply is server-side apply for maps and scalars: fields that the manager applied before
// and no longer does are removed.
func (s *apiServer) apply(w http.ResponseWriter, r *http.Request, path, kind string) {
	var obj object
	if err := yamlBody(r, &obj); err != nil {
		fail(w, 400, err.Error())
		return
	}
	if data, ok := obj["data"].(object); ok && kind == "Secret" {
		for k, v := range data {
			if _, isText := v.(string); !isText { // the real one quotes the value, too
				fail(w, 500, fmt.Sprintf("failed to create typed patch object: .data.%s: expected string, got %v", k, v))
				return
			}
		}
	}
	if ns := strings.Split(path, "/"); kind != "Namespace" && s.objects["api/v1/namespaces/"+ns[len(ns)-3]] == nil {
		fail(w, 404, "namespaces not found")
		return
	}
	owner := r.URL.Query().Get("fieldManager") + " " + path
	live, exists := s.objects[path]
	want := merge(without(live, s.owned[owner]), obj)
	dryRun := r.URL.Query().Get("dryRun") != ""
	status := 200
	if !exists {
		status = 201
	}
	if exists && fmt.Sprint(want) == fmt.Sprint(live) || dryRun {
		write(w, status, want)
		return
	}
	s.owned[owner] = obj
	write(w, status, s.store("MODIFIED", path, want))
}

// store keeps an object, or forgets it, and wakes the watchers. The lock is held.
func (s *apiServer) store(kind, path string, obj object) object {
	s.version++
	obj = merge(nil, obj)
	meta := merge(nil, obj["metadata"].(object))
	meta["resourceVersion"] = fmt.Sprint(s.version)
	meta["uid"] = cmp.Or(fmt.Sprint(meta["uid"]), "")
	if meta["uid"] == "<nil>" {
		meta["uid"] = fmt.Sprintf("uid-%d", s.version)
	}
	obj["metadata"] = meta
	s.objects[path] = obj
	if kind == "DELETED" {
		delete(s.objects, path)
	}
	s.history = append(s.history, change{kind, path, obj})
	for w := range s.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
	return obj
}

// put stores an object from a test.
func (s *apiServer) put(path, text string) {
	var obj object
	if err := yaml.Unmarshal([]byte(text), &obj); err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store("MODIFIED", path, obj)
}

func (s *apiServer) get(path string) object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[path]
}

func (s *apiServer) list(w http.ResponseWriter, r *http.Request, path, gv, kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := []object{}
	for _, p := range slices.Sorted(maps.Keys(s.objects)) {
		if obj := s.objects[p]; under(p, path) && selected(r, obj) {
			items = append(items, merge(object{"kind": kind, "apiVersion": gv}, obj))
		}
	}
	write(w, 200, object{"kind": kind + "List", "apiVersion": gv, "metadata": object{"resourceVersion": fmt.Sprint(s.version)}, "items": items})
}

func (s *apiServer) watch(w http.ResponseWriter, r *http.Request, path string, types object) {
	var from int
	_, _ = fmt.Sscan(r.URL.Query().Get("resourceVersion"), &from)
	wake := make(chan struct{}, 1)
	s.mu.Lock()
	s.watchers[wake] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.watchers, wake)
		s.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "application/json")
	for next := 0; ; {
		s.mu.Lock()
		news := s.history[next:]
		next = len(s.history)
		s.mu.Unlock()
		for _, c := range news {
			var v int
			_, _ = fmt.Sscan(c.object["metadata"].(object)["resourceVersion"].(string), &v)
			if v > from && under(c.path, path) && selected(r, c.object) {
				_ = json.NewEncoder(w).Encode(object{"type": c.kind, "object": merge(types, c.object)})
			}
		}
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
			return
		case _, open := <-wake:
			if !open {
				panic(http.ErrAbortHandler)
			}
		}
	}
}

func under(path, list string) bool {
	rest, ok := strings.CutPrefix(path, list+"/")
	return ok && !strings.Contains(rest, "/")
}

func selected(r *http.Request, obj object) bool {
	byLabel, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		return false
	}
	byField, err := fields.ParseSelector(r.URL.Query().Get("fieldSelector"))
	if err != nil {
		return false
	}
	meta := obj["metadata"].(object)
	own := labels.Set{}
	if set, ok := meta["labels"].(object); ok {
		for k, v := range set {
			own[k] = fmt.Sprint(v)
		}
	}
	facts := fields.Set{"metadata.name": fmt.Sprint(meta["name"]), "reason": fmt.Sprint(obj["reason"])}
	if involved, ok := obj["involvedObject"].(object); ok {
		facts["involvedObject.name"], facts["involvedObject.kind"] = fmt.Sprint(involved["name"]), fmt.Sprint(involved["kind"])
	}
	return byLabel.Matches(own) && byField.Matches(facts)
}

// merge lays b over a into a new object.
func merge(a, b object) object {
	out := maps.Clone(a)
	if out == nil {
		out = object{}
	}
	for k, v := range b {
		inner, isMap := v.(object)
		old, wasMap := out[k].(object)
		switch {
		case v == nil:
			delete(out, k)
		case isMap && wasMap:
			out[k] = merge(old, inner)
		default:
			out[k] = v
		}
	}
	return out
}

// without takes b's leaves out of a.
func without(a, b object) object {
	out := maps.Clone(a)
	for k, v := range b {
		inner, isMap := v.(object)
		if old, ok := out[k].(object); isMap && ok {
			out[k] = without(old, inner)
			continue
		}
		delete(out, k)
	}
	return out
}

// body decodes what a typed client sends: protobuf of any of Kubernetes' own kinds.
func body(r *http.Request) object {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	typed, _, err := scheme.Codecs.UniversalDeserializer().Decode(data, nil, nil)
	if err != nil {
		panic(err)
	}
	obj, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	if err != nil {
		panic(err)
	}
	return obj
}

func yamlBody(r *http.Request, into any) error {
	var raw json.RawMessage
	if err := json.NewDecoder(r.Body).Decode(&raw); err != nil {
		return err
	}
	return yaml.Unmarshal(raw, into)
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func fail(w http.ResponseWriter, code int, message string) {
	reasons := map[int]metav1.StatusReason{
		400: metav1.StatusReasonBadRequest, 401: metav1.StatusReasonUnauthorized, 403: metav1.StatusReasonForbidden,
		404: metav1.StatusReasonNotFound, 409: metav1.StatusReasonConflict, 500: metav1.StatusReasonInternalError, 503: metav1.StatusReasonServiceUnavailable,
	}
	if strings.Contains(message, "already exists") {
		reasons[409] = metav1.StatusReasonAlreadyExists
	}
	write(w, code, metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: reasons[code], Message: message, //nolint:gosec // an HTTP status
	})
}
