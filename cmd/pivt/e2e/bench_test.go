//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rounds is how often a time is taken; the median counts.
const rounds = 9

func median(all []time.Duration) time.Duration {
	all = slices.Clone(all)
	slices.Sort(all)
	return all[len(all)/2]
}

// BenchmarkLaunch compares a launch with a bare pod of the same image on the same node.
//
// A launch is measured by who waits for it, from the call of a chaincode that does not run to
// its answer, and so with the API server's port-forward, the chaincode's registration and the
// call itself. A bare pod, as kubectl run makes it, is measured from its creation to the first
// connection it makes. One without even the volume of its service account's token starts about
// 0.3 s sooner, since the kubelet looks every 0.3 s whether volumes are mounted
// (podAttachAndMountRetryInterval); chaincode has to have its keys from somewhere.
func BenchmarkLaunch(b *testing.B) {
	l := newLab(b, "e2e-bench-launch", 1, "")
	var launches, bare, bald, ready []time.Duration
	for range rounds {
		l.restartChaincode()
		_, took, err := l.call(time.Minute, "good", "Get", "a")
		l.must(err)
		launches = append(launches, took)
		_, took, err = l.call(time.Minute, "good", "Get", "a")
		l.must(err)
		ready = append(ready, took)
		bare = append(bare, l.barePod(true))
		bald = append(bald, l.barePod(false))
	}
	launch, pod := median(launches), median(bare)
	b.Logf("launch %s, of which a call of a running chaincode is %s; bare pod %s, without volumes %s (medians of %d)",
		launch, median(ready), pod, median(bald), rounds)
	b.ReportMetric(launch.Seconds(), "s/launch")
	b.ReportMetric(pod.Seconds(), "s/pod")
	b.ReportMetric(median(bald).Seconds(), "s/pod-without-volumes")
	b.ReportMetric(float64(launch)/float64(pod), "launch/pod")
}

// BenchmarkLaunchTen compares ten different chaincodes, started at once on one peer, with one; and
// the same of bare pods, which is what the machine can do.
func BenchmarkLaunchTen(b *testing.B) {
	l := newLab(b, "e2e-bench-ten", 1, "")
	const n = 10
	for i := range n {
		l.define(fmt.Sprintf("cc%d", i), l.image)
		l.mustCall(time.Minute, fmt.Sprintf("cc%d", i), "Get", "a")
	}
	var alone, slowest, bare, bares []time.Duration
	for range 5 {
		bare = append(bare, l.barePod(true))
		pods := make([]time.Duration, n)
		var started sync.WaitGroup
		for i := range n {
			started.Add(1)
			go func() {
				defer started.Done()
				pods[i] = l.barePod(true)
			}()
		}
		started.Wait()
		bares = append(bares, slices.Max(pods))

		l.restartChaincode()
		_, took, err := l.call(time.Minute, "cc0", "Get", "a")
		l.must(err)
		alone = append(alone, took)
		l.restartChaincode()
		var wait sync.WaitGroup
		times := make([]time.Duration, n)
		for i := range n {
			wait.Add(1)
			go func() {
				defer wait.Done()
				_, took, err := l.call(time.Minute, fmt.Sprintf("cc%d", i), "Get", "a")
				if err != nil {
					b.Errorf("cc%d: %v", i, err)
				}
				times[i] = took
			}()
		}
		wait.Wait()
		slowest = append(slowest, slices.Max(times))
	}
	one, ten := median(alone), median(slowest)
	b.Logf("one %s, slowest of ten %s; bare pod %s, slowest of ten %s (medians of 5)", one, ten, median(bare), median(bares))
	b.ReportMetric(float64(median(bares))/float64(median(bare)), "slowest/one-bare-pod")
	b.ReportMetric(one.Seconds(), "s/one")
	b.ReportMetric(ten.Seconds(), "s/slowest")
	b.ReportMetric(float64(ten)/float64(one), "slowest/one")
}

// barePod starts the chaincode's image as a pod with nothing but a service account's token, if
// that, and waits until it connects to what it takes for its peer.
func (l *lab) barePod(token bool) time.Duration {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// All addresses, since the pod comes through the node's bridge.
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp4", ":0")
	l.must(err)
	defer listener.Close()
	nodes, err := l.core.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	l.must(err)
	address := ""
	for _, a := range nodes.Items[0].Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			address = a.Address
		}
	}
	yes, no, user := true, false, int64(65532)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	l.must(err)
	began := time.Now()
	pod, err := l.core.CoreV1().Pods(l.ns).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "bare-"},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: &token, EnableServiceLinks: &no,
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &user, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{Name: "chaincode", Image: l.image,
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
				Env: []corev1.EnvVar{{Name: "CORE_CHAINCODE_ID_NAME", Value: "bare:1"}, {Name: "CORE_PEER_TLS_ENABLED", Value: "false"},
					{Name: "CORE_PEER_ADDRESS", Value: net.JoinHostPort(address, port)}}}},
		},
	}, metav1.CreateOptions{})
	l.must(err)
	go func() {
		<-ctx.Done()
		_ = listener.Close()
	}()
	conn, err := listener.Accept()
	l.must(err)
	took := time.Since(began)
	_ = conn.Close()
	zero := int64(0)
	l.must(l.core.CoreV1().Pods(l.ns).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero}))
	l.awaitPodGone(pod.Name)
	return took
}
