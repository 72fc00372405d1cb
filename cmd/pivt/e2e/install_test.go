//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// TestInstallRaft is the main job on Fabric 3.1.1: from an empty namespace to a
// transaction that one organisation writes and the other reads, then once more for nothing.
func TestInstallRaft(t *testing.T) {
	t.Parallel()
	s := newSite(t, "e2e-raft")
	s.pivt("install").ok()
	s.transact("mychannel", "asset-raft")
	s.assertRestricted()
	s.assertNoKeysOutsideSecrets()
	s.assertUnchangedInstall("mychannel")

	status := s.pivt("status", "-o", "json").ok()
	var d struct {
		Kind string
		Data struct{ Ready bool }
	}
	s.must(json.Unmarshal([]byte(status.stdout), &d))
	if d.Kind != "Status" || !d.Data.Ready {
		t.Errorf("status of an installed network: kind %q, ready %v; want Status, true", d.Kind, d.Data.Ready)
	}
	if r := s.pivt("check"); r.code != 0 {
		t.Errorf("check of an installed network: exit %d, want 0", r.code)
	}
	if r := s.pivt("chaincode", "query", "basic", "AssetExists", "asset-raft").ok(); strings.TrimSpace(r.stdout) != "true" {
		t.Errorf("chaincode query printed %q, want true", r.stdout)
	}
	s.pivt("chaincode", "invoke", "basic", "CreateAsset", "by-cli", "Grace", "7").ok()
	two := s.gateway("Org2", "org2.example.com")
	s.eventually("Org2 reads what pivt chaincode invoke wrote", func() (bool, error) {
		_, err := two.evaluate("mychannel", "basic", "ReadAsset", "by-cli")
		return err == nil, err
	})
	s.assertUninstall()
}

func TestInstallBFT(t *testing.T) {
	t.Parallel()
	s := newSite(t, "e2e-bft")
	s.replace("crypto-config.yaml", "- Hostname: orderer2", "- Hostname: orderer2\n      - Hostname: orderer3")
	s.pivt("--set", "network.consensus=BFT", "install").ok()
	s.transact("mychannel", "asset-bft")
}

func TestInstallFabric25(t *testing.T) {
	t.Parallel()
	s := newSite(t, "e2e-fabric25")
	s.pivt("--set", "hyperledgerVersion=2.5.9", "install").ok()
	s.transact("mychannel", "asset-25")
	for name, p := range s.pods("app.kubernetes.io/component in (peer, orderer)") {
		if image := p.Spec.Containers[0].Image; !strings.HasSuffix(image, ":2.5.9") {
			t.Errorf("%s runs %s, want Fabric 2.5.9", name, image)
		}
	}
}

// assertUnchangedInstall repeats install and sees that nothing happened: no pod but the
// two probes, no block on the ledger, and the words that say so.
func (s *site) assertUnchangedInstall(channel string) {
	s.t.Helper()
	g := s.gateway("Org1", "org1.example.com")
	before, height := s.pods(""), g.height(channel)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	made, err := s.core.CoreV1().Pods(s.ns).Watch(ctx, metav1.ListOptions{})
	s.must(err)
	r := s.pivt("install").ok()
	if now := g.height(channel); now != height {
		s.t.Errorf("a second install wrote %d blocks to %s", now-height, channel)
	}
	if !strings.Contains(r.stderr, "nothing changed") {
		s.t.Errorf("a second install does not say that nothing changed:\n%s", r.stderr)
	}
	var fresh []string
	for _, name := range added(made) {
		if _, old := before[name]; !old {
			fresh = append(fresh, name)
		}
	}
	for _, name := range fresh {
		if !strings.Contains(name, "probe") {
			s.t.Errorf("a second install made pod %s, which is no probe", name)
		}
	}
	if len(fresh) > 2 {
		s.t.Errorf("a second install made pods %v, want the two probes at most", fresh)
	}
	for name, p := range before {
		if now, ok := s.pods("")[name]; ok && now.UID != p.UID {
			s.t.Errorf("a second install replaced pod %s", name)
		}
	}
	s.t.Logf("second install took %.1f s with %d pods", r.took.Seconds(), len(fresh))
}

// added drains a watch of what it has seen.
func added(w watch.Interface) []string {
	var names []string
	idle := time.NewTimer(2 * time.Second)
	defer idle.Stop()
	for {
		select {
		case e, ok := <-w.ResultChan():
			if !ok {
				return names
			}
			if p, isPod := e.Object.(*corev1.Pod); isPod && e.Type == watch.Added {
				names = append(names, p.Name)
			}
		case <-idle.C:
			w.Stop()
			return names
		}
	}
}

// assertRestricted sees that the namespace itself enforces the restricted profile, so
// every pod that runs in it has passed.
func (s *site) assertRestricted() {
	s.t.Helper()
	ns, err := s.core.CoreV1().Namespaces().Get(context.Background(), s.ns, metav1.GetOptions{})
	s.must(err)
	if got := ns.Labels["pod-security.kubernetes.io/enforce"]; got != "restricted" {
		s.t.Errorf("namespace enforces %q, want restricted", got)
	}
	for name, p := range s.pods("app.kubernetes.io/component=chaincode") {
		if p.Spec.AutomountServiceAccountToken == nil || *p.Spec.AutomountServiceAccountToken {
			s.t.Errorf("chaincode pod %s has a service account token", name)
		}
	}
}

// assertNoKeysOutsideSecrets reads everything a curious colleague may read.
func (s *site) assertNoKeysOutsideSecrets() {
	s.t.Helper()
	out := s.exec("", "kubectl", "-n", s.ns, "get", "workflows,configmaps,pods,statefulsets,events", "-o", "yaml").wait().ok()
	if strings.Contains(out.stdout, "PRIVATE KEY") {
		s.t.Error("a private key stands in an object that is no Secret")
	}
	release := s.exec("", "helm", "-n", s.ns, "get", "all", "hlf-kube").wait().ok()
	if strings.Contains(release.stdout, "PRIVATE KEY") {
		s.t.Error("a private key stands in the Helm release")
	}
	history := s.exec("", "helm", "-n", s.ns, "history", "hlf-kube").wait().ok()
	if !strings.Contains(history.stdout, "deployed") {
		s.t.Errorf("helm history does not show the release:\n%s", history.stdout)
	}
}

func (s *site) assertUninstall() {
	s.t.Helper()
	if r := s.pivt("uninstall"); r.code != 2 || !strings.Contains(r.stderr, "--yes") {
		s.t.Errorf("uninstall without a terminal and without --yes: exit %d, want 2 naming --yes", r.code)
	}
	s.pivt("uninstall", "--yes", "--delete-data").ok()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s.until(ctx, "every pod to be gone", func() (bool, error) { return len(s.pods("")) == 0, nil })
	secrets, err := s.core.CoreV1().Secrets(s.ns).List(ctx, metav1.ListOptions{})
	s.must(err)
	for _, x := range secrets.Items {
		s.t.Errorf("uninstall left secret/%s", x.Name)
	}
	claims, err := s.core.CoreV1().PersistentVolumeClaims(s.ns).List(ctx, metav1.ListOptions{})
	s.must(err)
	for _, x := range claims.Items {
		if x.DeletionTimestamp == nil {
			s.t.Errorf("uninstall --delete-data left persistentvolumeclaim/%s", x.Name)
		}
	}
}
