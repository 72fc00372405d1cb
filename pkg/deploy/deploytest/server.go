package deploytest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// request is what a path and a method mean.
type request struct {
	*http.Request
	gv, resource, namespace, name string
	kind                          kind
	verb                          string
}

// path is where an object of the request is stored.
func (r *request) path(name string) string {
	root := "apis/" + r.gv
	if r.gv == "v1" {
		root = "api/v1"
	}
	if r.namespace != "" {
		root += "/namespaces/" + r.namespace
	}
	return strings.TrimSuffix(root+"/"+r.resource+"/"+name, "/")
}

// ServeHTTP implements http.Handler.
func (c *Cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := strings.Trim(r.URL.Path, "/"); {
	case path == "version":
		answer(w, http.StatusOK, object{"major": "1", "minor": "34", "gitVersion": Version})
	case path == "api", path == "apis", path == "api/v1", strings.HasPrefix(path, "apis/") && strings.Count(path, "/") == 2:
		c.discover(w, path)
	case strings.HasPrefix(path, "openapi/"):
		c.openAPI(w, path)
	default:
		c.serve(w, r, strings.Split(path, "/"))
	}
}

func (c *Cluster) serve(w http.ResponseWriter, r *http.Request, parts []string) {
	q := &request{Request: r, gv: "v1"}
	rest := parts[1:]
	if parts[0] == "apis" && len(parts) > 3 {
		q.gv, rest = parts[1]+"/"+parts[2], parts[1:]
	}
	rest = rest[1:]
	if parts[0] == "apis" && len(rest) > 0 {
		rest = rest[1:]
	}
	if len(rest) > 2 && rest[0] == "namespaces" {
		q.namespace, rest = rest[1], rest[2:]
	}
	if len(rest) > 0 {
		q.resource = rest[0]
	}
	if len(rest) > 1 {
		q.name = rest[1]
	}
	c.mu.Lock()
	known := false
	q.kind, known = c.kinds[q.gv+"/"+q.resource]
	q.verb = verbOf(q)
	before := c.before[q.verb+" "+q.resource]
	c.mu.Unlock()
	if before != nil {
		before()
	}
	if known && q.resource == "pods" && len(rest) == 3 && rest[2] == "log" {
		c.log(w, q.name)
		return
	}
	if !known || len(rest) > 2 {
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource", nil)
		return
	}
	if q.verb == "watch" {
		c.watch(w, q)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if message, forbidden := c.refusals[q.verb+" "+q.resource]; forbidden {
		refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden, message, nil)
		return
	}
	c.answerOne(w, q)
}

// log answers with what Log stored for a pod.
func (c *Cluster) log(w http.ResponseWriter, pod string) {
	c.mu.Lock()
	text, ok := c.logs[pod]
	c.mu.Unlock()
	if !ok {
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("pods %q not found", pod), nil)
		return
	}
	_, _ = io.WriteString(w, text)
}

func verbOf(q *request) string {
	switch q.Method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	switch {
	case q.name != "":
		return "get"
	case q.URL.Query().Get("watch") != "":
		return "watch"
	}
	return "list"
}

// answerOne serves what is not a watch. The lock is held.
func (c *Cluster) answerOne(w http.ResponseWriter, q *request) {
	live, exists := c.objects[q.path(q.name)]
	switch {
	case q.verb == "list":
		c.list(w, q)
	case q.verb == "create":
		c.create(w, q)
	case q.verb == "patch" && q.Header.Get("Content-Type") == string(types.ApplyPatchType):
		c.apply(w, q, live)
	case !exists:
		details := &metav1.StatusDetails{Kind: q.resource, Name: q.name}
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("%s %q not found", q.resource, q.name), details)
	case q.verb == "get":
		answer(w, http.StatusOK, c.typed(q, live))
	case q.verb == "update":
		answer(w, http.StatusOK, c.typed(q, c.store("MODIFIED", q.path(q.name), decode(q))))
	case q.verb == "patch":
		patched, err := patch(q, live)
		if err != nil {
			refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error(), nil)
			return
		}
		answer(w, http.StatusOK, c.typed(q, c.store("MODIFIED", q.path(q.name), patched)))
	case q.verb == "delete":
		c.store("DELETED", q.path(q.name), live)
		answer(w, http.StatusOK, object{"kind": "Status", "apiVersion": "v1", "status": "Success"})
	}
}

func (c *Cluster) create(w http.ResponseWriter, q *request) {
	obj := decode(q)
	if q.resource == "selfsubjectaccessreviews" {
		answer(w, http.StatusCreated, c.review(obj))
		return
	}
	meta := obj["metadata"].(object)
	if _, named := meta["name"].(string); !named {
		meta["name"] = fmt.Sprintf("%s%05d", meta["generateName"], len(c.history))
	}
	name := meta["name"].(string)
	switch {
	case !c.hasNamespace(w, q):
	case c.objects[q.path(name)] != nil:
		refuse(w, http.StatusConflict, metav1.StatusReasonAlreadyExists, fmt.Sprintf("%s %q already exists", q.resource, name), nil)
	default:
		if q.namespace != "" {
			meta["namespace"] = q.namespace
		}
		answer(w, http.StatusCreated, c.typed(q, c.store("ADDED", q.path(name), obj)))
	}
}

func (c *Cluster) hasNamespace(w http.ResponseWriter, q *request) bool {
	if q.namespace == "" || c.objects["api/v1/namespaces/"+q.namespace] != nil {
		return true
	}
	refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("namespaces %q not found", q.namespace), &metav1.StatusDetails{Kind: "namespaces", Name: q.namespace})
	return false
}

// apply is server-side apply by a manager that is the only one and never drops a field.
func (c *Cluster) apply(w http.ResponseWriter, q *request, live object) {
	var want object
	body, err := io.ReadAll(q.Body)
	if err == nil {
		err = yaml.Unmarshal(body, &want)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error(), nil)
		return
	}
	if !c.hasNamespace(w, q) {
		return
	}
	status := http.StatusOK
	if live == nil {
		live, status = object{}, http.StatusCreated
	}
	merged := merge(live, want)
	if status == http.StatusOK && same(merged, live) {
		answer(w, status, c.typed(q, live))
		return
	}
	answer(w, status, c.typed(q, c.store("MODIFIED", q.path(q.name), merged)))
}

func (c *Cluster) review(obj object) object {
	about, _ := obj["spec"].(object)["resourceAttributes"].(object)
	resource := fmt.Sprint(about["resource"])
	_, forbidden := c.refusals[fmt.Sprint(about["verb"])+" "+resource]
	obj["kind"], obj["apiVersion"] = "SelfSubjectAccessReview", "authorization.k8s.io/v1"
	obj["status"] = object{"allowed": !forbidden}
	return obj
}

// patch applies what Helm sends.
func patch(q *request, live object) (object, error) {
	before, err := json.Marshal(live)
	if err != nil {
		return nil, err
	}
	change, err := io.ReadAll(q.Body)
	if err != nil {
		return nil, err
	}
	var patched object
	if q.Header.Get("Content-Type") != string(types.StrategicMergePatchType) {
		err := json.Unmarshal(change, &patched)
		return merge(live, patched), err
	}
	gv, err := schema.ParseGroupVersion(q.gv)
	if err != nil {
		return nil, err
	}
	typed, err := scheme.Scheme.New(gv.WithKind(q.kind.name))
	if err != nil {
		return nil, err
	}
	after, err := strategicpatch.StrategicMergePatch(before, change, typed)
	if err != nil {
		return nil, err
	}
	err = json.Unmarshal(after, &patched)
	return patched, err
}

// decode reads a body: JSON, or protobuf of one of Kubernetes' own kinds.
func decode(q *request) object {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return object{"metadata": object{}}
	}
	obj := object{}
	if json.Unmarshal(body, &obj) == nil {
		return obj
	}
	typed, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		panic(fmt.Sprintf("%s %s: neither JSON nor a kind of Kubernetes: %v", q.Method, q.URL.Path, err))
	}
	if obj, err = runtime.DefaultUnstructuredConverter.ToUnstructured(typed); err != nil {
		panic(err)
	}
	return obj
}

func (c *Cluster) typed(q *request, o object) object {
	return merge(object{"kind": q.kind.name, "apiVersion": q.gv}, o)
}

func (c *Cluster) discover(w http.ResponseWriter, path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if path == "api" {
		answer(w, http.StatusOK, object{"kind": "APIVersions", "versions": []string{"v1"}})
		return
	}
	groups, resources := []object{}, []object{}
	seen := map[string]bool{}
	for _, key := range sortedKeys(c.kinds) {
		gv, resource := key[:strings.LastIndex(key, "/")], key[strings.LastIndex(key, "/")+1:]
		if strings.HasSuffix("/"+path, "/"+gv) {
			k := c.kinds[key]
			resources = append(resources, object{"name": resource, "kind": k.name, "namespaced": k.namespaced,
				"verbs": []string{"create", "delete", "get", "list", "patch", "update", "watch"}})
		}
		if group, version, ok := strings.Cut(gv, "/"); ok && !seen[gv] {
			seen[gv] = true
			v := object{"groupVersion": gv, "version": version}
			groups = append(groups, object{"name": group, "versions": []object{v}, "preferredVersion": v})
		}
	}
	switch {
	case path == "apis":
		answer(w, http.StatusOK, object{"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
	case len(resources) == 0:
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource", nil)
	default:
		gv := strings.TrimPrefix(strings.TrimPrefix(path, "apis/"), "api/")
		answer(w, http.StatusOK, object{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": gv, "resources": resources})
	}
}

// openAPI says of every kind that the server itself refuses unknown fields, which is all
// that Helm asks before it leaves that to the server.
func (c *Cluster) openAPI(w http.ResponseWriter, path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	paths := object{}
	for key, k := range c.kinds {
		gv, resource := key[:strings.LastIndex(key, "/")], key[strings.LastIndex(key, "/")+1:]
		root := "apis/" + gv
		if gv == "v1" {
			root = "api/v1"
		}
		if path == "openapi/v3" {
			paths[root] = object{"serverRelativeURL": "/openapi/v3/" + root}
			continue
		}
		if path != "openapi/v3/"+root {
			continue
		}
		group, version, ok := strings.Cut(gv, "/")
		if !ok {
			group, version = "", gv
		}
		paths["/"+root+"/"+resource+"/{name}"] = object{"patch": object{
			"x-kubernetes-group-version-kind": object{"group": group, "version": version, "kind": k.name},
			"parameters":                      []object{{"name": "fieldValidation", "in": "query"}},
			"responses":                       object{"200": object{"description": "OK"}},
		}}
	}
	if len(paths) == 0 {
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource", nil)
		return
	}
	answer(w, http.StatusOK, object{"openapi": "3.0.0", "info": object{"title": "Kubernetes", "version": Version}, "paths": paths})
}

func answer(w http.ResponseWriter, status int, body object) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, status int, reason metav1.StatusReason, message string, details *metav1.StatusDetails) {
	answer(w, status, object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "reason": reason, "message": message, "details": details})
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
