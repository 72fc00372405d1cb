//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/transfer"
)

const (
	treeFiles = 2000
	treeFile  = 50_000 // bytes; 100 MB in all
)

// BenchmarkBuildTransfer compares the way of a source tree of 100 MB into a pod with kubectl cp of
// the same tree into a pod of the same node. Both begin with a pod that runs, and end with the
// program that was started for it.
func BenchmarkBuildTransfer(b *testing.B) {
	s := newSite(b, "e2e-bench-transfer")
	s.must(makeNamespace(s))
	tree := b.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range treeFiles {
		data := make([]byte, treeFile)
		for j := range data {
			data[j] = byte(random.Uint32())
		}
		dir := filepath.Join(tree, fmt.Sprintf("d%02d", i%50))
		s.must(os.MkdirAll(dir, 0o755))
		s.must(os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%04d", i)), data, 0o644))
	}
	nodes, err := s.core.CoreV1().Nodes().List(context.Background(), metav1.ListOptions{})
	s.must(err)
	host := ""
	for _, a := range nodes.Items[0].Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			host = a.Address
		}
	}
	s.sleeper("cp", "docker.io/library/busybox:1.35.0", []string{"sleep", "3600"}, nil)
	var ours, theirs []time.Duration
	for i := range 5 {
		server, err := transfer.Listen(transfer.Options{Host: host})
		s.must(err)
		server.Give(tree)
		ticket, err := json.Marshal(server.Ticket())
		s.must(err)
		name := fmt.Sprintf("fetch%d", i)
		_, err = s.core.CoreV1().Secrets(s.ns).Create(context.Background(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"ticket.json": ticket}}, metav1.CreateOptions{})
		s.must(err)
		s.sleeper(name, "docker.io/pivt/pivt:dev", []string{"/usr/local/bin/pivt", "launcher", "wait", "192.0.2.1:1", "--timeout=1h"}, &name)
		ours = append(ours, s.exec("", "kubectl", "-n", s.ns, "exec", name, "--", "/usr/local/bin/pivt", "launcher", "fetch",
			"--ticket", "/run/pivt/ticket/ticket.json", "--to", "/data").wait().ok().took)
		s.must(server.Close())
		theirs = append(theirs, s.exec("", "kubectl", "-n", s.ns, "cp", tree, fmt.Sprintf("cp:/data/tree%d", i)).wait().ok().took)
	}
	const mb = treeFiles * treeFile / 1e6
	a, c := median(ours), median(theirs)
	b.Logf("transfer %s, kubectl cp %s (medians of 5)", a, c)
	b.ReportMetric(mb/a.Seconds(), "MB/s")
	b.ReportMetric(mb/c.Seconds(), "MB/s-kubectl-cp")
	b.ReportMetric(float64(c)/float64(a), "times-kubectl-cp")
}

func makeNamespace(s *site) error {
	_, err := s.core.CoreV1().Namespaces().Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.ns}}, metav1.CreateOptions{})
	return err
}

// sleeper runs a pod that does nothing, with room in /data and a ticket if one is named.
func (s *site) sleeper(name, image string, command []string, ticket *string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
		Containers:      []corev1.Container{{Name: "main", Image: image, Command: command, VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}}},
		Volumes:         []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		SecurityContext: &corev1.PodSecurityContext{FSGroup: new(int64)},
	}}
	if ticket != nil {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "ticket", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: *ticket}}})
		pod.Spec.Containers[0].VolumeMounts = append(pod.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "ticket", MountPath: "/run/pivt/ticket"})
	}
	*pod.Spec.SecurityContext.FSGroup = 65532
	_, err := s.core.CoreV1().Pods(s.ns).Create(ctx, pod, metav1.CreateOptions{})
	s.must(err)
	s.until(ctx, "pod "+name, func() (bool, error) { return s.pods("")[name].Status.Phase == corev1.PodRunning, nil })
}

// BenchmarkLauncherMemory has a real peer build a package of nearly the 100 MB that Fabric takes,
// and reports the most memory that its launcher had.
func BenchmarkLauncherMemory(b *testing.B) {
	// Fabric itself takes more than the default gigabyte for a package of this size.
	l := newLab(b, "e2e-bench-memory", 1, "peer: {resources: {limits: {memory: 4Gi}}}\n")
	big := make([]byte, 90<<20)
	random := rand.New(rand.NewPCG(3, 4))
	for i := range big {
		big[i] = byte(random.Uint32())
	}
	org := l.network.PeerOrgs[0]
	cc := &network.Chaincode{Name: "big", Version: "1.0", Source: ".", Language: "golang", Orgs: []*network.Org{org}}
	pkg, err := chaincode.PackageSource(cc, fstest.MapFS{
		"go.mod":  {Data: []byte("module big\n\ngo 1.20\n")},
		"main.go": {Data: []byte("package main\n\nfunc main() {}\n")},
		"data":    {Data: big},
	})
	l.must(err)
	result := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		_, err := l.admin.Install(ctx, pkg)
		result <- err
	}()
	var peak int64
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-result:
			l.must(err)
			if peak == 0 {
				b.Fatal("the launcher was never seen")
			}
			b.ReportMetric(float64(peak)/1e6, "MB/launcher")
			return
		case <-tick.C:
			for _, p := range l.processes("build") {
				peak = max(peak, p.peakMemory())
			}
		}
	}
}
