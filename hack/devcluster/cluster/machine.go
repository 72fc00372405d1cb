package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"pivt.io/pivt/hack/devcluster/sweep"
)

// sysctls are the kernel settings this program or a component changes.
var sysctls = []string{
	"net/ipv4/ip_forward", "net/ipv4/conf/all/route_localnet",
	"net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables", "net/netfilter/nf_conntrack_max",
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

// fixedDirs are directories that components use whatever they are told, parents before children.
var fixedDirs = []string{
	"/var/lib/kubelet", devicePlugins, "/var/lib/cni", cniResults, containerLogs, "/run/containerd", shimSockets,
	"/opt/containerd", "/opt/cni", "/opt/cni/bin", "/etc/cni", "/etc/cni/net.d",
	"/run/mount", // mount(8) makes it, for the kubelet
}

const (
	devicePlugins = "/var/lib/kubelet/device-plugins"
	cniResults    = "/var/lib/cni/results"
	containerLogs = "/var/log/containers"
	shimSockets   = "/run/containerd/s"
)

func (l Layout) baselineFile() string { return l.state("baseline.json") }

// takeBaseline records the machine as it is, and refuses one that already runs another Kubernetes.
func (l Layout) takeBaseline() error {
	before, err := sweep.Take(sysctls, fixedDirs)
	if err != nil {
		return err
	}
	if slices.Contains(before.Chains["iptables"], "nat/KUBE-SERVICES") {
		return errors.New("another Kubernetes node runs on this machine (iptables has a chain KUBE-SERVICES in table nat); stop it first")
	}
	return before.Save(l.baselineFile())
}

// prepareNetwork makes the node's address and lets packets through between pods, Services and the world.
func prepareNetwork() error {
	for _, name := range []string{"net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"} {
		err := os.WriteFile(filepath.Join("/proc/sys", name), []byte("1"), 0o644)
		if errors.Is(err, os.ErrNotExist) {
			// Without the module packets between two pods pass no filter, so Services and policies would not work.
			if out, err := exec.Command("modprobe", "br_netfilter").CombinedOutput(); err != nil {
				return fmt.Errorf("sysctl %s does not exist and modprobe br_netfilter says: %s", name, lastLine(string(out)))
			}
			err = os.WriteFile(filepath.Join("/proc/sys", name), []byte("1"), 0o644)
		}
		if err != nil {
			return fmt.Errorf("setting sysctl %s: %w", name, err)
		}
	}
	for _, args := range [][]string{
		{"ip", "link", "add", nodeBridge, "type", "bridge"},
		{"ip", "addr", "add", NodeIP + "/32", "dev", nodeBridge},
		{"ip", "link", "set", nodeBridge, "up"},
		// At the end of the chain: a machine whose firewall forwards nothing by default still carries pods, and
		// network policies, which come first, keep the last word.
		{"iptables", "-w", "10", "-N", forwardChain},
		{"iptables", "-w", "10", "-A", forwardChain, "-s", podCIDR, "-j", "ACCEPT"},
		{"iptables", "-w", "10", "-A", forwardChain, "-d", podCIDR, "-j", "ACCEPT"},
		{"iptables", "-w", "10", "-A", "FORWARD", "-j", forwardChain},
		// The address of a Service that kube-proxy has not seen yet would leave by the machine's default route,
		// and whoever answers there is not the Service. Dropped, the client's next try finds the rule.
		{"iptables", "-w", "10", "-t", "mangle", "-N", serviceChain},
		{"iptables", "-w", "10", "-t", "mangle", "-A", serviceChain, "-d", serviceCIDR, "-j", "DROP"},
		{"iptables", "-w", "10", "-t", "mangle", "-A", "FORWARD", "-j", serviceChain},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, lastLine(string(out)))
		}
	}
	return nil
}

// These begin like the chains of CNI plugins, so that the sweep takes them for some.
const (
	forwardChain = "CNI-PIVT-FORWARD"
	serviceChain = "CNI-PIVT-SERVICES"
)

// prepareCgroups makes the group everything runs in and returns the cgroup.procs file for components.
func prepareCgroups() (string, error) {
	roots, err := sweep.Hierarchies()
	if err != nil {
		return "", err
	}
	var home string
	for _, root := range roots {
		group := filepath.Join(root, cgroupName)
		if err := os.MkdirAll(group, 0o755); err != nil {
			return "", fmt.Errorf("making a control group: %w", err)
		}
		if err := initCgroup(root, group); err != nil {
			return "", err
		}
		// One hierarchy is enough to find every process again. The pids controller of cgroup v1 costs nothing; the others
		// of v1 would change how the components are scheduled and accounted.
		if home == "" || filepath.Base(root) == "pids" {
			home = group
		}
	}
	components := filepath.Join(home, "components")
	if err := os.MkdirAll(components, 0o755); err != nil {
		return "", fmt.Errorf("making a control group: %w", err)
	}
	return filepath.Join(components, "cgroup.procs"), nil
}

func initCgroup(root, group string) error {
	if controllers, err := os.ReadFile(filepath.Join(root, "cgroup.controllers")); err == nil {
		// cgroup v2: the kubelet finds a controller below only if it is handed down.
		for _, c := range strings.Fields(string(controllers)) {
			_ = os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+"+c), 0o644)
		}
		return nil
	}
	// cgroup v1: a new cpuset is empty, and nothing can run in it.
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(group, name), value, 0o644)
		}
		if err != nil {
			return fmt.Errorf("setting %s of a control group: %w", name, err)
		}
	}
	// By default all pods together would weigh as much as one process outside.
	shares := filepath.Join(group, "cpu.shares")
	if _, err := os.Stat(shares); err == nil {
		return os.WriteFile(shares, []byte(strconv.Itoa(1024*runtime.NumCPU())), 0o644)
	}
	return nil
}
