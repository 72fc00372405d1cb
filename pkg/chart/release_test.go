package chart

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/kube"
	kubefake "helm.sh/helm/v3/pkg/kube/fake"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"
	helmtime "helm.sh/helm/v3/pkg/time"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest/fake"

	"pivt.io/pivt/pkg/network"
)

// newTestReleaser has Helm's own storage in memory and Helm's own fake of a cluster. waits
// counts the pauses; nothing sleeps.
func newTestReleaser(t *testing.T) (r *releaser, waits *int) {
	t.Helper()
	mem := driver.NewMemory()
	mem.SetNamespace("fabric")
	waits = new(int)
	return &releaser{
		cfg: &action.Configuration{
			Releases:     storage.Init(mem),
			KubeClient:   &kubefake.PrintingKubeClient{Out: io.Discard},
			Capabilities: chartutil.DefaultCapabilities,
			Log:          func(string, ...any) {},
		},
		namespace: "fabric",
		wait:      func(ctx context.Context, _ time.Duration) error { *waits++; return ctx.Err() },
	}, waits
}

func mustApply(t *testing.T, r *releaser, values map[string]any) Result {
	t.Helper()
	result, err := r.apply(t.Context(), values)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// statuses is the history as "revision status" lines.
func statuses(t *testing.T, r *releaser) []string {
	t.Helper()
	revisions, err := r.history()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, rev := range revisions {
		lines = append(lines, fmt.Sprintf("%d %s", rev.Number, rev.Status))
	}
	return lines
}

// leave puts the newest revision into a state as a killed program would.
func leave(t *testing.T, r *releaser, status release.Status, age time.Duration) {
	t.Helper()
	last, err := r.cfg.Releases.Last(network.Release)
	if err != nil {
		t.Fatal(err)
	}
	last.Info.Status = status
	last.Info.LastDeployed = helmtime.Time{Time: time.Now().Add(-age)}
	if err := r.cfg.Releases.Update(last); err != nil {
		t.Fatal(err)
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	type result struct {
		Result  Result
		History []string
		Waits   int
	}
	first := func(t *testing.T) map[string]any { return sampleNamed(t, "test-network").values(t) }
	changed := func(t *testing.T) map[string]any {
		return with(t, sampleNamed(t, "test-network"), "peer: {logLevel: debug}")
	}
	cases := map[string]struct {
		reason string
		before func(t *testing.T, r *releaser)
		values func(t *testing.T) map[string]any
		want   result
	}{
		"Install": {
			reason: "Where there is no release, one is made.",
			before: func(*testing.T, *releaser) {},
			values: first,
			want:   result{Result: Result{true, 1}, History: []string{"1 deployed"}},
		},
		"Unchanged": {
			reason: "A second install right after must not touch the cluster.",
			before: func(t *testing.T, r *releaser) { mustApply(t, r, first(t)) },
			values: first,
			want:   result{Result: Result{false, 1}, History: []string{"1 deployed"}},
		},
		"ValueChanged": {
			reason: "Another value is another revision, which helm rollback can take back.",
			before: func(t *testing.T, r *releaser) { mustApply(t, r, first(t)) },
			values: changed,
			want:   result{Result: Result{true, 2}, History: []string{"1 superseded", "2 deployed"}},
		},
		"OtherFilesSameManifest": {
			reason: "A channel changes no object of the chart, but the release must say what the files say.",
			before: func(t *testing.T, r *releaser) { mustApply(t, r, first(t)) },
			values: func(t *testing.T) map[string]any {
				return with(t, sampleNamed(t, "test-network"), "network: {channels: []}")
			},
			want: result{Result: Result{true, 2}, History: []string{"1 superseded", "2 deployed"}},
		},
		"OlderChart": {
			reason: "A newer pivt brings a newer chart, even if it renders the same today.",
			before: func(t *testing.T, r *releaser) {
				mustApply(t, r, first(t))
				last, err := r.cfg.Releases.Last(network.Release)
				if err != nil {
					t.Fatal(err)
				}
				last.Chart.Metadata.Version = "0.0.1"
				if err := r.cfg.Releases.Update(last); err != nil {
					t.Fatal(err)
				}
			},
			values: first,
			want:   result{Result: Result{true, 2}, History: []string{"1 superseded", "2 deployed"}},
		},
		"KilledInstall": {
			reason: "A run that died in the first install must not block the next one for ever.",
			before: func(t *testing.T, r *releaser) {
				mustApply(t, r, first(t))
				leave(t, r, release.StatusPendingInstall, time.Hour)
			},
			values: first,
			want:   result{Result: Result{true, 2}, History: []string{"1 superseded", "2 deployed"}},
		},
		"KilledUpgrade": {
			reason: "The same in an upgrade; what was deployed before is the base.",
			before: func(t *testing.T, r *releaser) {
				mustApply(t, r, first(t))
				mustApply(t, r, changed(t))
				leave(t, r, release.StatusPendingUpgrade, time.Hour)
				one, err := r.cfg.Releases.Get(network.Release, 1)
				if err != nil {
					t.Fatal(err)
				}
				one.Info.Status = release.StatusDeployed
				if err := r.cfg.Releases.Update(one); err != nil {
					t.Fatal(err)
				}
			},
			values: changed,
			want:   result{Result: Result{true, 3}, History: []string{"1 superseded", "2 failed", "3 deployed"}},
		},
		"JustPending": {
			reason: "Somebody may be at work: wait, but no longer than a live run needs.",
			before: func(t *testing.T, r *releaser) {
				mustApply(t, r, first(t))
				leave(t, r, release.StatusPendingInstall, 0)
			},
			values: first,
			want:   result{Result: Result{true, 2}, History: []string{"1 superseded", "2 deployed"}, Waits: int(staleAfter / time.Second)},
		},
		"PendingInTheFuture": {
			reason: "The other machine's clock may be wrong; ours bounds the wait.",
			before: func(t *testing.T, r *releaser) {
				mustApply(t, r, first(t))
				leave(t, r, release.StatusPendingInstall, -time.Hour)
			},
			values: first,
			want:   result{Result: Result{true, 2}, History: []string{"1 superseded", "2 deployed"}, Waits: int(staleAfter / time.Second)},
		},
		"Failed": {
			reason: "A failed release is repaired by an upgrade.",
			before: func(t *testing.T, r *releaser) {
				mustApply(t, r, first(t))
				leave(t, r, release.StatusFailed, 0)
			},
			values: first,
			want:   result{Result: Result{true, 2}, History: []string{"1 superseded", "2 deployed"}},
		},
		"KilledUninstall": {
			reason: "A half-done uninstall is completed before the network is made anew.",
			before: func(t *testing.T, r *releaser) {
				mustApply(t, r, first(t))
				mustApply(t, r, changed(t))
				leave(t, r, release.StatusUninstalling, 0)
			},
			values: first,
			want:   result{Result: Result{true, 1}, History: []string{"1 deployed"}},
		},
		"HistoryKept": {
			reason: "helm uninstall --keep-history leaves revisions; the next one follows them.",
			before: func(t *testing.T, r *releaser) {
				mustApply(t, r, first(t))
				un := action.NewUninstall(r.cfg)
				un.KeepHistory = true
				if _, err := un.Run(network.Release); err != nil {
					t.Fatal(err)
				}
			},
			values: first,
			want:   result{Result: Result{true, 2}, History: []string{"1 superseded", "2 deployed"}},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, waits := newTestReleaser(t)
			tc.before(t, r)
			got := result{Result: mustApply(t, r, tc.values(t)), History: statuses(t, r), Waits: *waits}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// deleted is a cluster where somebody deleted one Service by hand.
type deleted struct {
	kubefake.PrintingKubeClient
	t       *testing.T
	missing bool
}

func (c *deleted) Build(r io.Reader, validate bool) (kube.ResourceList, error) {
	code := http.StatusOK
	if c.missing {
		code = http.StatusNotFound
	}
	client := &fake.RESTClient{
		NegotiatedSerializer: scheme.Codecs.WithoutConversion(),
		Resp:                 &http.Response{StatusCode: code, Header: http.Header{"Content-Type": {runtime.ContentTypeJSON}}, Body: io.NopCloser(jsonOf(c.t, &corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}}))},
	}
	return kube.ResourceList{{
		Client:    client,
		Namespace: "fabric",
		Name:      "hlf-peer--org1--peer0",
		Mapping: &meta.RESTMapping{
			Resource:         schema.GroupVersionResource{Version: "v1", Resource: "services"},
			GroupVersionKind: schema.GroupVersionKind{Version: "v1", Kind: "Service"},
			Scope:            meta.RESTScopeNamespace,
		},
	}}, nil
}

func TestApplyRepairs(t *testing.T) {
	t.Parallel()
	for missing, want := range map[bool]bool{true: false, false: true} {
		r, _ := newTestReleaser(t)
		values := sampleNamed(t, "test-network").values(t)
		mustApply(t, r, values)
		last, err := r.last()
		if err != nil {
			t.Fatal(err)
		}
		r.cfg.KubeClient = &deleted{PrintingKubeClient: kubefake.PrintingKubeClient{Out: io.Discard}, t: t, missing: missing}
		c, err := load(Network)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.unchanged(last, c, values)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("an object is missing: %v; unchanged = %v, want %v: an install must bring back what was deleted by hand", missing, got, want)
		}
	}
}

func TestApplyRefusesBadValues(t *testing.T) {
	t.Parallel()
	r, _ := newTestReleaser(t)
	if _, err := r.apply(t.Context(), map[string]any{"peeer": true}); err == nil {
		t.Error("values with a typo were applied")
	}
	if got := statuses(t, r); got != nil {
		t.Errorf("a refused release left %v behind", got)
	}
}

func TestApplyCanBeInterrupted(t *testing.T) {
	t.Parallel()
	r, waits := newTestReleaser(t)
	values := sampleNamed(t, "test-network").values(t)
	mustApply(t, r, values)
	leave(t, r, release.StatusPendingInstall, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.apply(ctx, values); !errors.Is(err, context.Canceled) {
		t.Errorf("applying with a cancelled context: %v, want %v", err, context.Canceled)
	}
	if *waits > 1 {
		t.Errorf("waited %d times after it was cancelled", *waits)
	}
	if got := statuses(t, r); !slices.Equal(got, []string{"1 pending-install"}) {
		t.Errorf("whoever is at work was disturbed: %v", got)
	}
}

func TestUninstall(t *testing.T) {
	t.Parallel()
	r, _ := newTestReleaser(t)
	if gone, err := r.uninstall(t.Context()); err != nil || gone {
		t.Errorf("without a release: %v, %v; want false and no error", gone, err)
	}
	values := sampleNamed(t, "test-network").values(t)
	mustApply(t, r, values)
	if gone, err := r.uninstall(t.Context()); err != nil || !gone {
		t.Errorf("with a release: %v, %v; want true and no error", gone, err)
	}
	if got := statuses(t, r); got != nil {
		t.Errorf("history after uninstall: %v, want none", got)
	}
	if got := mustApply(t, r, values); got != (Result{true, 1}) {
		t.Errorf("installing again: %+v", got)
	}
}

// A release is a Secret of at most 1 MiB. PIVT's is full at 80 organisations with 3 peers.
func TestReleaseFitsItsSecret(t *testing.T) {
	t.Parallel()
	r, _ := newTestReleaser(t)
	values, err := network.Values(scaled(80, 3, 10, 10), nil)
	if err != nil {
		t.Fatal(err)
	}
	mustApply(t, r, values)
	last, err := r.last()
	if err != nil {
		t.Fatal(err)
	}
	const limit = 1 << 20
	if size := storedSize(t, last); size > limit/2 {
		t.Errorf("the release of 80 organisations takes %d bytes of %d", size, limit)
	}
}

func jsonOf(t *testing.T, v any) io.Reader {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(data)
}

// storedSize is what Helm's Secret driver would store: JSON, gzip, base64.
func storedSize(t *testing.T, rel *release.Release) int {
	t.Helper()
	data, err := json.Marshal(rel)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	if _, err := zip.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodedLen(out.Len())
}
