package depot_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	ktesting "k8s.io/client-go/testing"

	"pivt.io/pivt/pkg/depot"
	"pivt.io/pivt/pkg/exit"
)

const kib = 1 << 10

// content is incompressible, and the same for the same seed.
func content(seed uint64, size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// cluster is an API server in memory that gives out UIDs and heeds preconditions, both of which
// client-go's fake does not.
type cluster struct {
	*fake.Clientset
	next atomic.Int64
	// before is asked before each call; an error is the API server's answer.
	before func(verb, name string) error
}

func newCluster() *cluster {
	c := &cluster{Clientset: fake.NewClientset()}
	c.PrependReactor("*", "configmaps", func(a ktesting.Action) (bool, runtime.Object, error) {
		switch a := a.(type) {
		case ktesting.CreateActionImpl:
			m := a.Object.(*corev1.ConfigMap)
			m.UID = types.UID(fmt.Sprintf("uid-%d", c.next.Add(1)))
			if sizeOf(m) > 1<<20 {
				return true, nil, apierrors.NewInvalid(schema.GroupKind{Kind: "ConfigMap"}, m.Name, nil)
			}
		case ktesting.DeleteActionImpl:
			have, err := c.Tracker().Get(a.GetResource(), a.Namespace, a.Name)
			if p := a.DeleteOptions.Preconditions; err == nil && p != nil && p.UID != nil && have.(*corev1.ConfigMap).UID != *p.UID {
				return true, nil, apierrors.NewConflict(a.GetResource().GroupResource(), a.Name, errors.New("uid"))
			}
		}
		return false, nil, nil
	})
	return c
}

// maps is the client that the package under test is given.
func (c *cluster) maps() typed.ConfigMapInterface {
	return asked{c.CoreV1().ConfigMaps("fabric"), c}
}

type asked struct {
	typed.ConfigMapInterface
	c *cluster
}

func (a asked) ask(verb, name string) error {
	if a.c.before == nil {
		return nil
	}
	return a.c.before(verb, name)
}

func (a asked) Create(ctx context.Context, m *corev1.ConfigMap, o metav1.CreateOptions) (*corev1.ConfigMap, error) {
	if err := a.ask("create", m.Name); err != nil {
		return nil, err
	}
	return a.ConfigMapInterface.Create(ctx, m, o)
}

func (a asked) Get(ctx context.Context, name string, o metav1.GetOptions) (*corev1.ConfigMap, error) {
	if err := a.ask("get", name); err != nil {
		return nil, err
	}
	return a.ConfigMapInterface.Get(ctx, name, o)
}

func (a asked) List(ctx context.Context, o metav1.ListOptions) (*corev1.ConfigMapList, error) {
	if err := a.ask("list", ""); err != nil {
		return nil, err
	}
	return a.ConfigMapInterface.List(ctx, o)
}

func (a asked) Delete(ctx context.Context, name string, o metav1.DeleteOptions) error {
	if err := a.ask("delete", name); err != nil {
		return err
	}
	return a.ConfigMapInterface.Delete(ctx, name, o)
}

func sizeOf(m *corev1.ConfigMap) int {
	n := 0
	for k, v := range m.Data {
		n += len(k) + len(v)
	}
	for k, v := range m.BinaryData {
		n += len(k) + len(v)
	}
	return n
}

func (c *cluster) names(t *testing.T) []string {
	t.Helper()
	list, err := c.maps().List(t.Context(), metav1.ListOptions{LabelSelector: depot.Selector})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range list.Items {
		names = append(names, m.Name)
		if m.Immutable == nil || !*m.Immutable {
			t.Errorf("configmap/%s can be changed", m.Name)
		}
		for key, want := range map[string]string{"app.kubernetes.io/part-of": "hlf-kube", "app.kubernetes.io/managed-by": "pivt"} {
			if m.Labels[key] != want {
				t.Errorf("configmap/%s has label %s=%s, want %s", m.Name, key, m.Labels[key], want)
			}
		}
	}
	return names
}

func mustPut(t *testing.T, c typed.ConfigMapInterface, label string, pkg []byte, replace, changed bool) {
	t.Helper()
	got, err := depot.Put(t.Context(), c, label, pkg, replace)
	if err != nil || got != changed {
		t.Fatalf("Put(%s) = %t, %v; want %t", label, got, err, changed)
	}
}

func mustGet(t *testing.T, c typed.ConfigMapInterface, label string, want []byte) {
	t.Helper()
	got, err := depot.Get(t.Context(), c, label)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("Get(%s) = %d bytes, %v; want the %d that were put", label, len(got), err, len(want))
	}
}

func TestPutAndGet(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		size   int
		maps   int
	}{
		"Small":     {"A package without vendored modules is some kilobytes.", 10 * kib, 2},
		"OneChunk":  {"Just what fits.", 900 * kib, 2},
		"TwoChunks": {"One byte more.", 900*kib + 1, 3},
		"Largest":   {"The limit itself is allowed.", depot.MaxBytes, 20},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, pkg := newCluster(), content(1, tc.size)
			mustPut(t, c.maps(), "basic_1.0", pkg, false, true)
			mustGet(t, c.maps(), "basic_1.0", pkg)
			if n := len(c.names(t)); n != tc.maps {
				t.Errorf("%s\n%d ConfigMaps, want %d", tc.reason, n, tc.maps)
			}
			mustPut(t, c.maps(), "basic_1.0", pkg, false, false)
		})
	}
}

// The same bytes under two labels are two packages.
func TestSameBytesTwice(t *testing.T) {
	t.Parallel()
	c, pkg := newCluster(), content(1, 1000*kib)
	mustPut(t, c.maps(), "a_1.0", pkg, false, true)
	mustPut(t, c.maps(), "b_1.0", pkg, false, true)
	mustPut(t, c.maps(), "a_1.0", content(2, 10*kib), true, true)
	mustGet(t, c.maps(), "b_1.0", pkg)
}

// Labels are Fabric's; Kubernetes' names and label values are narrower.
func TestLabelsStayApart(t *testing.T) {
	t.Parallel()
	c := newCluster()
	long := strings.Repeat("a", 170)
	labels := []string{"basic_1.0", "Basic_1.0", "basic-1.0", "basic+1.0", "basic_1.0-", "9_.+", long, long + "b"}
	for i, l := range labels {
		mustPut(t, c.maps(), l, content(uint64(i), 1000*kib), false, true)
	}
	for i, l := range labels {
		mustGet(t, c.maps(), l, content(uint64(i), 1000*kib))
		mustPut(t, c.maps(), l, content(uint64(i), 1000*kib), false, false)
	}
	for _, name := range c.names(t) {
		if len(name) > 63 || strings.ContainsAny(name, "_+.ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
			t.Errorf("configmap name %q is too long or misspelt", name)
		}
	}
}

func TestTaken(t *testing.T) {
	t.Parallel()
	c, old, changed := newCluster(), content(1, 2000*kib), content(2, 1000*kib)
	mustPut(t, c.maps(), "basic_1.0", old, false, true)
	_, err := depot.Put(t.Context(), c.maps(), "basic_1.0", changed, false)
	if !errors.Is(err, depot.ErrTaken) || exit.IsTransient(err) || !strings.Contains(exit.HintOf(err), "raise the chaincode's version") {
		t.Errorf("Put of another package: %v (hint %q)", err, exit.HintOf(err))
	}
	for _, pkg := range [][]byte{old, changed} {
		if sum := hash(pkg); !strings.Contains(err.Error(), sum) {
			t.Errorf("Put of another package: %v; want both hashes in it, also %s", err, sum)
		}
	}
	mustGet(t, c.maps(), "basic_1.0", old)
	mustPut(t, c.maps(), "basic_1.0", changed, true, true)
	mustGet(t, c.maps(), "basic_1.0", changed)
	if n := len(c.names(t)); n != 3 {
		t.Errorf("%d ConfigMaps, want 3: the replaced package's chunks are left", n)
	}
	mustPut(t, c.maps(), "basic_1.0", changed, true, false)
}

// A put is killed after each of its calls in turn. Until the last one there is no package;
// whatever is put next, the same or another, it is completed and nothing is left over.
func TestInterruptedPut(t *testing.T) {
	t.Parallel()
	pkg, fixed := content(1, 2500*kib), content(2, 1000*kib)
	errKilled := errors.New("killed")
	for _, next := range [][]byte{pkg, fixed} {
		for calls := 0; ; calls++ {
			c, left := newCluster(), calls
			c.before = func(verb, _ string) error {
				if verb == "create" {
					if left--; left < 0 {
						return errKilled
					}
				}
				return nil
			}
			_, err := depot.Put(t.Context(), c.maps(), "basic_1.0", pkg, false)
			c.before = nil
			if err == nil {
				if calls != 4 {
					t.Errorf("a put of three chunks takes %d creations, want 4", calls)
				}
				break
			}
			if _, err := depot.Get(t.Context(), c.maps(), "basic_1.0"); !errors.Is(err, depot.ErrAbsent) {
				t.Fatalf("Get after %d of 4 calls: %v, want it absent", calls, err)
			}
			mustPut(t, c.maps(), "basic_1.0", next, false, true)
			mustGet(t, c.maps(), "basic_1.0", next)
			if n, want := len(c.names(t)), 1+(len(next)+900*kib-1)/(900*kib); n != want {
				t.Errorf("%d ConfigMaps after an interrupted put and another, want %d", n, want)
			}
		}
	}
}

// The same while a package is replaced: there is the old one, none, or the new one.
func TestInterruptedReplacement(t *testing.T) {
	t.Parallel()
	old, fresh := content(1, 2500*kib), content(2, 1900*kib)
	for calls := 0; ; calls++ {
		c, left := newCluster(), calls
		mustPut(t, c.maps(), "basic_1.0", old, false, true)
		c.before = func(string, string) error {
			if left--; left < 0 {
				return errors.New("killed")
			}
			return nil
		}
		_, err := depot.Put(t.Context(), c.maps(), "basic_1.0", fresh, true)
		c.before = nil
		if err == nil {
			return
		}
		got, err := depot.Get(t.Context(), c.maps(), "basic_1.0")
		if !errors.Is(err, depot.ErrAbsent) && !bytes.Equal(got, old) && !bytes.Equal(got, fresh) {
			t.Fatalf("Get after %d calls: %d bytes, %v", calls, len(got), err)
		}
		if _, err := depot.Put(t.Context(), c.maps(), "basic_1.0", fresh, true); err != nil {
			t.Fatal(err)
		}
		mustGet(t, c.maps(), "basic_1.0", fresh)
		// The next ordinary put cleans up.
		if _, err := depot.Put(t.Context(), c.maps(), "basic_1.0", fresh, false); err != nil {
			t.Fatal(err)
		}
		mustGet(t, c.maps(), "basic_1.0", fresh)
		if n := len(c.names(t)); n != 4 {
			t.Fatalf("after %d calls and two more puts: %d ConfigMaps, want 4", calls, n)
		}
	}
}

func TestRaces(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason        string
		same, replace bool
	}{
		"Same":     {"Two installs at once put the same: both succeed.", true, false},
		"Other":    {"Two people, two packages, one label: one is told.", false, false},
		"Replaced": {"Both insist: the label ends as one of the two, whole.", false, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for round := range uint64(20) {
				c := newCluster()
				pkgs := [][]byte{content(round, 1900*kib), content(round, 1900*kib)}
				if !tc.same {
					pkgs[1] = content(round+100, 1000*kib)
				}
				errs := make([]error, 2)
				var wg sync.WaitGroup
				for i, pkg := range pkgs {
					wg.Go(func() { _, errs[i] = depot.Put(t.Context(), c.maps(), "basic_1.0", pkg, tc.replace) })
				}
				wg.Wait()
				got, err := depot.Get(t.Context(), c.maps(), "basic_1.0")
				if err != nil {
					t.Fatalf("%s\nGet: %v (puts: %v)", tc.reason, err, errs)
				}
				won := slices.IndexFunc(pkgs, func(p []byte) bool { return bytes.Equal(p, got) })
				if won < 0 || errs[won] != nil {
					t.Fatalf("%s\nwinner %d; puts: %v", tc.reason, won, errs)
				}
				if lost := errs[1-won]; !tc.same && !tc.replace && !errors.Is(lost, depot.ErrTaken) || (tc.same || tc.replace) && lost != nil {
					t.Fatalf("%s\nthe other put: %v", tc.reason, lost)
				}
			}
		})
	}
}

// A reader may be in the middle of a package that is replaced.
func TestGetWhileReplaced(t *testing.T) {
	t.Parallel()
	c, old, fresh := newCluster(), content(1, 2000*kib), content(2, 2000*kib)
	mustPut(t, c.maps(), "basic_1.0", old, false, true)
	reads := 0
	c.before = func(verb, _ string) error {
		if verb != "get" {
			return nil
		}
		if reads++; reads != 3 { // the index, one chunk, and then
			return nil
		}
		c.before = nil
		_, err := depot.Put(t.Context(), c.maps(), "basic_1.0", fresh, true)
		return err
	}
	mustGet(t, c.maps(), "basic_1.0", fresh)
}

func TestGetRefuses(t *testing.T) {
	t.Parallel()
	edit := func(t *testing.T, c *cluster, part string, change func(*corev1.ConfigMap)) {
		for _, name := range c.names(t) {
			if !strings.Contains(name, part) {
				continue
			}
			m, err := c.maps().Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			change(m)
			if err := c.Tracker().Update(corev1.SchemeGroupVersion.WithResource("configmaps"), m, "fabric"); err != nil {
				t.Fatal(err)
			}
		}
	}
	cases := map[string]struct {
		reason  string
		arrange func(*testing.T, *cluster)
		kind    error
		again   bool
		hint    string
	}{
		"Absent": {"The flow was submitted without a push.", func(t *testing.T, c *cluster) {
			for _, n := range c.names(t) {
				_ = c.maps().Delete(t.Context(), n, metav1.DeleteOptions{})
			}
		}, depot.ErrAbsent, false, "pivt chaincode push"},
		"ChunkGone": {"Somebody cleaned up by hand.", func(t *testing.T, c *cluster) {
			_ = c.maps().Delete(t.Context(), chunks(c.names(t))[0], metav1.DeleteOptions{})
		}, depot.ErrAbsent, false, "pivt chaincode push"},
		"OtherContent": {"Whoever may write ConfigMaps must not thereby get code into peers.", func(t *testing.T, c *cluster) {
			edit(t, c, "--00", func(m *corev1.ConfigMap) { m.BinaryData["data"][7] ^= 1 })
		}, depot.ErrSpoiled, false, "pivt chaincode push"},
		"Empty": {"Nor less of it.", func(t *testing.T, c *cluster) {
			edit(t, c, "--01", func(m *corev1.ConfigMap) { m.BinaryData = nil })
		}, depot.ErrSpoiled, false, "pivt chaincode push"},
		"EndlessIndex": {"An index must not make us read for ever.", func(t *testing.T, c *cluster) {
			edit(t, c, "basic", func(m *corev1.ConfigMap) { m.Data["chunks"] = "2000000000" })
		}, depot.ErrSpoiled, false, "pivt chaincode push"},
		"NoIndex": {"Nor crash.", func(t *testing.T, c *cluster) {
			edit(t, c, "basic", func(m *corev1.ConfigMap) { m.Data = nil })
		}, depot.ErrSpoiled, false, "pivt chaincode push"},
		"ShortHash": {"Names are cut from it.", func(t *testing.T, c *cluster) {
			edit(t, c, "basic", func(m *corev1.ConfigMap) { m.Data["sha256"] = "ab" })
		}, depot.ErrSpoiled, false, "pivt chaincode push"},
		"OtherLabel": {"An index says whose it is.", func(t *testing.T, c *cluster) {
			edit(t, c, "basic", func(m *corev1.ConfigMap) { m.Data["label"] = "other_1.0" })
		}, depot.ErrSpoiled, false, "pivt chaincode push"},
		"Forbidden": {"The chart of an older version gives no right to read.", func(_ *testing.T, c *cluster) {
			c.before = func(_, name string) error {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, name, errors.New("no"))
			}
		}, depot.ErrDenied, false, "pivt install"},
		"Overloaded": {"The API server asks for patience.", func(_ *testing.T, c *cluster) {
			c.before = func(string, string) error { return apierrors.NewTooManyRequests("wait", 1) }
		}, nil, true, ""},
		"Down": {"The API server is not there at all.", func(_ *testing.T, c *cluster) {
			c.before = func(string, string) error { return errors.New("dial tcp: connection refused") }
		}, nil, true, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, pkg := newCluster(), content(1, 2000*kib)
			mustPut(t, c.maps(), "basic_1.0", pkg, false, true)
			tc.arrange(t, c)
			_, err := depot.Get(t.Context(), c.maps(), "basic_1.0")
			if err == nil || tc.kind != nil && !errors.Is(err, tc.kind) || exit.IsTransient(err) != tc.again || !strings.Contains(exit.HintOf(err), tc.hint) {
				t.Errorf("%s\nGet: %v (transient %t, hint %q), want %v (transient %t)", tc.reason, err, exit.IsTransient(err), exit.HintOf(err), tc.kind, tc.again)
			}
			c.before = nil
			mustPut(t, c.maps(), "basic_1.0", pkg, false, tc.hint == "pivt chaincode push")
			mustGet(t, c.maps(), "basic_1.0", pkg)
		})
	}
}

func chunks(names []string) []string {
	return slices.DeleteFunc(names, func(n string) bool { return strings.Contains(n, "basic") })
}

func TestPutRefusesTooLarge(t *testing.T) {
	t.Parallel()
	_, err := depot.Put(t.Context(), newCluster().maps(), "basic_1.0", make([]byte, depot.MaxBytes+1<<19), false)
	const want = `package "basic_1.0" has 16.5 MiB; ConfigMaps are used up to 16 MiB`
	if !errors.Is(err, depot.ErrTooLarge) || err.Error() != want || !strings.Contains(exit.HintOf(err), "oci://") {
		t.Errorf("Put = %v (hint %q)\nwant  %s and a hint at oci://", err, exit.HintOf(err), want)
	}
}

func TestInterruptedCall(t *testing.T) {
	t.Parallel()
	c := newCluster()
	ctx, cancel := context.WithCancel(t.Context())
	c.before = func(string, string) error { cancel(); return ctx.Err() }
	for what, call := range map[string]func() error{
		"Get": func() error { _, err := depot.Get(ctx, c.maps(), "basic_1.0"); return err },
		"Put": func() error { _, err := depot.Put(ctx, c.maps(), "basic_1.0", []byte("x"), false); return err },
	} {
		if err := call(); exit.CodeOf(err) != exit.Interrupted {
			t.Errorf("%s: %v; whoever pressed Ctrl-C does not want another try", what, err)
		}
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	c, pkg := newCluster(), content(1, 10*kib)
	if _, err := depot.Hash(t.Context(), c.maps(), "basic_1.0"); !errors.Is(err, depot.ErrAbsent) {
		t.Errorf("Hash of nothing: %v", err)
	}
	mustPut(t, c.maps(), "basic_1.0", pkg, false, true)
	if got, err := depot.Hash(t.Context(), c.maps(), "basic_1.0"); err != nil || got != hash(pkg) {
		t.Errorf("Hash = %s, %v, want %s", got, err, hash(pkg))
	}
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
