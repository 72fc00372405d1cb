package cluster

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"

	"pivt.io/pivt/hack/devcluster/recipe"
)

//go:embed manifests/*.yaml
var manifests embed.FS

// deployment is a pod set up waits for.
type deployment struct{ namespace, name string }

var deployments = []deployment{
	{"kube-system", "coredns"},
	{"local-path-storage", "local-path-provisioner"},
	{"argo", "workflow-controller"},
}

// values are what manifests refer to.
type values struct {
	ClusterDomain, DNSServiceIP, Volumes                    string
	CoreDNSImage, LocalPathImage, BusyboxImage, ArgoVersion string
	// Upstream says whether the machine has a DNS server to forward to; without one CoreDNS would not start.
	Upstream bool
}

func (l Layout) values(parts map[string]recipe.Built) (values, error) {
	resolv, err := os.ReadFile(resolvConf())
	if err != nil && !os.IsNotExist(err) {
		return values{}, fmt.Errorf("reading the machine's DNS servers: %w", err)
	}
	return values{
		ClusterDomain: clusterDomain, DNSServiceIP: dnsServiceIP, Volumes: l.state("volumes"),
		CoreDNSImage: coreDNSImage(parts), LocalPathImage: localPathImage(parts), BusyboxImage: busyboxImage,
		ArgoVersion: parts["argo"].Version,
		Upstream:    hasNameserver(string(resolv)),
	}, nil
}

func hasNameserver(resolv string) bool {
	for line := range strings.Lines(resolv) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
			return true
		}
	}
	return false
}

func render(name string, v values) (string, error) {
	t, err := template.ParseFS(manifests, "manifests/"+name)
	if err != nil {
		return "", fmt.Errorf("parsing manifest %s: %w", name, err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, v); err != nil {
		return "", fmt.Errorf("rendering manifest %s: %w", name, err)
	}
	return out.String(), nil
}

// writeArgo lays Argo's manifests out below our kustomization and returns the folder.
func (l Layout) writeArgo(argo recipe.Built, v values) (string, error) {
	dir := l.conf("argo")
	for _, part := range []string{"base", "cluster-install-no-crds"} {
		if err := recipe.CopyTree(argo.ShareDir("manifests/"+part), filepath.Join(dir, "upstream", part)); err != nil {
			return "", fmt.Errorf("copying Argo's manifests: %w", err)
		}
	}
	text, err := render("argo.yaml", v)
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o644)
}

// create makes objects that are not there yet: the cluster is always new.
func (l Layout) create(ctx context.Context, kubectl, input string, source ...string) error {
	// The server validates strictly by itself; the client would first download all of its schemas.
	args := append([]string{"--kubeconfig", l.Kubeconfig(), "create", "--validate=false"}, source...)
	cmd := exec.CommandContext(ctx, kubectl, args...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl create %s: %w: %s", strings.Join(source, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
