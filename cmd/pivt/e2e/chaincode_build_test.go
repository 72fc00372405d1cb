//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/check"
)

// installOnAll installs a package on all peers of the organisation at the same moment.
func (l *lab) installOnAll(pkg []byte) []error {
	l.t.Helper()
	nodes := l.network.PeerOrgs[0].Nodes
	errs := make([]error, len(nodes))
	var wait sync.WaitGroup
	for i, node := range nodes {
		p, err := l.access.Peer(node, check.AsAdmin)
		l.must(err)
		wait.Add(1)
		go func() {
			defer wait.Done()
			defer p.Close()
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
			defer cancel()
			_, errs[i] = p.Install(ctx, pkg)
		}()
	}
	wait.Wait()
	return errs
}

// TestSharedBuild: two peers of an organisation that install one package at the same moment
// build it once. If the peer that builds is killed, the other builds it itself.
func TestSharedBuild(t *testing.T) {
	t.Parallel()
	l := newLab(t, "e2e-cc-shared", 2, "")
	watch := func() func() []string {
		ctx, cancel := context.WithCancel(context.Background())
		w, err := l.core.CoreV1().Pods(l.ns).Watch(ctx, metav1.ListOptions{LabelSelector: buildPods})
		l.must(err)
		return func() []string {
			defer cancel()
			return added(w)
		}
	}
	t.Run("SameMoment", func(t *testing.T) {
		l := l.in(t)
		seen := watch()
		for i, err := range l.installOnAll(l.tinySource("shared")) {
			if err != nil {
				t.Errorf("peer%d: %v", i, err)
			}
		}
		if pods := seen(); len(pods) != 1 {
			t.Errorf("built by pods %v, want one", pods)
		}
		l.awaitGone(buildPods)
	})
	t.Run("MayNotLook", func(t *testing.T) { // at the other's pod, to find out where its result is
		l := l.in(t)
		restore := l.without("pods", "get")
		defer restore()
		errs := l.installOnAll(l.tinySource("rights"))
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Errorf("%v, %v; want one peer to fail that could not see the other's build", errs[0], errs[1])
		}
		l.awaitLog(`cannot get resource "pods"`)
	})
	t.Run("BuilderKilled", func(t *testing.T) {
		l := l.in(t)
		result := make(chan []error, 1)
		go func() { result <- l.installOnAll(l.tinySource("killed")) }()
		l.spin("both launchers to build", func() bool { return len(l.processes("build")) == 2 && len(l.pods(buildPods)) == 1 })
		builder := ""
		for _, p := range l.pods(buildPods) {
			builder = p.Labels["pivt.io/node"]
		}
		for _, p := range l.processes("build") {
			env, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.pid), "environ"))
			l.must(err)
			if bytes.Contains(env, []byte("PIVT_NODE="+builder+"\x00")) {
				l.must(syscall.Kill(p.pid, syscall.SIGKILL))
			}
		}
		failed := 0
		for i, err := range <-result {
			t.Logf("peer%d: %v", i, err)
			if err != nil {
				failed++
			}
		}
		if failed != 1 {
			t.Errorf("%d of two peers failed, want the one whose launcher was killed", failed)
		}
		l.awaitGone(buildPods)
	})
}

// TestAPIServerAway freezes the API server for a minute, once while a chaincode is built and
// once while one runs. It is not parallel: all other tests need the API server.
func TestAPIServerAway(t *testing.T) {
	l := newLab(t, "e2e-cc-away", 1, "")
	peer := l.pods("")[labPeer+"-0"]
	l.access.Dial = func(ctx context.Context, _ string) (net.Conn, error) { // port-forwards go through the API server
		return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(peer.Status.PodIP, "7051"))
	}
	admin, err := l.access.Peer(l.network.PeerOrgs[0].Nodes[0], check.AsAdmin)
	l.must(err)
	defer admin.Close()
	l.admin = admin
	const away = time.Minute

	t.Run("DuringABuild", func(t *testing.T) {
		l := l.in(t)
		pkg := l.tinySource("away")
		result := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
			defer cancel()
			_, err := l.admin.Install(ctx, pkg)
			result <- err
		}()
		l.spin("a build", func() bool {
			return l.building(func(s corev1.ContainerState) bool { return s.Running != nil })
		})
		thaw := freezeAPIServer(t)
		back := time.AfterFunc(away, thaw)
		defer back.Stop()
		if err := <-result; err != nil { // it comes when what was made has been deleted, and so after the minute
			t.Errorf("installing while the API server is away: %v", err)
		}
		l.awaitGone(buildPods)
	})
	t.Run("DuringARun", func(t *testing.T) {
		l := l.in(t)
		l.mustCall(30*time.Second, "good", "Get", "a")
		old := l.pod("good")
		thaw := freezeAPIServer(t)
		pace := time.NewTicker(time.Second)
		defer pace.Stop()
		for end := time.Now().Add(away); time.Now().Before(end); <-pace.C {
			if _, _, err := l.call(10*time.Second, "good", "Get", "a"); err != nil {
				t.Fatalf("calling while the API server is away: %v", err)
			}
		}
		thaw()
		if now := l.pod("good"); now.UID != old.UID {
			t.Error("the chaincode was replaced while the API server was away")
		}
		// The launcher still watches: it sees its pod go and lets the next call launch another.
		l.lose("good")
	})
}

// freezeAPIServer stops the API server of the cluster on this machine until thaw, which may be
// called more than once.
func freezeAPIServer(t *testing.T) (thaw func()) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range dirs {
		cmd, err := os.ReadFile(file)
		if err != nil || filepath.Base(string(bytes.SplitN(cmd, []byte{0}, 2)[0])) != "kube-apiserver" {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		thaw := func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
		t.Cleanup(thaw)
		return thaw
	}
	t.Fatal("no API server runs on this machine")
	return nil
}
