package recipe

import (
	"sort"
)

// Part is one separately versioned piece of the cluster.
type Part struct {
	// Name is the directory below parts/ that holds the module.
	Name string
	// Module is the module the binaries and the support files come from.
	Module string
	// Version is the version users know it by, which is not always the module's.
	Version string
	// Binaries maps the name a binary gets to the last element of the package it is built from.
	Binaries map[string]string
	// Stamps are string variables set by the linker.
	Stamps map[string]string
	// Share names files or directories of the module that are kept next to the binaries.
	Share []string
	// Mend lists files the published module lacks. A part that has any is built from a copy of the module, because
	// neither the module cache nor an overlay of it may be changed, and go mod vendor wants the files before they can be added.
	Mend []Mend
}

// Mend adds one file to the copy of the module.
type Mend struct {
	Path string
	// CopyOf is a file of the same module; when empty the file gets Content.
	CopyOf  string
	Content string
}

// Default returns the parts of the cluster, those first that other work waits for.
func Default() []Part {
	return []Part{
		fabric("3.1.1"),
		kubernetes("v1.34.4"),
		{
			Name: "etcd", Module: "go.etcd.io/etcd/server/v3", Version: "v3.6.16",
			// The tool's package path ends in /v3, and Go names the binary after the element before it.
			Binaries: map[string]string{"etcd": "server"},
		},
		argo("v3.7.18"),
		{
			Name: "coredns", Module: "github.com/coredns/coredns", Version: "v1.14.7",
			Binaries: map[string]string{"coredns": "coredns"},
		},
		{
			Name: "local-path", Module: "github.com/rancher/local-path-provisioner", Version: "v0.0.30",
			Binaries: map[string]string{"local-path-provisioner": "local-path-provisioner"},
			Stamps:   map[string]string{"main.VERSION": "v0.0.30"},
		},
		{
			// The upstream path fails the checksum database at this version; the fork k3s ships has the same
			// network policy controller and verifies.
			Name: "kube-router", Module: "github.com/cloudnativelabs/kube-router/v2", Version: "v2.2.1",
			Binaries: map[string]string{"kube-router": "kube-router"},
			Stamps:   map[string]string{"github.com/cloudnativelabs/kube-router/v2/pkg/version.Version": "v2.2.1"},
		},
		{
			Name: "helm", Module: "helm.sh/helm/v3", Version: "v3.22.0",
			Binaries: map[string]string{"helm": "helm"},
			Stamps:   map[string]string{"helm.sh/helm/v3/internal/version.version": "v3.22.0"},
		},
		fabric("2.5.9"),
		{
			// An S3 server on a directory, for backups.
			Name: "versitygw", Module: "github.com/versity/versitygw", Version: "v1.8.0",
			Binaries: map[string]string{"versitygw": "versitygw"},
		},
		{
			// The one program of our own: the process that holds a pod's namespaces.
			Name: "pause", Module: "pivt.io/pivt/hack/devcluster/parts/pause", Version: "1",
			Binaries: map[string]string{"pause": "pause"},
		},
	}
}

func fabric(version string) Part {
	return Part{
		Name: "fabric-" + version, Module: "github.com/hyperledger/fabric", Version: "v" + version,
		Binaries: same("peer", "orderer", "osnadmin", "configtxgen", "cryptogen"),
		Stamps:   map[string]string{"github.com/hyperledger/fabric/common/metadata.Version": "v" + version},
		Share:    []string{"sampleconfig"},
	}
}

func kubernetes(version string) Part {
	stamps := map[string]string{}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		stamps[pkg+".gitVersion"] = version
		stamps[pkg+".gitMajor"] = "1"
		stamps[pkg+".gitMinor"] = "34"
		stamps[pkg+".gitTreeState"] = "clean"
	}
	return Part{
		Name: "kubernetes", Module: "k8s.io/kubernetes", Version: version, Stamps: stamps,
		Binaries: same("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"),
	}
}

func argo(version string) Part {
	const module = "github.com/argoproj/argo-workflows/v3"
	return Part{
		Name: "argo", Module: module, Version: version,
		Binaries: same("argo", "argoexec", "workflow-controller"),
		Stamps: map[string]string{
			module + ".version":      version,
			module + ".gitTag":       version,
			module + ".gitTreeState": "clean",
		},
		Share: []string{"manifests/base", "manifests/cluster-install-no-crds"},
		Mend: []Mend{
			// A symbolic link upstream; module archives cannot hold one.
			{Path: "workflow/executor/osspecific/signal_linux.go", CopyOf: "workflow/executor/osspecific/signal_darwin.go"},
			// The web UI is embedded and not part of the module; the argo command never serves it here.
			{Path: "ui/dist/app/index.html", Content: "<!doctype html><title>Argo Workflows</title>\n"},
		},
	}
}

func same(names ...string) map[string]string {
	m := make(map[string]string, len(names))
	for _, n := range names {
		m[n] = n
	}
	return m
}

// ldflags returns the linker flags in a stable order.
func (p Part) ldflags() string {
	flags := "-s -w"
	for _, name := range sortedKeys(p.Stamps) {
		flags += " -X " + name + "=" + p.Stamps[name]
	}
	return flags
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
