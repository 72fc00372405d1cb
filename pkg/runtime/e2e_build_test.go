//go:build e2e

package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/runtime/runtimetest"
)

// realPivt is the image with the launcher's commands in it. PIVT_E2E_PIVT may name another.
func realPivt() string {
	if image := os.Getenv("PIVT_E2E_PIVT"); image != "" {
		return image
	}
	return "docker.io/pivt/pivt:dev"
}

// builder is a peer that runs on the cluster's node but outside of it.
func (r *real) builder(name string) Peer {
	r.t.Helper()
	nodes, err := r.client.Nodes().List(r.t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) == 0 {
		r.t.Fatalf("looking for the node: %v", err)
	}
	p := Peer{Namespace: r.namespace, Node: name}
	for _, a := range nodes.Items[0].Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			p.IP = a.Address
		}
	}
	return p
}

func (r *real) source(script string) Source {
	r.t.Helper()
	s := source(r.t, script)
	s.Image = realImage()
	return s
}

// build builds for real and tells its story.
func (r *real) build(ctx context.Context, p Peer, s Source, log *buffer) error {
	begun := time.Now()
	err := Build(ctx, r.client, p, s, Options{Output: log, Image: realPivt(), Report: func(line string) {
		r.t.Logf("%6.2f s  %s: %s", time.Since(begun).Seconds(), p.Node, line)
	}})
	r.t.Logf("%6.2f s  %s: %v", time.Since(begun).Seconds(), p.Node, err)
	return err
}

func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out, err := runtimetest.Tree(dir)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRealBuild also looks for what a build must not see.
func TestRealBuild(t *testing.T) {
	t.Parallel()
	r := realCluster(t)
	s := r.source(goodScript + `
cp /etc/pivt/ca.crt /chaincode/output/ca; id -u > /chaincode/output/uid; pwd >> /chaincode/output/uid
ln -s chaincode /chaincode/output/link
for secret in /run/pivt /var/run/secrets/kubernetes.io; do [ ! -e $secret ] || echo $secret >> /chaincode/output/seen; done
echo x > /x || echo closed`)
	s.CA = []byte("an authority\n")
	var log buffer
	if err := r.build(t.Context(), r.builder(node), s, &log); err != nil {
		t.Fatal(err)
	}
	want := goodOutput()
	want["ca"], want["uid"], want["link"] = "an authority\n", "65532\n/chaincode/input\n", want["chaincode"]
	if diff := cmp.Diff(want, tree(t, s.Output)); diff != "" {
		t.Errorf("output: -want, +got:\n%s", diff)
	}
	// What is written to standard error may come before or after.
	if !strings.Contains(log.String(), "building\nbuilt\n") || !strings.Contains(log.String(), "closed\n") {
		t.Errorf("log = %q", log.String())
	}
	r.awaitEmpty()
}

func TestRealBuildFails(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		change func(*Source)
		within time.Duration
		want   string
	}{
		"Compiler": {"The text reaches whoever installs, within seconds.", func(s *Source) { s.Script = "echo './main.go:3: syntax error'; exit 2" }, time.Minute, "the build exited with status 2:\n./main.go:3: syntax error"},
		"Hostile":  {"The way out is closed.", func(s *Source) { s.Script = "ln -s ../.. /chaincode/output/up" }, time.Minute, "leaves the tree"},
		"NoImage":  {"The registry's words.", func(s *Source) { s.Image = "registry.invalid/none:1" }, time.Minute, "its image cannot be pulled: "},
		"NoShell":  {"An image that cannot run a script says so.", func(s *Source) { s.Image = "docker.io/pivt/pause:1" }, time.Minute, "StartError"},
		"Deadline": {"The kubelet ends what hangs.", func(s *Source) { s.Script, s.Deadline = "sleep 300", 8*time.Second }, time.Minute, "DeadlineExceeded"},
		"OOM": {"A compiler that eats all.", func(s *Source) {
			s.Script = "head -c 4000000000 /dev/zero | tail"
		}, time.Minute, "exited with status"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := realCluster(t)
			s := r.source(goodScript)
			tc.change(&s)
			begun := time.Now()
			err := r.build(t.Context(), r.builder(node), s, new(buffer))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\nBuild = %v, want %q", tc.reason, err, tc.want)
			}
			if took := time.Since(begun); took > tc.within {
				t.Errorf("%s\nBuild took %s", tc.reason, took)
			}
			if left, err := os.ReadDir(filepath.Dir(s.Output)); err != nil || len(left) != 0 {
				t.Errorf("left of it: %v, %v", left, err)
			}
			r.awaitEmpty()
		})
	}
}

func TestRealBuildStops(t *testing.T) {
	t.Parallel()
	r := realCluster(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var log buffer
	done := make(chan error, 1)
	p, s := r.builder(node), r.source("echo waiting; sleep 300")
	go func() { done <- r.build(ctx, p, s, &log) }()
	for deadline := time.Now().Add(time.Minute); log.String() == ""; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the build does not begin")
		}
	}
	begun := time.Now()
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Build = %v", err)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("stopping took %s", took)
	}
	r.awaitEmpty()
}

// TestRealShare: two peers at the same moment, one pod.
func TestRealShare(t *testing.T) {
	t.Parallel()
	r := realCluster(t)
	org := runtimetest.NewOrg(t)
	type outcome struct {
		err error
		dir string
	}
	done := make(chan outcome)
	names := map[string]bool{}
	watching, stop := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for watching.Err() == nil {
			if pods, err := r.client.Pods(r.namespace).List(watching, metav1.ListOptions{}); err == nil {
				for _, p := range pods.Items {
					names[p.Name+" "+string(p.UID)] = true
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	for i := range 2 {
		p := r.builder(fmt.Sprintf("hlf-peer--org1--peer%d", i))
		p.Org = "org1"
		p.TLS.Cert, p.TLS.Key, p.TLS.Roots = org.Peer(p.Node)
		s := r.source("sleep 1; " + goodScript)
		go func() { done <- outcome{r.build(t.Context(), p, s, new(buffer)), s.Output} }()
	}
	for range 2 {
		o := <-done
		if o.err != nil {
			t.Fatal(o.err)
		}
		if diff := cmp.Diff(goodOutput(), tree(t, o.dir)); diff != "" {
			t.Errorf("output: -want, +got:\n%s", diff)
		}
	}
	stop()
	<-watched
	if len(names) != 1 {
		t.Errorf("build pods %v, want one", names)
	}
	r.awaitEmpty()
}

// TestRealProgram runs what a build made, as a peer that is not there.
func TestRealProgram(t *testing.T) {
	t.Parallel()
	r := realCluster(t)
	cc := programOf(t, "exec /usr/local/bin/cc/chaincode")
	cc.Image = realImage()
	var log buffer
	begun := time.Now()
	err := Run(t.Context(), r.client, r.builder(node), cc, Options{Output: &log, Image: realPivt(), Report: func(s string) {
		t.Logf("%6.2f s  %s", time.Since(begun).Seconds(), s)
	}})
	if err != nil {
		t.Error(err)
	}
	if want := cc.ID + " runs\n"; log.String() != want {
		t.Errorf("log = %q, want %q", log.String(), want)
	}
	r.awaitEmpty()
}
