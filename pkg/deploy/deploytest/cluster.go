package deploytest

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pivt.io/pivt/pkg/kube"
)

// Version is what the cluster says it is.
const Version = "v1.34.4"

type object = map[string]any

// Cluster is one cluster.
type Cluster struct {
	t      testing.TB
	server *httptest.Server

	mu       sync.Mutex
	objects  map[string]object // by path
	kinds    map[string]kind   // by group/version/resource
	news     chan struct{}     // closed with every change
	history  []change
	refusals map[string]string // "verb resource" to a message
	before   map[string]func() // "verb resource"
	done     map[string]bool   // tasks of workflows that have been done
	fails    map[string]TaskFailure
	stuck    bool              // nothing that was begun ends
	pending  bool              // pods stay pending
	logs     map[string]string // of pods
}

// TaskFailure is how a step ends that fails.
type TaskFailure struct {
	Message  string // what it wrote to its termination message
	ExitCode int
}

type kind struct {
	name       string
	namespaced bool
}

type change struct {
	event, path string
	object      object
}

// New starts a cluster that ends with the test. It has Argo's kinds and no namespace but default.
func New(t testing.TB) *Cluster {
	t.Helper()
	c := &Cluster{
		t:        t,
		objects:  map[string]object{},
		news:     make(chan struct{}),
		refusals: map[string]string{}, before: map[string]func(){}, done: map[string]bool{}, fails: map[string]TaskFailure{},
		kinds: map[string]kind{
			"v1/namespaces":                             {"Namespace", false},
			"v1/secrets":                                {"Secret", true},
			"v1/configmaps":                             {"ConfigMap", true},
			"v1/services":                               {"Service", true},
			"v1/serviceaccounts":                        {"ServiceAccount", true},
			"v1/pods":                                   {"Pod", true},
			"v1/events":                                 {"Event", true},
			"v1/persistentvolumeclaims":                 {"PersistentVolumeClaim", true},
			"apps/v1/statefulsets":                      {"StatefulSet", true},
			"apps/v1/deployments":                       {"Deployment", true},
			"policy/v1/poddisruptionbudgets":            {"PodDisruptionBudget", true},
			"networking.k8s.io/v1/networkpolicies":      {"NetworkPolicy", true},
			"rbac.authorization.k8s.io/v1/roles":        {"Role", true},
			"rbac.authorization.k8s.io/v1/rolebindings": {"RoleBinding", true},
			"authorization.k8s.io/v1/selfsubjectaccessreviews": {"SelfSubjectAccessReview", false},
			workflows:                            {"Workflow", true},
			"argoproj.io/v1alpha1/cronworkflows": {"CronWorkflow", true},
		},
	}
	c.objects["api/v1/namespaces/default"] = object{"metadata": object{"name": "default"}}
	c.server = httptest.NewServer(c)
	t.Cleanup(func() {
		c.server.CloseClientConnections()
		c.server.Close()
	})
	return c
}

const workflows = "argoproj.io/v1alpha1/workflows"

// Kubeconfig writes a kubeconfig file for the cluster, whose context names the namespace.
func (c *Cluster) Kubeconfig(namespace string) string {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "kubeconfig")
	config := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: test, clusters: [{name: c, cluster: {server: %q}}],
users: [{name: u, user: {}}], contexts: [{name: test, context: {cluster: c, user: u, namespace: %s}}]}`, c.server.URL, namespace)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return file
}

// Client is a client of the cluster in a namespace.
func (c *Cluster) Client(namespace string) *kube.Client {
	c.t.Helper()
	k, err := kube.New(kube.Options{Kubeconfig: c.Kubeconfig(namespace)})
	if err != nil {
		c.t.Fatal(err)
	}
	return k
}

// Refuse makes the cluster forbid a verb on a resource, say "create" "namespaces", with a
// sentence that takes the place of RBAC's usual one if it is not empty.
func (c *Cluster) Refuse(verb, resource, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if message == "" {
		message = fmt.Sprintf("%s is forbidden: User \"ada\" cannot %s resource %q", resource, verb, resource)
	}
	c.refusals[verb+" "+resource] = message
}

// Before has f called whenever the cluster is about to answer a verb on a resource.
func (c *Cluster) Before(verb, resource string, f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.before[verb+" "+resource] = f
}

// Allow takes back all refusals and failures.
func (c *Cluster) Allow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.refusals)
	clear(c.fails)
	c.stuck, c.pending = false, false
}

// WithoutArgo takes Argo's kinds away.
func (c *Cluster) WithoutArgo() {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.kinds, workflows)
}

// FailTask makes a task of the coming workflows fail whenever it is run.
func (c *Cluster) FailTask(name string, f TaskFailure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fails[name] = f
}

// HoldTasks keeps the coming workflows running: their tasks begin and do not end.
func (c *Cluster) HoldTasks() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stuck = true
}

// EndTasks lets go what HoldTasks has held.
func (c *Cluster) EndTasks() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stuck = false
	for _, path := range sortedKeys(c.objects) {
		o := c.objects[path]
		status, _ := o["status"].(object)
		if strings.Contains(path, "/workflows/") && status["phase"] == "Running" {
			o = copied(o)
			delete(o, "status")
			c.store("MODIFIED", path, o)
		}
	}
}

// HoldPods keeps the pods of coming StatefulSets from being scheduled.
func (c *Cluster) HoldPods() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = true
}

// Undo makes a task due again, as if what it had done was lost.
func (c *Cluster) Undo(task string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.done, task)
}

// Names lists the objects of a resource in a namespace, sorted.
func (c *Cluster) Names(resource, namespace string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for path := range c.objects {
		dir, name := filepath.Split(path)
		if strings.HasSuffix(dir, "/"+namespace+"/"+resource+"/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Delete takes an object away, as somebody with kubectl would.
func (c *Cluster) Delete(resource, namespace, name string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for path, o := range c.objects {
		if strings.HasSuffix(path, "/"+namespace+"/"+resource+"/"+name) {
			c.store("DELETED", path, o)
			return
		}
	}
	c.t.Fatalf("there is no %s/%s to delete", resource, name)
}

// Log is what a pod has written.
func (c *Cluster) Log(pod, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.logs == nil {
		c.logs = map[string]string{}
	}
	c.logs[pod] = text
}

// Put stores an object of the core group, as somebody with kubectl would.
func (c *Cluster) Put(resource, namespace string, status, metadata map[string]any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	path := "api/v1/namespaces/" + namespace + "/" + resource
	if resource == "namespaces" {
		path = "api/v1/namespaces"
	}
	o := object{"metadata": metadata}
	if status != nil {
		o["status"] = status
	}
	c.store("ADDED", path+"/"+metadata["name"].(string), o)
}
