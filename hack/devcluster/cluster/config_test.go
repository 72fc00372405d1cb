package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pivt.io/pivt/hack/devcluster/recipe"
)

func TestClaim(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		files  []string
		fails  bool
	}{
		"New":      {reason: "A directory that does not exist is made."},
		"Claimed":  {reason: "After a crash up finds its own directory.", files: []string{marker, "baseline.json"}},
		"Foreign":  {reason: "Down removes the directory, so it must never become one that holds somebody's files.", files: []string{"thesis.doc"}, fails: true},
		"EmptyDir": {reason: "An empty directory, such as a mount point made for this, is as good as none.", files: []string{}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := Layout{State: filepath.Join(t.TempDir(), "state")}
			if tc.files != nil {
				if err := os.Mkdir(l.State, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range tc.files {
				if err := os.WriteFile(l.state(f), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := l.claim()
			if (err != nil) != tc.fails {
				t.Errorf("%s\nclaim: got %v", tc.reason, err)
			}
			if err == nil && !l.claimed() {
				t.Errorf("%s\nthe directory carries no mark afterwards", tc.reason)
			}
		})
	}
}

func TestWritePKI(t *testing.T) {
	t.Parallel()
	l := Layout{State: t.TempDir()}
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := l.writePKI(now); err != nil {
		t.Fatal(err)
	}
	cluster, etcd := pool(t, l.pki("ca.crt")), pool(t, l.pki("etcd-ca.crt"))
	verify := func(file string, roots *x509.CertPool, host string) error {
		p, err := tls.LoadX509KeyPair(l.pki(file+".crt"), l.pki(file+".key"))
		if err != nil {
			t.Fatal(err)
		}
		usage := x509.ExtKeyUsageClientAuth
		if host != "" {
			usage = x509.ExtKeyUsageServerAuth
		}
		_, err = p.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: now.Add(time.Hour), KeyUsages: []x509.ExtKeyUsage{usage}})
		return err
	}
	for _, host := range []string{NodeIP, apiServiceIP, "kubernetes.default.svc.cluster.local"} {
		if err := verify("apiserver", cluster, host); err != nil {
			t.Errorf("the API server cannot serve as %s: %v", host, err)
		}
	}
	if err := verify("kubelet", cluster, NodeIP); err != nil {
		t.Errorf("the API server would not read logs from the kubelet: %v", err)
	}
	if err := verify("admin", cluster, NodeIP); err == nil {
		t.Error("the administrator's certificate can serve as the node")
	}
	if err := verify("etcd", etcd, ""); err != nil {
		t.Errorf("the API server cannot log in to etcd: %v", err)
	}
	for _, id := range l.identities() {
		if err := verify(id.file, cluster, ""); err != nil {
			t.Errorf("%s cannot log in to the cluster: %v", id.file, err)
		}
		if err := verify(id.file, etcd, ""); err == nil {
			t.Errorf("%s can log in to etcd", id.file)
		}
	}
	err := filepath.WalkDir(l.State, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 && (strings.HasSuffix(path, ".key") || strings.HasSuffix(path, "kubeconfig")) {
			t.Errorf("%s has mode %s; others could read a key", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRender(t *testing.T) {
	t.Parallel()
	v := values{
		ClusterDomain: clusterDomain, DNSServiceIP: dnsServiceIP, Volumes: "/state/volumes", Upstream: true,
		CoreDNSImage: "example.com/coredns:1", LocalPathImage: "example.com/local-path:1", BusyboxImage: "example.com/busybox:1", ArgoVersion: "v9",
	}
	wants := map[string][]string{
		"base.yaml":       {"kind: StorageClass", "is-default-class"},
		"coredns.yaml":    {"image: example.com/coredns:1", "clusterIP: " + dnsServiceIP, "forward . /etc/resolv.conf", "kubernetes cluster.local in-addr.arpa"},
		"local-path.yaml": {"image: example.com/local-path:1", "image: example.com/busybox:1", `"paths": ["/state/volumes"]`},
		"argo.yaml":       {"newTag: v9", "runAsNonRoot: true"},
	}
	for name, want := range wants {
		text, err := render(name, v)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s lacks %q", name, w)
			}
		}
		if strings.Contains(text, "<no value>") {
			t.Errorf("%s refers to a value that does not exist", name)
		}
	}
	v.Upstream = false
	text, err := render("coredns.yaml", v)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text, "forward .") {
		t.Error("without a DNS server on the machine CoreDNS must not forward: it would not start")
	}
}

func TestHasNameserver(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason, resolv string
		want           bool
	}{
		"One":       {"The usual case.", "search example.com\nnameserver 192.0.2.1\n", true},
		"None":      {"A machine without a network.", "search example.com\n", false},
		"Commented": {"A comment is no server.", "# nameserver 192.0.2.1\n", false},
		"NoAddress": {"A keyword without an address is no server.", "nameserver\n", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := hasNameserver(tc.resolv); got != tc.want {
				t.Errorf("%s\nhasNameserver(%q): got %t", tc.reason, tc.resolv, got)
			}
		})
	}
}

func TestCNIConfig(t *testing.T) {
	t.Parallel()
	l := Layout{State: "/state"}
	var config struct {
		Name    string
		Plugins []struct {
			Type, Bridge string
			IPAM         struct{ DataDir string }
		}
	}
	if err := json.Unmarshal([]byte(l.cniConfig()), &config); err != nil {
		t.Fatal(err)
	}
	if config.Plugins[0].Bridge != podBridge {
		t.Errorf("pods are on bridge %q; down looks for %q", config.Plugins[0].Bridge, podBridge)
	}
	if !strings.HasPrefix(config.Plugins[0].IPAM.DataDir, l.State+"/") {
		t.Errorf("addresses are kept in %s, where down leaves them", config.Plugins[0].IPAM.DataDir)
	}
}

func TestConfigsStayInState(t *testing.T) {
	t.Parallel()
	l := Layout{State: "/state"}
	for name, text := range map[string]string{"containerd": l.containerdConfig("/usr/lib/cni"), "kubelet": l.kubeletConfig(), "kube-proxy": l.proxyConfig()} {
		for _, dir := range []string{"/var/lib/kubelet", "/var/lib/containerd", "/run/containerd", "/etc/cni", "/opt/", "/var/log"} {
			if strings.Contains(strings.ReplaceAll(text, l.State, ""), dir) && !strings.Contains(text, l.State+dir) {
				t.Errorf("%s uses %s, which down does not remove", name, dir)
			}
		}
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	l := Layout{State: "/state"}
	parts := map[string]recipe.Built{}
	for _, p := range recipe.Default() {
		parts[p.Name] = recipe.Built{Part: p, Dir: "/cache/" + p.Name}
	}
	commands, err := l.commands(parts)
	if err != nil {
		t.Skipf("this machine cannot run containers: %v", err)
	}
	names := []string{
		etcdName, containerdName, apiserverName, controllerManagerName, schedulerName, kubeletName, proxyName, routerName,
	}
	for _, name := range names {
		c, ok := commands[name]
		if !ok || c.Name != name || c.Log == "" {
			t.Errorf("component %s: got %+v", name, c)
			continue
		}
		part, inCache := strings.CutPrefix(filepath.Dir(filepath.Dir(c.Path)), "/cache/")
		if _, builds := parts[part].Binaries[filepath.Base(c.Path)]; inCache && !builds {
			t.Errorf("component %s runs %s, which part %s does not build", name, c.Path, part)
		}
	}
	if len(commands) != len(names) {
		t.Errorf("%d commands for %d components: one would be started that nobody has looked at, or the other way round", len(commands), len(names))
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	never := func(context.Context) error { return errors.New("node is not ready: no CNI") }
	well := func() error { return nil }
	synctest.Test(t, func(t *testing.T) {
		err := wait(t.Context(), time.Minute, well, never)
		if err == nil || !strings.Contains(err.Error(), "no CNI") || !strings.Contains(err.Error(), "1m0s") {
			t.Errorf("got %v, want the limit and the last complaint", err)
		}

		dead := errors.New("kubelet has died")
		began := time.Now()
		err = wait(t.Context(), time.Minute, func() error { return dead }, never)
		if !errors.Is(err, dead) || time.Since(began) > time.Second {
			t.Errorf("got %v after %s, want the death at once", err, time.Since(began))
		}
	})
}

func pool(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(b) {
		t.Fatalf("%s holds no certificate", file)
	}
	return p
}
