//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// startup is when the peer of faultValues gives up a chaincode that does not connect, without knowing why.
const startup = 20 * time.Second

// faultValues make chaincodes of one image go wrong in different ways, through the templates that
// operators have for single chaincodes.
const faultValues = `
peer:
  extraEnv: [{name: CORE_CHAINCODE_STARTUPTIMEOUT, value: 20s}]
launcher:
  chaincodes:
    exits: {spec: {containers: [{name: chaincode, env: [{name: FAULT, value: exit}]}]}}
    silent: {spec: {containers: [{name: chaincode, env: [{name: FAULT, value: silent}]}]}}
    good: {spec: {containers: [{name: chaincode, resources: {limits: {memory: 64Mi}}}]}}
`

// TestChaincodeFaults lets chaincodes go wrong under a real peer. The cases share a network
// and come one after the other, each leaving a working chaincode behind.
func TestChaincodeFaults(t *testing.T) {
	t.Parallel()
	l := newLab(t, "e2e-cc-faults", 1, faultValues)
	zero := int64(0)
	ctx := context.Background()
	pods := l.core.CoreV1().Pods(l.ns)
	cases := []struct {
		name string
		run  func(t *testing.T, l *lab)
	}{
		{"Deleted", func(t *testing.T, l *lab) {
			l.lose("good")
		}},
		{"Evicted", func(t *testing.T, l *lab) {
			old := l.pod("good")
			l.must(pods.EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: old.Name, Namespace: l.ns}}))
			l.awaitPodGone(old.Name)
			l.mustCall(time.Minute, "good", "Get", "a")
		}},
		{"OutOfMemory", func(t *testing.T, l *lab) {
			if _, _, err := l.call(30*time.Second, "good", "Eat"); err == nil {
				t.Error("a chaincode that was killed has answered")
			}
			l.awaitLog("OOMKilled") // before the next launch, which would delete a pod whose end nobody has told yet
			l.mustCall(time.Minute, "good", "Get", "a")
		}},
		{"ExitsAtOnce", func(t *testing.T, l *lab) {
			l.define("exits", l.image)
			_, took, err := l.call(time.Minute, "exits", "Get", "a")
			if err == nil || took > startup {
				t.Errorf("a chaincode that cannot start: %v after %s, want an error soon", err, took)
			}
			l.awaitLog("exited with status 3: faulty: nothing to do here")
			l.awaitGone("pivt.io/chaincode=exits_1.0")
		}},
		{"NeverConnects", func(t *testing.T, l *lab) {
			l.define("silent", l.image)
			for range 2 { // the peer gives up without a word to the launcher; the next launch cleans up
				if _, _, err := l.call(40*time.Second, "silent", "Get", "a"); err == nil {
					t.Error("a chaincode that never connects has answered")
				}
			}
			if n := len(l.pods("pivt.io/chaincode=silent_1.0")); n > 1 {
				t.Errorf("%d pods of a chaincode that never connects, want one", n)
			}
			l.killAll("run") // nobody will ever stop its pod now, but for the next launch of any chaincode
			l.lose("good")
			l.awaitGone("pivt.io/chaincode=silent_1.0")
		}},
		{"ImageMissing", func(t *testing.T, l *lab) {
			l.define("nowhere", "registry.invalid/nowhere@sha256:"+strings.Repeat("1", 64))
			_, took, err := l.call(2*time.Minute, "nowhere", "Get", "a")
			if err == nil || took > time.Minute {
				t.Errorf("a chaincode without an image: %v after %s, want an error", err, took)
			}
			l.awaitLog("its image cannot be pulled")
			l.awaitGone("pivt.io/chaincode=nowhere_1.0")
		}},
		{"QuotaZero", func(t *testing.T, l *lab) {
			quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "none"},
				Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}}}
			l.mustCall(time.Minute, "good", "Get", "a")
			_, err := l.core.CoreV1().ResourceQuotas(l.ns).Create(ctx, quota, metav1.CreateOptions{})
			l.must(err)
			lift := func() { _ = l.core.CoreV1().ResourceQuotas(l.ns).Delete(ctx, "none", metav1.DeleteOptions{}) }
			t.Cleanup(lift)
			l.eventually("the quota to bind", func() (bool, error) { // which the controller writes it down for
				q, err := l.core.CoreV1().ResourceQuotas(l.ns).Get(ctx, "none", metav1.GetOptions{})
				return err == nil && len(q.Status.Hard) > 0, err
			})
			l.must(pods.Delete(ctx, l.pod("good").Name, metav1.DeleteOptions{GracePeriodSeconds: &zero}))
			_, took, err := l.refused("good")
			if took > startup {
				t.Errorf("quota was told after %s: %v", took, err)
			}
			l.awaitLog("exceeded quota: none")
			lift()
			l.mustCall(time.Minute, "good", "Get", "a")
		}},
		{"LongLineAndMuchLog", func(t *testing.T, l *lab) {
			for _, c := range [][]string{{"Line", "1048576"}, {"Spam", "100000000"}} {
				l.mustCall(time.Minute, "good", c[0], c[1])
			}
			l.mustCall(time.Minute, "good", "Get", "a")
			for line := range strings.Lines(l.peerLog(labPeer + "-0")) {
				if len(line) > 60<<10 {
					t.Fatalf("a line of %d bytes reached the peer; its scanner ends at 65,536", len(line))
				}
			}
			for _, p := range l.processes("run") {
				if m := p.peakMemory(); m > 64<<20 {
					t.Errorf("launcher %d has used %d MB", p.pid, m>>20)
				}
			}
		}},
		{"FiftyCrashes", func(t *testing.T, l *lab) {
			before := l.leftovers()
			for range 50 {
				if _, _, err := l.call(time.Minute, "good", "Exit"); err == nil {
					t.Fatal("a chaincode that ended has answered")
				}
				l.mustCall(time.Minute, "good", "Get", "a")
			}
			var after leftovers
			l.eventually("as many objects, processes and files as before", func() (bool, error) {
				after = l.leftovers()
				return after == before, nil
			})
			t.Logf("before and after: %+v", after)
		}},
		{"PeerStopped", func(t *testing.T, l *lab) {
			l.mustCall(time.Minute, "good", "Get", "a")
			l.pod("good")
			its := chaincodes + ",pivt.io/node=" + labPeer
			began := time.Now()
			old, err := pods.Get(ctx, labPeer+"-0", metav1.GetOptions{})
			l.must(err)
			l.must(pods.Delete(ctx, old.Name, metav1.DeleteOptions{}))
			// The launchers delete them; the garbage collector would only after the peer's pod has gone.
			l.spin("its chaincodes to be deleted", func() bool {
				for _, p := range l.pods(its) {
					if p.DeletionTimestamp == nil {
						return false
					}
				}
				return true
			})
			if p, err := pods.Get(ctx, old.Name, metav1.GetOptions{}); err != nil || p.UID != old.UID {
				t.Errorf("the chaincodes were deleted when the peer's pod had gone: %v", err)
			}
			l.awaitGone(its)
			t.Logf("chaincodes gone %.1f s after the peer was asked to stop", time.Since(began).Seconds())
			l.awaitPeer(string(old.UID))
			l.mustCall(time.Minute, "good", "Get", "a")
		}},
		{"PeerKilled", func(t *testing.T, l *lab) {
			l.mustCall(time.Minute, "good", "Get", "a")
			l.pod("good")
			if l.killAll("peer") == 0 {
				t.Fatal("no peer to kill")
			}
			l.mustCall(time.Minute, "good", "Get", "a")
			l.pod("good") // one, and not the killed peer's
		}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) { tc.run(t, l.in(t)) })
	}
}

// refused calls until the chaincode cannot be launched: the peer may not have seen the loss of
// the old one yet.
func (l *lab) refused(cc string) (string, time.Duration, error) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var answer string
	var took time.Duration
	var last error
	l.until(ctx, "a launch of "+cc+" that is refused", func() (bool, error) {
		answer, took, last = l.call(40*time.Second, cc, "Get", "a")
		return last != nil && strings.Contains(last.Error(), "launch"), last
	})
	return answer, took, last
}

// lose deletes the pod of a chaincode and calls until another one answers. The object goes at once
// and the process later: until then it is that which answers.
func (l *lab) lose(cc string) {
	l.t.Helper()
	old := l.pod(cc)
	zero := int64(0)
	l.must(l.core.CoreV1().Pods(l.ns).Delete(context.Background(), old.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero}))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	l.until(ctx, "a call that launches another pod of "+cc, func() (bool, error) {
		_, _, err := l.call(30*time.Second, cc, "Get", "a")
		for _, p := range l.pods(chaincodes + ",pivt.io/chaincode=" + cc + "_1.0") {
			if p.UID != old.UID && p.Status.Phase == corev1.PodRunning {
				return err == nil, err
			}
		}
		return false, err
	})
}

func (l *lab) awaitPodGone(name string) {
	l.t.Helper()
	l.eventually("pod "+name+" to be gone", func() (bool, error) {
		_, there := l.pods("")[name]
		return !there, nil
	})
}

// awaitPeer waits for the peer's next pod to be ready.
func (l *lab) awaitPeer(oldUID string) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	l.until(ctx, "the peer to be back", func() (bool, error) {
		p, there := l.pods("")[labPeer+"-0"]
		return there && string(p.UID) != oldUID && len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].Ready, nil
	})
}

// leftovers counts what launches could leave behind.
type leftovers struct{ pods, secrets, runs, files int }

func (l *lab) leftovers() leftovers {
	l.t.Helper()
	secrets, err := l.core.CoreV1().Secrets(l.ns).List(context.Background(), metav1.ListOptions{LabelSelector: chaincodes})
	l.must(err)
	out := leftovers{pods: len(l.pods(chaincodes)), secrets: len(secrets.Items), runs: len(l.processes("run"))}
	for _, p := range l.processes("peer") { // its TMPDIR
		files, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(p.pid), "root", "tmp"))
		l.must(err)
		out.files += len(files)
	}
	return out
}

// TestLauncherKilled kills the launcher without warning at each of its steps; the next call or
// install must work, and leave one pod.
func TestLauncherKilled(t *testing.T) {
	t.Parallel()
	l := newLab(t, "e2e-cc-killed", 1, "")
	ctx := context.Background()
	secrets := func(selector string) int {
		list, err := l.core.CoreV1().Secrets(l.ns).List(ctx, metav1.ListOptions{LabelSelector: selector})
		l.must(err)
		return len(list.Items)
	}
	running := func(selector string) bool {
		for _, p := range l.pods(selector) {
			if p.Status.Phase == corev1.PodRunning {
				return true
			}
		}
		return false
	}
	for name, reached := range map[string]func() bool{
		"Started":    func() bool { return len(l.processes("run")) > 0 },
		"PodMade":    func() bool { return len(l.pods(chaincodes)) > 0 },
		"SecretMade": func() bool { return secrets(chaincodes) > 0 },
		"PodRuns":    func() bool { return running(chaincodes) },
	} {
		t.Run("Run"+name, func(t *testing.T) {
			l := l.in(t)
			l.restartChaincode()
			var first sync.WaitGroup // which may launch again as long as it lasts
			first.Go(func() { _, _, _ = l.call(30*time.Second, "good", "Get", "a") })
			l.spin(name, reached)
			l.killAll("run")
			l.mustCall(time.Minute, "good", "Get", "a")
			first.Wait()
			l.pod("good")
			l.eventually("one Secret of chaincodes", func() (bool, error) { // that of the killed launch goes with its pod
				n := secrets(chaincodes)
				return n == 1, fmt.Errorf("%d", n)
			})
		})
	}
	build := map[string]func() bool{
		"Started": func() bool { return len(l.processes("build")) > 0 },
		"PodMade": func() bool { return len(l.pods(buildPods)) > 0 },
		"Building": func() bool {
			return l.building(func(s corev1.ContainerState) bool { return s.Running != nil })
		},
		"Returning": func() bool {
			return l.building(func(s corev1.ContainerState) bool { return s.Terminated != nil && s.Terminated.ExitCode == 0 })
		},
	}
	for name, reached := range build {
		t.Run("Build"+name, func(t *testing.T) {
			l := l.in(t)
			pkg := l.tinySource(strings.ToLower(name))
			failed := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
				defer cancel()
				_, err := l.admin.Install(ctx, pkg)
				failed <- err
			}()
			l.spin(name, reached)
			if l.killAll("build") > 0 {
				if err := <-failed; err == nil {
					t.Error("an install whose builder was killed has succeeded")
				}
			} else {
				<-failed
			}
			install, cancel := context.WithTimeout(ctx, 3*time.Minute)
			defer cancel()
			if _, err := l.admin.Install(install, pkg); err != nil && !strings.Contains(err.Error(), "already") {
				t.Errorf("installing again: %v", err)
			}
			l.awaitGone(buildPods)
		})
	}
}

// building reports whether the container of a pod that builds is in a state.
func (l *lab) building(in func(corev1.ContainerState) bool) bool {
	for _, p := range l.pods(buildPods) {
		for _, s := range p.Status.InitContainerStatuses {
			if s.Name == "build" && in(s.State) {
				return true
			}
		}
	}
	return false
}

// spin polls without pause: the moments it is after are short.
func (l *lab) spin(what string, reached func() bool) {
	l.t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for !reached() {
		if time.Now().After(deadline) {
			l.t.Fatalf("waiting for %s", what)
		}
	}
}

// stopRuns asks all launchers to stop, as the peer does, and waits until they have.
func (l *lab) stopRuns() {
	l.t.Helper()
	for _, p := range l.processes("run") {
		if err := syscall.Kill(p.pid, syscall.SIGTERM); err != nil && err != syscall.ESRCH {
			l.t.Fatal(err)
		}
	}
	l.eventually("launchers to end", func() (bool, error) { return len(l.processes("run")) == 0, nil })
}

// restartChaincode stops the chaincode and waits until everything of it is gone.
func (l *lab) restartChaincode() {
	l.t.Helper()
	l.stopRuns()
	l.awaitGone(chaincodes)
}
