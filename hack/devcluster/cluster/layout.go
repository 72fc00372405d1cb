package cluster

import (
	"fmt"
	"os"
	"path/filepath"
)

// Names and addresses of the cluster. The node has an address of its own on a bridge nothing is attached to: the cluster works without any
// network, survives a change of networks, and is not reachable from other machines.
const (
	nodeName      = "pivt"
	NodeIP        = "10.95.0.1"
	nodeBridge    = "pivt1"
	podBridge     = "pivt0"
	podCIDR       = "10.244.0.0/24"
	serviceCIDR   = "10.96.0.0/16"
	apiServiceIP  = "10.96.0.1"
	dnsServiceIP  = "10.96.0.10"
	clusterDomain = "cluster.local"
	cgroupName    = "pivt"
	cniNetwork    = "pivt"

	apiPort        = "6443"
	etcdClientPort = "23790"
	etcdPeerPort   = "23800"
)

const marker = ".pivt-devcluster"

// Layout says where everything is.
type Layout struct {
	Root  string // the devcluster module, which holds parts/
	Cache string // built parts, image archives, build logs: kept
	State string // the running cluster: removed by down
}

// maxState keeps the sockets below the state directory within the 107 bytes the kernel allows.
const maxState = 60

// DefaultLayout reads PIVT_CACHE and PIVT_STATE.
func DefaultLayout(root string) (Layout, error) {
	l := Layout{Root: root, Cache: os.Getenv("PIVT_CACHE"), State: os.Getenv("PIVT_STATE")}
	if l.Cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return l, fmt.Errorf("finding the cache directory: %w; set PIVT_CACHE", err)
		}
		l.Cache = filepath.Join(dir, "pivt")
	}
	if l.State == "" {
		l.State = "/var/lib/pivt-devcluster"
	}
	for _, dir := range []string{l.Cache, l.State} {
		if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
			return l, fmt.Errorf("directory %q: want a clean absolute path", dir)
		}
	}
	if len(l.State) > maxState {
		return l, fmt.Errorf("state directory %s is longer than %d characters, and the sockets in it would be too long for the kernel; set PIVT_STATE", l.State, maxState)
	}
	return l, nil
}

// Kubeconfig is the administrator's.
func (l Layout) Kubeconfig() string { return l.state("kubeconfig") }

// Bin holds the programs for users.
func (l Layout) Bin() string { return filepath.Join(l.Cache, "bin") }

// BuildLogs holds one log per part.
func (l Layout) BuildLogs() string { return filepath.Join(l.Cache, "logs") }

func (l Layout) state(elem ...string) string {
	return filepath.Join(append([]string{l.State}, elem...)...)
}

func (l Layout) conf(name string) string { return l.state("conf", name) }
func (l Layout) log(name string) string  { return l.state("log", name+".log") }

func (l Layout) containerdSocket() string { return l.state("run", "containerd.sock") }

// claim makes the state directory ours. One that holds anything and is not ours is refused, since down removes it.
func (l Layout) claim() error {
	entries, err := os.ReadDir(l.State)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("looking into the state directory: %w", err)
	}
	if len(entries) > 0 && !l.claimed() {
		return fmt.Errorf("state directory %s holds something else; set PIVT_STATE to another one", l.State)
	}
	if err := os.MkdirAll(l.State, 0o755); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	return os.WriteFile(l.state(marker), []byte("hack/devcluster down removes this directory\n"), 0o644)
}

func (l Layout) claimed() bool {
	_, err := os.Stat(l.state(marker))
	return err == nil
}
