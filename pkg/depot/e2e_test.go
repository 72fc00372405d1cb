//go:build e2e

package depot_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"pivt.io/pivt/pkg/depot"
	"pivt.io/pivt/pkg/exit"
)

// real is a namespace of the test's own on the cluster that KUBECONFIG names.
type real struct {
	t         *testing.T
	config    *rest.Config
	client    kubernetes.Interface
	namespace string
}

func newReal(t *testing.T) *real {
	t.Helper()
	path := os.Getenv("KUBECONFIG")
	if path == "" {
		t.Fatal("KUBECONFIG must name the test cluster; there is no default, so that nobody's cluster is used by accident")
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	r := &real{t: t, config: config, client: kubernetes.NewForConfigOrDie(config), namespace: fmt.Sprintf("pivt-depot-%x", time.Now().UnixNano())}
	if _, err := r.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.client.CoreV1().Namespaces().Delete(context.Background(), r.namespace, metav1.DeleteOptions{})
	})
	return r
}

func (r *real) maps() typed.ConfigMapInterface {
	return r.client.CoreV1().ConfigMaps(r.namespace)
}

// as is a service account that may do these things to ConfigMaps.
func (r *real) as(name string, verbs ...string) typed.ConfigMapInterface {
	r.t.Helper()
	ctx := r.t.Context()
	meta := metav1.ObjectMeta{Name: name}
	if _, err := r.client.CoreV1().ServiceAccounts(r.namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
	if len(verbs) > 0 {
		role := &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: verbs}}}
		if _, err := r.client.RbacV1().Roles(r.namespace).Create(ctx, role, metav1.CreateOptions{}); err != nil {
			r.t.Fatal(err)
		}
		binding := &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: r.namespace}}}
		if _, err := r.client.RbacV1().RoleBindings(r.namespace).Create(ctx, binding, metav1.CreateOptions{}); err != nil {
			r.t.Fatal(err)
		}
	}
	token, err := r.client.CoreV1().ServiceAccounts(r.namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(r.config)
	config.BearerToken = token.Status.Token
	return kubernetes.NewForConfigOrDie(config).CoreV1().ConfigMaps(r.namespace)
}

// dying is a client whose connection breaks for good after so many creations.
func (r *real) dying(creations int32) typed.ConfigMapInterface {
	config := rest.CopyConfig(r.config)
	var left atomic.Int32
	left.Store(creations)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(q *http.Request) (*http.Response, error) {
			if q.Method == http.MethodPost && left.Add(-1) < 0 {
				return nil, errors.New("connection reset by peer")
			}
			return next.RoundTrip(q)
		})
	})
	return kubernetes.NewForConfigOrDie(config).CoreV1().ConfigMaps(r.namespace)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }

// The largest package goes into a real API server and etcd, and comes out as whoever has no
// more rights than a workflow's pod.
func TestRealPutAndGet(t *testing.T) {
	r := newReal(t)
	reader := r.as("reader", "get")
	for _, size := range []int{20 * kib, depot.MaxBytes} {
		label, pkg := fmt.Sprintf("My+CC_%d.0", size), content(uint64(size), size)
		begin := time.Now()
		mustPut(t, r.maps(), label, pkg, false, true)
		put := time.Since(begin)
		begin = time.Now()
		mustGet(t, reader, label, pkg)
		t.Logf("%d bytes: put in %s, read in %s", size, put.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
		mustPut(t, r.maps(), label, pkg, false, false)
	}
	list, err := r.maps().List(t.Context(), metav1.ListOptions{LabelSelector: depot.Selector})
	if err != nil || len(list.Items) != 2+20 {
		t.Fatalf("%d ConfigMaps, %v", len(list.Items), err)
	}
	changed := list.Items[0].DeepCopy()
	changed.Data = map[string]string{"sha256": "other"}
	if _, err := r.maps().Update(t.Context(), changed, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("changing a part of a package: %v; the API server should refuse it", err)
	}
}

func TestRealRights(t *testing.T) {
	r := newReal(t)
	mustPut(t, r.maps(), "basic_1.0", content(1, 10*kib), false, true)
	_, err := depot.Get(t.Context(), r.as("nobody"), "basic_1.0")
	if !errors.Is(err, depot.ErrDenied) || exit.IsTransient(err) || !strings.Contains(exit.HintOf(err), "hlf-flow") {
		t.Errorf("Get without the right: %v (hint %q)", err, exit.HintOf(err))
	}
	_, err = depot.Put(t.Context(), r.as("getter", "get", "list"), "basic_2.0", content(1, 10*kib), false)
	if !errors.Is(err, depot.ErrDenied) || exit.IsTransient(err) {
		t.Errorf("Put without the right: %v", err)
	}
	mustPut(t, r.as("putter", "get", "list", "create"), "basic_2.0", content(1, 10*kib), false, true)
}

func TestRealInterruptedPut(t *testing.T) {
	r := newReal(t)
	pkg, other := content(1, 2500*kib), content(2, 1000*kib)
	for creations := range int32(4) {
		label := fmt.Sprintf("basic_%d", creations)
		if _, err := depot.Put(t.Context(), r.dying(creations), label, pkg, false); !exit.IsTransient(err) {
			t.Fatalf("put whose connection breaks after %d creations: %v; that passes", creations, err)
		}
		if _, err := depot.Get(t.Context(), r.maps(), label); !errors.Is(err, depot.ErrAbsent) {
			t.Errorf("Get after %d of 4 creations: %v, want it absent", creations, err)
		}
		next := [][]byte{pkg, other}[creations%2]
		mustPut(t, r.maps(), label, next, false, true)
		mustGet(t, r.maps(), label, next)
	}
	list, err := r.maps().List(t.Context(), metav1.ListOptions{LabelSelector: depot.Selector})
	if err != nil || len(list.Items) != 2*4+2*3 {
		t.Errorf("%d ConfigMaps, %v; want two packages of 4 and two of 3", len(list.Items), err)
	}
}

func TestRealRaces(t *testing.T) {
	r := newReal(t)
	for round := range uint64(2) {
		label, pkgs, errs := fmt.Sprintf("basic_%d", round), [][]byte{content(round, 1900*kib), content(round+50, 1900*kib)}, make([]error, 4)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { _, errs[i] = depot.Put(t.Context(), r.maps(), label, pkgs[i%2], false) })
		}
		wg.Wait()
		got, err := depot.Get(t.Context(), r.maps(), label)
		won := slices.IndexFunc(pkgs, func(p []byte) bool { return bytes.Equal(p, got) })
		if err != nil || won < 0 {
			t.Fatalf("Get: %d bytes, %v (puts: %v)", len(got), err, errs)
		}
		for i, err := range errs {
			if i%2 == won && err != nil || i%2 != won && !errors.Is(err, depot.ErrTaken) {
				t.Errorf("put %d, of package %d while package %d won: %v", i, i%2, won, err)
			}
		}
	}
}
