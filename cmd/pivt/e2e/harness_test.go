//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"pivt.io/pivt/pkg/kube"
)

// installTimeout is for one install on a slow machine; a healthy one takes about a minute.
const installTimeout = 6 * time.Minute

// site is one namespace with the directory its network is made from.
type site struct {
	t    *said
	ns   string
	dir  string
	kube *kube.Client
	core kubernetes.Interface
	// limit is for one run of a program; installTimeout unless a test needs longer.
	limit time.Duration
}

// newSite makes a namespace of its own for the test, removed with everything in it at the
// end. The files start as the repository's default network.
func newSite(t testing.TB, ns string) *site {
	t.Helper()
	config := os.Getenv("KUBECONFIG")
	if config == "" || os.Getenv("PIVT_E2E_BIN") == "" {
		t.Fatal("set KUBECONFIG and PIVT_E2E_BIN; \"make e2e\" does")
	}
	rest, err := clientcmd.BuildConfigFromFlags("", config)
	if err != nil {
		t.Fatal(err)
	}
	rest.QPS, rest.Burst = 100, 200 // tests poll for moments that are short
	k, err := kube.New(kube.Options{Kubeconfig: config, Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: repeating(t), ns: ns, dir: t.TempDir(), kube: k, core: kubernetes.NewForConfigOrDie(rest)}
	s.removeNamespace()
	t.Cleanup(func() {
		if t.Failed() {
			s.dump()
		}
		s.removeNamespace()
		s.t.repeat()
	})
	s.pivt("init").ok()
	return s
}

// in is the same site for a subtest, which must not end another test than itself.
func (s *site) in(t testing.TB) *site {
	c := *s
	c.t = s.t.in(t)
	return &c
}

func (s *site) removeNamespace() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	zero := int64(0)
	err := s.core.CoreV1().Namespaces().Delete(ctx, s.ns, metav1.DeleteOptions{GracePeriodSeconds: &zero})
	if apierrors.IsNotFound(err) {
		return
	}
	if err != nil {
		s.t.Errorf("deleting namespace %s: %v", s.ns, err)
		return
	}
	// The peers have nothing to lose any more; ending them at once saves their grace time.
	_ = s.core.CoreV1().Pods(s.ns).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &zero}, metav1.ListOptions{})
	s.until(ctx, "namespace "+s.ns+" to be gone", func() (bool, error) {
		_, err := s.core.CoreV1().Namespaces().Get(ctx, s.ns, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
}

// until polls cond until it holds or ctx ends.
func (s *site) until(ctx context.Context, what string, cond func() (bool, error)) {
	s.t.Helper()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		ok, err := cond()
		if ok {
			return
		}
		last = err
		select {
		case <-ctx.Done():
			s.t.Fatalf("waiting for %s: %v (last: %v)", what, ctx.Err(), last)
		case <-tick.C:
		}
	}
}

// eventually is until with a deadline for what takes seconds on a machine that is not busy.
func (s *site) eventually(what string, cond func() (bool, error)) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	s.until(ctx, what, cond)
}

// write replaces a file of the network.
func (s *site) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// replace edits a file of the network; the text must be there.
func (s *site) replace(name, old, now string) {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	if !bytes.Contains(b, []byte(old)) {
		s.t.Fatalf("%s does not contain %q", name, old)
	}
	s.write(name, strings.Replace(string(b), old, now, 1))
}

// run is one ended run of a program.
type run struct {
	s              *site
	args           []string
	stdout, stderr string
	code           int
	took           time.Duration
}

// pivt runs the program in the network's directory.
func (s *site) pivt(args ...string) run {
	s.t.Helper()
	return s.start(args...).wait()
}

// process is a run that is under way.
type process struct {
	s        *site
	cmd      *exec.Cmd
	out, err *output
	began    time.Time
	cancel   context.CancelFunc
	done     chan error
}

func (s *site) start(args ...string) *process {
	s.t.Helper()
	return s.exec("", os.Getenv("PIVT_E2E_BIN"), append([]string{"-n", s.ns}, args...)...)
}

func (s *site) exec(stdin, program string, args ...string) *process {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(s.limit, installTimeout))
	p := &process{s: s, cmd: exec.CommandContext(ctx, program, args...), out: new(output), err: new(output), began: time.Now(), cancel: cancel, done: make(chan error, 1)}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = s.dir, p.out, p.err
	p.cmd.Stdin = strings.NewReader(stdin)
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	return p
}

// output may be looked at while the process writes it.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Len()
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// ended reports whether the program has ended.
func (p *process) ended() bool { return len(p.done) > 0 }

func (p *process) wait() run {
	p.s.t.Helper()
	err := <-p.done
	p.cancel()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.s.t.Fatalf("%v: %v", p.cmd.Args, err)
	}
	r := run{s: p.s, args: p.cmd.Args[1:], stdout: p.out.String(), stderr: p.err.String(), code: p.cmd.ProcessState.ExitCode(), took: time.Since(p.began)}
	p.s.t.Logf("%s: exit %d in %.1f s\n%s%s", strings.Join(r.args, " "), r.code, r.took.Seconds(), r.stderr, r.stdout)
	return r
}

func (r run) ok() run {
	r.s.t.Helper()
	if r.code != 0 {
		r.s.t.Fatalf("pivt %s: exit %d\n%s%s", strings.Join(r.args, " "), r.code, r.stderr, r.stdout)
	}
	return r
}

// pods lists the namespace's pods that match selector, by name.
func (s *site) pods(selector string) map[string]corev1.Pod {
	s.t.Helper()
	list, err := s.core.CoreV1().Pods(s.ns).List(context.Background(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		s.t.Fatal(err)
	}
	byName := map[string]corev1.Pod{}
	for _, p := range list.Items {
		byName[p.Name] = p
	}
	return byName
}

// dump shows the namespace's pods when a test failed.
func (s *site) dump() {
	for name, p := range s.pods("") {
		s.t.Logf("pod %s: %s %s", name, p.Status.Phase, p.Status.Message)
		for _, c := range p.Status.ContainerStatuses {
			s.t.Logf("  %s ready=%v restarts=%d %s", c.Name, c.Ready, c.RestartCount, state(c.State))
			tail := int64(8)
			b, err := s.core.CoreV1().Pods(s.ns).GetLogs(name, &corev1.PodLogOptions{Container: c.Name, TailLines: &tail}).DoRaw(context.Background())
			if err == nil {
				s.t.Logf("  log:\n%s", b)
			}
		}
	}
}

func state(c corev1.ContainerState) string {
	switch {
	case c.Waiting != nil:
		return fmt.Sprintf("waiting: %s %s", c.Waiting.Reason, c.Waiting.Message)
	case c.Terminated != nil:
		return fmt.Sprintf("terminated: %d %s %s", c.Terminated.ExitCode, c.Terminated.Reason, c.Terminated.Message)
	}
	return "running"
}
