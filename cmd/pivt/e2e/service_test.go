//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/network"
)

const othersServer = "notes-of-others"

// serviceNetwork has a chaincode whose servers pivt runs, and one that somebody else serves.
// Servers drain for longer than any machine takes to upgrade; the test ends them itself.
const serviceNetwork = `hyperledgerVersion: "3.1.1"
chaincodeService: {drainSeconds: 900}
network:
  channels:
    - {name: mychannel, orgs: [Org1, Org2]}
  chaincodes:
    - name: notes
      version: "1.0"
      service: {image: "IMAGE", replicas: 2, tls: mtls}
      channels: [{name: mychannel, policy: "OR('Org1MSP.peer','Org2MSP.peer')"}]
    - name: elsewhere
      version: "1.0"
      service: notes-of-others:7070
      channels: [{name: mychannel, policy: "OR('Org1MSP.peer','Org2MSP.peer')"}]
`

// TestService installs, calls and upgrades chaincode that peers connect to.
func TestService(t *testing.T) {
	t.Parallel()
	s := newSite(t, "e2e-service")
	image := s.imageOf("pivt/server")
	s.write("network.yaml", strings.ReplaceAll(serviceNetwork, "IMAGE", image))
	s.must(s.createNamespace())
	s.serveElsewhere(image)

	s.pivt("install").ok()
	one, two := s.gateway("Org1", "org1.example.com"), s.gateway("Org2", "org2.example.com")
	for _, cc := range []string{"notes", "elsewhere"} {
		one.submit("mychannel", cc, "WriteNote", "greeting", "hello from "+cc)
		s.eventually("Org2 reads what Org1 wrote to "+cc, func() (bool, error) {
			got, err := two.evaluate("mychannel", cc, "ReadNote", "greeting")
			return got == "hello from "+cc, err
		})
	}
	s.assertServedAs(map[string]*gateway{"Org1": one, "Org2": two})
	s.assertRestricted()
	s.assertNoKeysOutsideSecrets()
	s.assertOnlyPeersConnect()
	s.assertUnchangedInstall("mychannel")
	s.assertSurvivesLostServer(one)

	// The other chaincode's owner upgrades when asked to; ours must not be away meanwhile.
	s.replace("network.yaml", `name: notes
      version: "1.0"`, `name: notes
      version: "2.0"`)
	old := s.pods("app.kubernetes.io/component=chaincode-server")
	watcher := s.keepReading(one, "notes")
	s.pivt("install").ok()
	s.assertServedAs(map[string]*gateway{"Org1": one, "Org2": two})
	if calls, failed := watcher.stop(); failed != nil || calls < 10 {
		t.Errorf("of %d calls during the upgrade, these failed: %v", calls, failed)
	}
	two.submit("mychannel", "notes", "WriteNote", "greeting", "hello from version 2")
	for name, p := range s.pods("app.kubernetes.io/component=chaincode-server") {
		if _, was := old[name]; was != (p.DeletionTimestamp != nil) {
			t.Errorf("%s: of version 1.0 %t, stopping %t; want both or neither", name, was, p.DeletionTimestamp != nil)
		}
	}
	s.endServers(old)
	s.eventually("Org1 reads it after the last old server ended", func() (bool, error) {
		got, err := one.evaluate("mychannel", "notes", "ReadNote", "greeting")
		return got == "hello from version 2", err
	})

	s.replace("network.yaml", `name: elsewhere
      version: "1.0"`, `name: elsewhere
      version: "2.0"`)
	s.serveElsewhere(image)
	s.pivt("install").ok()
	s.assertServedAs(map[string]*gateway{"Org1": one, "Org2": two})
	s.must(s.core.AppsV1().Deployments(s.ns).Delete(context.Background(), othersServer, metav1.DeleteOptions{})) // uninstall rightly does not
	s.pivt("uninstall", "--yes").ok()
	s.assertNothingOfServers()
}

// endServers ends the pods now, as their grace would have.
func (s *site) endServers(pods map[string]corev1.Pod) {
	s.t.Helper()
	zero := int64(0)
	for name := range pods {
		if err := s.core.CoreV1().Pods(s.ns).Delete(context.Background(), name, metav1.DeleteOptions{GracePeriodSeconds: &zero}); !apierrors.IsNotFound(err) {
			s.must(err)
		}
	}
}

func (s *site) assertNothingOfServers() {
	s.t.Helper()
	out := s.exec("", "kubectl", "-n", s.ns, "get", "deployments,services,configmaps,secrets,networkpolicies,poddisruptionbudgets", "-o", "name").wait().ok()
	for _, name := range strings.Fields(out.stdout) {
		if strings.Contains(name, "/hlf-chaincode--") {
			s.t.Errorf("uninstall left %s", name)
		}
	}
}

// imageOf finds the digest of an image on the node: there is no registry to ask.
func (s *site) imageOf(name string) string {
	s.t.Helper()
	nodes, err := s.core.CoreV1().Nodes().List(context.Background(), metav1.ListOptions{})
	s.must(err)
	for _, i := range nodes.Items[0].Status.Images {
		for _, ref := range i.Names {
			if rest, ok := strings.CutPrefix(ref, "docker.io/"+name+"@"); ok {
				return name + "@" + rest
			}
		}
	}
	s.t.Fatalf("the node has no image %s; \"make images\" builds it", name)
	return ""
}

func (s *site) createNamespace() error {
	_, err := s.core.CoreV1().Namespaces().Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: s.ns, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}, metav1.CreateOptions{})
	return err
}

// files loads the site's network as pivt does.
func (s *site) files() *network.Network {
	s.t.Helper()
	var sources []network.Source
	for _, name := range []string{"crypto-config.yaml", "network.yaml"} {
		b, err := os.ReadFile(filepath.Join(s.dir, name))
		s.must(err)
		sources = append(sources, network.Source{Name: name, Data: b})
	}
	n, _, err := network.Load(sources, nil)
	s.must(err)
	return n
}

func (s *site) packageID(name, org string) string {
	s.t.Helper()
	n := s.files()
	cc := n.Chaincode(name)
	pkg, err := chaincode.Package(cc, n.Org(org))
	s.must(err)
	return chaincode.PackageID(cc.Label(), pkg)
}

// assertServedAs asks the servers which package they believe to be.
func (s *site) assertServedAs(gateways map[string]*gateway) {
	s.t.Helper()
	for org, g := range gateways {
		for _, cc := range []string{"notes", "elsewhere"} {
			want := s.packageID(cc, org)
			s.eventually(org+"'s "+cc+" to be served as "+want, func() (bool, error) {
				got, err := g.evaluate("mychannel", cc, "ServedAs")
				if err == nil && got != want {
					err = fmt.Errorf("served as %s", got)
				}
				return got == want, err
			})
		}
	}
}

// serveElsewhere is what somebody without pivt does: a Deployment and a Service, told the
// package id. A second call is their upgrade.
func (s *site) serveElsewhere(image string) {
	s.t.Helper()
	ctx := context.Background()
	yes, no, user := true, false, int64(65532)
	labels := map[string]string{"app": othersServer}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: othersServer},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					AutomountServiceAccountToken: &no,
					SecurityContext:              &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &user, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
					Containers: []corev1.Container{{
						Name: "chaincode", Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
						Env:             []corev1.EnvVar{{Name: "CHAINCODE_SERVER_ADDRESS", Value: "0.0.0.0:7070"}, {Name: "CHAINCODE_ID", Value: s.packageID("elsewhere", "Org1")}},
						SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
					}},
				},
			},
		},
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: d.Name}, Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 7070}}}}
	deployments := s.core.AppsV1().Deployments(s.ns)
	if _, err := deployments.Get(ctx, d.Name, metav1.GetOptions{}); err == nil {
		_, err = deployments.Update(ctx, d, metav1.UpdateOptions{})
		s.must(err)
		return
	}
	_, err := deployments.Create(ctx, d, metav1.CreateOptions{})
	s.must(err)
	_, err = s.core.CoreV1().Services(s.ns).Create(ctx, service, metav1.CreateOptions{})
	s.must(err)
}

// assertOnlyPeersConnect knocks at a server with mutual TLS.
func (s *site) assertOnlyPeersConnect() {
	s.t.Helper()
	const service = "hlf-chaincode--org1--notes"
	var pod string
	for name := range s.pods("app.kubernetes.io/component=chaincode-server,pivt.io/org=org1") {
		pod = name
	}
	org := func(domain string) string { return filepath.Join(s.dir, "crypto-config", "peerOrganizations", domain) }
	peer := func(domain string) *tls.Certificate {
		dir := filepath.Join(org(domain), "peers", "peer0."+domain, "tls")
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key"))
		s.must(err)
		return &pair
	}
	cases := map[string]struct {
		reason string
		cert   *tls.Certificate
		served bool
	}{
		"its peer":                    {"The organisation's peers have a certificate of its TLS CA.", peer("org1.example.com"), true},
		"nobody known":                {"Whoever gets through to the port is not served for that.", nil, false},
		"another organisation's peer": {"It has a server of its own.", peer("org2.example.com"), false},
	}
	for who, tc := range cases {
		err := s.knock(pod, service, s.only(filepath.Join(org("org1.example.com"), "tlsca")), tc.cert)
		if served := err == nil; served != tc.served {
			s.t.Errorf("%s\n%s is served: %v (%v)", tc.reason, who, served, err)
		}
	}
	if err := s.knock(pod, service, s.only(filepath.Join(org("org2.example.com"), "tlsca")), peer("org1.example.com")); err == nil {
		s.t.Error("the server's certificate is not of its own organisation's TLS CA")
	}
}

// knock begins to talk with a server, as gRPC does: a server that takes the client sends its settings.
func (s *site) knock(pod, service string, roots []byte, cert *tls.Certificate) error {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	raw, err := s.kube.Forward(ctx, pod, network.ServicePortDefault)
	s.must(err)
	defer raw.Close()
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: service, NextProtos: []string{"h2"}}
	if !config.RootCAs.AppendCertsFromPEM(roots) {
		s.t.Fatal("no TLS CA certificate")
	}
	if cert != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 9)) // of TLS 1.3 a client learns here that its certificate was refused
	return err
}

// assertSurvivesLostServer deletes every server of Org1, and so the one its peer is connected to.
func (s *site) assertSurvivesLostServer(g *gateway) {
	s.t.Helper()
	const selector = "app.kubernetes.io/component=chaincode-server,pivt.io/org=org1"
	lost := s.pods(selector)
	s.endServers(lost)
	began, want := time.Now(), s.packageID("notes", "Org1")
	s.eventually("new servers of Org1", func() (bool, error) {
		fresh := 0
		for name, p := range s.pods(selector) {
			if _, old := lost[name]; !old && len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].Ready {
				fresh++
			}
		}
		return fresh == len(lost), nil
	})
	s.eventually("Org1 reads from a new server", func() (bool, error) {
		got, err := g.evaluate("mychannel", "notes", "ServedAs") // Org2's server would do, and answers otherwise
		return got == want, err
	})
	s.t.Logf("a transaction was served %.1f s after all servers of Org1 were lost", time.Since(began).Seconds())
}

// reading calls a chaincode again and again until it is stopped.
type reading struct {
	cancel context.CancelFunc
	ended  sync.WaitGroup
	calls  int
	failed []string
}

func (s *site) keepReading(g *gateway, cc string) *reading {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reading{cancel: cancel}
	r.ended.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			r.calls++
			if _, err := g.evaluate("mychannel", cc, "ReadNote", "greeting"); err != nil {
				r.failed = append(r.failed, fmt.Sprintf("call %d: %v", r.calls, err))
			}
		}
	})
	return r
}

func (r *reading) stop() (calls int, failed []string) {
	r.cancel()
	r.ended.Wait()
	return r.calls, r.failed
}
