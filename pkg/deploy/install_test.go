package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/deploy/deploytest"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// story is a Reporter that remembers how each step ended.
type story struct {
	mu    sync.Mutex
	began []string
	ended map[string][]string
	heard func(title, note string)
}

func (s *story) Start(title string) deploy.Step {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.began = append(s.began, title)
	if s.ended == nil {
		s.ended = map[string][]string{}
	}
	return &chapter{s, title}
}

// check fails the test if a step was begun and not ended once.
func (s *story) check(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, title := range s.began {
		if len(s.ended[title]) != 1 {
			t.Errorf("step %q has the ends %q, want exactly one", title, s.ended[title])
		}
	}
}

// words are the ends in the order of the beginnings, without notes.
func (s *story) words() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, title := range s.began {
		word, _, _ := strings.Cut(strings.Join(s.ended[title], "+"), ":")
		all = append(all, title+" "+word)
	}
	return all
}

type chapter struct {
	s     *story
	title string
}

func (c *chapter) end(word, note string) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.ended[c.title] = append(c.s.ended[c.title], word+": "+note)
}

func (c *chapter) Update(note string) {
	if c.s.heard != nil {
		c.s.heard(c.title, note)
	}
}
func (c *chapter) Done(note string)     { c.end("done", note) }
func (c *chapter) Progress(note string) { c.Update(note) }
func (c *chapter) Skip(why string)      { c.end("skipped", why) }
func (c *chapter) Warn(note string)     { c.end("warned", note) }
func (c *chapter) Fail(err error)       { c.end("failed", err.Error()) }

const namespace = "fabric"

// bringUp is one network on its way to one cluster, over several runs.
type bringUp struct {
	*testing.T
	cluster *deploytest.Cluster
	crypto  string
	source  fstest.MapFS // of every chaincode from source
}

func newBringUp(t *testing.T) *bringUp {
	t.Helper()
	source := fstest.MapFS{"go.mod": {Data: []byte("module cc\n")}, "main.go": {Data: []byte("package main\n\nfunc main() {}\n")}}
	return &bringUp{t, deploytest.New(t), filepath.Join(t.TempDir(), "crypto-config"), source}
}

func (b *bringUp) deployment(s *story, more ...string) *deploy.Deployment {
	b.Helper()
	n, values := loaded(b.T, more...)
	return &deploy.Deployment{Kube: b.cluster.Client(namespace), Network: n, Values: values, CryptoDir: b.crypto, Now: now, Report: s,
		Packages: &deploy.Packages{Open: func(*network.Chaincode) (fs.FS, error) { return b.source, nil }}}
}

// install runs once; a run that hangs is a failure.
func (b *bringUp) install(ctx context.Context, more ...string) ([]string, *story, error) {
	b.Helper()
	s := &story{}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	changes, err := b.deployment(s, more...).Install(ctx)
	s.check(b.T)
	return lines(changes), s, err
}

func (b *bringUp) mustInstall(more ...string) []string {
	b.Helper()
	changes, _, err := b.install(b.Context(), more...)
	if err != nil {
		b.Fatal(err)
	}
	return changes
}

func lines(changes []deploy.Change) []string {
	var all []string
	for _, c := range changes {
		all = append(all, c.Object+" "+c.Verb)
	}
	return all
}

// without leaves out lines that begin with any of the prefixes.
func without(all []string, prefixes ...string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(l string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(l, p) })
	})
}

func diff(t *testing.T, reason string, want, got []string) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s: -want, +got:\n%s", reason, d)
	}
}

var unchanged = []string{
	"release/hlf-kube unchanged", "channel/common unchanged", "channel/private.karga unchanged",
	"chaincode/basic unchanged", "chaincode/secured unchanged",
}

func TestInstallFromNothing(t *testing.T) {
	t.Parallel()
	b := newBringUp(t)
	changes, s, err := b.install(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "a first install names everything that it made", []string{
		"namespace/fabric created",
		"crypto/alpha.example.com created", "crypto/beta.example.com created",
		"crypto/karga.example.com created", "crypto/nevergreen.example.com created",
		"configmap/hlf-msp created", "release/hlf-kube created",
		"channel/common configured", "channel/private.karga configured",
		"chaincode/basic configured", "chaincode/secured configured",
	}, without(changes, "secret/"))
	if n := len(changes) - len(without(changes, "secret/")); n != 18 {
		t.Errorf("%d Secrets were created, want 18", n)
	}
	for _, step := range s.words() {
		if !strings.HasSuffix(step, " done") {
			t.Errorf("step ended as %q, and everything was to be done", step)
		}
	}

	again, s, err := b.install(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "a repeat finds nothing to do", unchanged, again)
	for _, step := range without(s.words(), "nodes") {
		if !strings.HasSuffix(step, " skipped") {
			t.Errorf("step of the repeat ended as %q", step)
		}
	}
}

// TestInstallNewOrg adds an organisation to a network that runs.
func TestInstallNewOrg(t *testing.T) {
	t.Parallel()
	b := newBringUp(t)
	b.mustInstall()
	got := b.mustInstall(join("PeerOrgs:",
		"  - {Name: Karga, Domain: karga.example.com, EnableNodeOUs: true, Template: {Count: 3}}",
		"  - {Name: Nevergreen, Domain: nevergreen.example.com, Template: {Count: 1}}",
		"  - {Name: Atlantis, Domain: atlantis.example.com, EnableNodeOUs: true, Template: {Count: 1}}"))
	diff(t, "only what is new is made", []string{
		"crypto/karga.example.com configured", "crypto/atlantis.example.com created",
		"secret/hlf-peer--atlantis--admin-msp created", "secret/hlf-peer--atlantis--client-msp created",
		"secret/hlf-peer--atlantis--peer0-msp created", "secret/hlf-peer--atlantis--peer0-tls created",
		"secret/hlf-peer--karga--peer2-msp created", "secret/hlf-peer--karga--peer2-tls created",
		"configmap/hlf-msp configured", "release/hlf-kube configured",
		"channel/common unchanged", "channel/private.karga unchanged", "chaincode/basic unchanged", "chaincode/secured unchanged",
	}, got)
}

// TestInstallMends brings back what somebody deleted.
func TestInstallMends(t *testing.T) {
	t.Parallel()
	b := newBringUp(t)
	b.mustInstall()
	b.cluster.Delete("secrets", namespace, "hlf-peer--karga--peer1-tls")
	b.cluster.Delete("statefulsets", namespace, "hlf-peer--karga--peer1")
	b.cluster.Undo("join-common-karga")
	diff(t, "the missing Secret, node and member are put back", []string{
		"secret/hlf-peer--karga--peer1-tls created", "release/hlf-kube configured",
		"channel/common configured", "channel/private.karga unchanged", "chaincode/basic unchanged", "chaincode/secured unchanged",
	}, b.mustInstall())
	if !slices.Contains(b.cluster.Names("statefulsets", namespace), "hlf-peer--karga--peer1") {
		t.Error("the deleted StatefulSet is still gone")
	}
}

// TestInstallFails lets every phase fail once: the story must end, the changes be those that were
// made, the error be one a person can act upon, and the next run pick the work up.
func TestInstallFails(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason   string
		arrange  func(*testing.T, *bringUp)
		repair   func(*testing.T, *bringUp)
		code     exit.Code
		message  string // part of the error
		hint     string // part of the hint
		failed   string // the step that is told as failed
		made     []string
		lastStep string // nothing may be begun after it
	}{
		"NamespaceDenied": {
			reason:  "Many users may not make namespaces; nothing at all must have happened, keys included.",
			arrange: func(_ *testing.T, b *bringUp) { b.cluster.Refuse("create", "namespaces", "") },
			code:    exit.Failed, message: "creating namespace fabric", hint: "pivt check",
			failed: "namespace fabric", lastStep: "namespace fabric",
		},
		"NoArgo": {
			reason:  "A cluster without Argo is told so before anything is made.",
			arrange: func(_ *testing.T, b *bringUp) { b.cluster.WithoutArgo() },
			repair:  func(t *testing.T, b *bringUp) { b.cluster = deploytest.New(t) },
			code:    exit.NotReady, message: "no Argo Workflows", hint: "install its controller",
			failed: "namespace fabric", lastStep: "namespace fabric",
		},
		"KeysUnwritable": {
			reason: "A file where the directory of keys should be is the user's to remove.",
			arrange: func(t *testing.T, b *bringUp) {
				if err := os.WriteFile(b.crypto, []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
			},
			repair: func(t *testing.T, b *bringUp) {
				if err := os.Remove(b.crypto); err != nil {
					t.Fatal(err)
				}
			},
			code: exit.Failed, message: "crypto-config", failed: "keys and certificates", lastStep: "keys and certificates",
			made: []string{"namespace/fabric created"},
		},
		"SecretsDenied": {
			reason:  "Without Secrets no pod would start, so no release is made.",
			arrange: func(_ *testing.T, b *bringUp) { b.cluster.Refuse("patch", "secrets", "") },
			code:    exit.Failed, message: "applying secret/hlf-", hint: "pivt check",
			failed: "secrets", lastStep: "secrets",
			made: []string{"namespace/fabric created", "crypto/alpha.example.com created", "crypto/beta.example.com created",
				"crypto/karga.example.com created", "crypto/nevergreen.example.com created"},
		},
		"ReleaseDenied": {
			reason:  "A release that is refused half-way must not block the next.",
			arrange: func(_ *testing.T, b *bringUp) { b.cluster.Refuse("create", "networkpolicies", "") },
			code:    exit.Failed, message: "applying release hlf-kube", hint: "pivt check",
			failed: "release hlf-kube", lastStep: "release hlf-kube",
			made: []string{"namespace/fabric created", "crypto/alpha.example.com created", "crypto/beta.example.com created",
				"crypto/karga.example.com created", "crypto/nevergreen.example.com created", "configmap/hlf-msp created"},
		},
		"ChannelFails": {
			reason: "A step's own words reach the terminal, and what the other channel got is told.",
			arrange: func(_ *testing.T, b *bringUp) {
				b.cluster.FailTask("join-private-karga-karga", deploytest.TaskFailure{ExitCode: 1, Message: "peer0.karga.example.com: disk full\nHint: make room"})
			},
			code: exit.Failed, message: "peer0.karga.example.com: disk full", hint: "make room",
			failed: "channels common, private.karga",
			made: []string{"namespace/fabric created", "crypto/alpha.example.com created", "crypto/beta.example.com created",
				"crypto/karga.example.com created", "crypto/nevergreen.example.com created", "configmap/hlf-msp created", "release/hlf-kube created",
				"channel/common configured", "channel/private.karga configured"},
		},
		"FlowDenied": {
			reason:  "The nodes stay, and the right that lacks is named.",
			arrange: func(_ *testing.T, b *bringUp) { b.cluster.Refuse("create", "workflows", "") },
			code:    exit.Failed, message: "submitting workflow", hint: "pivt check",
			made: []string{"namespace/fabric created", "crypto/alpha.example.com created", "crypto/beta.example.com created",
				"crypto/karga.example.com created", "crypto/nevergreen.example.com created", "configmap/hlf-msp created", "release/hlf-kube created"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBringUp(t)
			tc.arrange(t, b)
			changes, s, err := b.install(t.Context())
			if exit.CodeOf(err) != tc.code || err == nil || !strings.Contains(err.Error(), tc.message) || !strings.Contains(exit.HintOf(err), tc.hint) {
				t.Errorf("%s\nexit %d, error %v, hint %q; want exit %d, %q and %q", tc.reason, exit.CodeOf(err), err, exit.HintOf(err), tc.code, tc.message, tc.hint)
			}
			// Of two flows that run at once, the other may have come to its end or not.
			diff(t, tc.reason, tc.made, without(changes, "secret/", "chaincode/"))
			if tc.failed != "" && !slices.Contains(s.words(), tc.failed+" failed") {
				t.Errorf("%s\nno failed step %q in %q", tc.reason, tc.failed, s.words())
			}
			if failed := len(s.words()) - len(slices.DeleteFunc(s.words(), func(w string) bool { return strings.HasSuffix(w, " failed") })); failed != 1 && tc.failed != "" {
				t.Errorf("%s\n%d steps failed in %q; what was only given up is not a failure", tc.reason, failed, s.words())
			}
			if last := s.began[len(s.began)-1]; tc.lastStep != "" && last != tc.lastStep {
				t.Errorf("%s\nstep %q was begun after it", tc.reason, last)
			}

			b.cluster.Allow()
			if tc.repair != nil {
				tc.repair(t, b)
			}
			b.mustInstall()
			diff(t, "after the repair one run completes everything, and the next has nothing to do", unchanged, b.mustInstall())
		})
	}
}

func TestInstallInterrupted(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		hold   func(*deploytest.Cluster)
		until  func(title, note string) bool
	}{
		"InWorkflow": {
			reason: "The workflow goes on without us.",
			hold:   (*deploytest.Cluster).HoldTasks,
			until: func(title, note string) bool {
				return strings.HasPrefix(title, "channels") && strings.Contains(note, "running")
			},
		},
		"WhileNodesStart": {
			reason: "Pods that stay pending are no reason to lose what was made.",
			hold:   func(c *deploytest.Cluster) { c.HoldTasks(); c.HoldPods() },
			until:  func(title, note string) bool { return title == "nodes" && strings.HasPrefix(note, "0 of 6") },
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBringUp(t)
			tc.hold(b.cluster)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := &story{heard: func(title, note string) {
				if tc.until(title, note) {
					cancel()
				}
			}}
			changes, err := b.deployment(s).Install(ctx)
			s.check(t)
			if exit.CodeOf(err) != exit.Interrupted || !errors.Is(err, context.Canceled) {
				t.Errorf("%s\nexit %d, error %v; want 130", tc.reason, exit.CodeOf(err), err)
			}
			got := lines(changes)
			if !slices.Contains(got, "release/hlf-kube created") || len(without(got, "channel/", "chaincode/")) != len(got) {
				t.Errorf("%s\nchanges %q: want the release, and no word about flows whose end nobody has seen", tc.reason, got)
			}
			if name == "InWorkflow" && len(b.cluster.Names("workflows", namespace)) == 0 {
				t.Error("the workflow was taken away")
			}
		})
	}
}

// overdue is a context whose deadline is when the test says so.
type overdue struct {
	context.Context
	once sync.Once
	done chan struct{}
}

func (o *overdue) Done() <-chan struct{} { return o.done }

func (o *overdue) Err() error {
	select {
	case <-o.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func TestInstallTimesOut(t *testing.T) {
	t.Parallel()
	b := newBringUp(t)
	b.cluster.HoldPods()
	ctx := &overdue{Context: context.Background(), done: make(chan struct{})}
	s := &story{heard: func(title, _ string) {
		if title == "nodes" { // however long it took to get here
			ctx.once.Do(func() { close(ctx.done) })
		}
	}}
	_, err := b.deployment(s).Install(ctx)
	s.check(t)
	if exit.CodeOf(err) != exit.TimedOut {
		t.Errorf("exit %d, error %v; want 4", exit.CodeOf(err), err)
	}
	if !slices.Contains(s.words(), "nodes failed") {
		t.Errorf("the nodes were not told as what is missing: %q", s.words())
	}
	if !strings.Contains(err.Error(), "of 6") {
		t.Errorf("%v: does not say how many nodes are missing", err)
	}
}

// TestInstallGoesOnWithWorkflow repeats an install whose workflows are still running.
func TestInstallGoesOnWithWorkflow(t *testing.T) {
	t.Parallel()
	b := newBringUp(t)
	b.cluster.HoldTasks()
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		running := map[string]bool{}
		s := &story{heard: func(title, note string) {
			mu.Lock()
			defer mu.Unlock()
			if strings.Contains(note, "running") {
				if running[title] = true; len(running) == 2 {
					cancel()
				}
			}
		}}
		if _, err := b.deployment(s).Install(ctx); exit.CodeOf(err) != exit.Interrupted {
			t.Fatalf("the run was to be interrupted, and ended with %v", err)
		}
		cancel()
	}
	if got := b.cluster.Names("workflows", namespace); len(got) != 2 {
		t.Errorf("two runs left the workflows %q; the second was to follow those of the first", got)
	}
}

func ExampleChanged() {
	fmt.Println(deploy.Changed([]deploy.Change{{Object: "channel/common", Verb: deploy.Unchanged}}))
	fmt.Println(deploy.Changed([]deploy.Change{{Object: "channel/common", Verb: deploy.Configured}}))
	// Output:
	// false
	// true
}

// TestInstallTellsWhyChaincodeIsAway has a step that waited in vain for a chaincode whose image
// cannot be pulled.
func TestInstallTellsWhyChaincodeIsAway(t *testing.T) {
	t.Parallel()
	b := newBringUp(t)
	b.mustInstall()
	b.cluster.Undo("smoke-basic")
	b.cluster.FailTask("smoke-basic", deploytest.TaskFailure{ExitCode: 75, Message: "no answer in time"})
	b.cluster.Put("pods", namespace, map[string]any{"phase": "Pending", "containerStatuses": []any{map[string]any{
		"name": "chaincode", "state": map[string]any{"waiting": map[string]any{"reason": "ImagePullBackOff", "message": "no such image"}}}}},
		map[string]any{"name": "basic-x", "labels": map[string]any{"app.kubernetes.io/component": "chaincode", "pivt.io/node": "hlf-peer--karga--peer0"}})
	_, _, err := b.install(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no answer in time; pod/basic-x of hlf-peer--karga--peer0: ") || !strings.Contains(err.Error(), "no such image") {
		t.Errorf("%v: does not say why there was no answer", err)
	}
}
