package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"

	"pivt.io/pivt/hack/devcluster/sweep"
)

// tool is a program and the Debian package it comes in.
type tool struct{ program, pkg string }

// tools are the programs of the machine the cluster needs, with the Debian package of each.
var tools = []tool{
	{"containerd", "containerd"}, {"ctr", "containerd"}, {"runc", "runc"}, {"iptables", "iptables"}, {"iptables-save", "iptables"},
	{"iptables-restore", "iptables"}, {"conntrack", "conntrack"}, {"socat", "socat"}, {"ip", "iproute2"}, {"ss", "iproute2"}, {"ipset", "ipset"},
	{"mount", "mount"}, {"umount", "mount"},
}

// busybox must be the static build: it runs in an image without any library.
const busyboxProgram, busyboxPackage = "/bin/busybox", "busybox-static"

// checkMachine reports everything about the machine that cannot be helped by installing something.
func checkMachine() error {
	var problems []error
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		problems = append(problems, fmt.Errorf("the dev cluster runs on linux/amd64 only, this is %s/%s; use any other cluster through KUBECONFIG", runtime.GOOS, runtime.GOARCH))
	}
	if os.Geteuid() != 0 {
		problems = append(problems, errors.New("not root: containers, mounts and network devices need it; use sudo -E"))
	}
	if roots, err := sweep.Hierarchies(); err != nil {
		problems = append(problems, err)
	} else if len(roots) == 0 {
		problems = append(problems, errors.New("no control groups are mounted below /sys/fs/cgroup, and without them no container starts"))
	}
	return errors.Join(problems...)
}

// missing lists what is not installed, as program and package.
func missing(tools []tool) (programs, packages []string) {
	note := func(program, pkg string) {
		programs = append(programs, fmt.Sprintf("%s (Debian package %s)", program, pkg))
		if !slices.Contains(packages, pkg) {
			packages = append(packages, pkg)
		}
	}
	for _, t := range tools {
		if _, err := lookTool(t.program); err != nil {
			note(t.program, t.pkg)
		}
	}
	if _, err := cniBin(); err != nil {
		note("the CNI plugin bridge", "containernetworking-plugins")
	}
	if !isStatic(busyboxProgram) {
		note("a static busybox", busyboxPackage)
	}
	return programs, packages
}

// isStatic looks for the dynamic loader's path, which only programs that need one contain near their start.
func isStatic(program string) bool {
	f, err := os.Open(program)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 4096)
	n, _ := f.Read(head)
	return n > 0 && !strings.Contains(string(head[:n]), "/ld-linux") && !strings.Contains(string(head[:n]), "/ld-musl")
}

// installMissing installs Debian packages; elsewhere it names what is missing, one sentence each.
func (c *Cluster) installMissing(ctx context.Context, tools []tool) error {
	programs, packages := missing(tools)
	if len(packages) == 0 {
		return nil
	}
	apt, err := lookTool("apt-get")
	if err != nil {
		var problems []error
		for _, p := range programs {
			problems = append(problems, fmt.Errorf("%s is missing, and there is no apt-get to install it with", p))
		}
		return errors.Join(problems...)
	}
	done := c.phase("installed " + strings.Join(packages, " "))
	if slices.Contains(packages, "containerd") {
		release, err := maskService("containerd.service")
		if err != nil {
			return err
		}
		defer release()
	}
	install := append([]string{"install", "--yes", "--no-install-recommends"}, packages...)
	if err := aptGet(ctx, apt, install...); err != nil {
		// The package lists of a fresh machine are empty, those of an old one name versions that are gone.
		if err := aptGet(ctx, apt, "update"); err != nil {
			return err
		}
		if err := aptGet(ctx, apt, install...); err != nil {
			return err
		}
	}
	done()
	return nil
}

func aptGet(ctx context.Context, apt string, args ...string) error {
	cmd := exec.CommandContext(ctx, apt, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w: %s", args[0], err, lastLine(string(out)))
	}
	return nil
}

// maskService keeps a package from starting its own service, now or at the next boot: this cluster has its own.
func maskService(unit string) (release func(), err error) {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return func() {}, nil // no systemd, no service
	}
	if out, err := exec.Command("systemctl", "mask", "--runtime", unit).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("masking %s: %w: %s", unit, err, lastLine(string(out)))
	}
	return func() {
		_ = exec.Command("systemctl", "unmask", "--runtime", unit).Run()
		_ = exec.Command("systemctl", "disable", unit).Run()
	}, nil
}

// checkNetwork finds what else uses our addresses; our own devices must be gone.
func checkNetwork() error {
	wanted := []netip.Prefix{netip.MustParsePrefix(podCIDR), netip.MustParsePrefix(serviceCIDR), netip.MustParsePrefix(NodeIP + "/32")}
	devices, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("listing network devices: %w", err)
	}
	var problems []error
	for _, d := range devices {
		addrs, err := d.Addrs()
		if err != nil {
			continue // the device has just gone
		}
		for _, a := range addrs {
			have, err := netip.ParsePrefix(a.String())
			if err != nil {
				continue
			}
			for _, w := range wanted {
				if have.Masked().Overlaps(w) {
					problems = append(problems, fmt.Errorf("network device %s has %s, which overlaps the cluster's %s", d.Name, have, w))
				}
			}
		}
	}
	return errors.Join(problems...)
}

// listeners are the addresses components listen on.
var listeners = []string{
	NodeIP + ":" + apiPort, "127.0.0.1:" + etcdClientPort, "127.0.0.1:" + etcdPeerPort, NodeIP + ":10250",
	"127.0.0.1:10248", "127.0.0.1:10249", "127.0.0.1:10256", "127.0.0.1:10257", "127.0.0.1:10259",
}

// checkPorts reports every port somebody else listens on, and who. The node's address must exist already.
func checkPorts() error {
	var problems []error
	for _, addr := range listeners {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			problems = append(problems, fmt.Errorf("address %s is in use%s; stop that program first", addr, owner(addr)))
			continue
		}
		l.Close()
	}
	return errors.Join(problems...)
}

// owner asks ss which program has a port.
func owner(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	out, err := exec.Command("ss", "-Hltnp", "sport", "=", ":"+port).Output()
	if err != nil {
		return ""
	}
	return ownerOf(string(out))
}

func ownerOf(ss string) string {
	_, rest, ok := strings.Cut(ss, `users:(("`)
	if !ok {
		return ""
	}
	name, rest, _ := strings.Cut(rest, `"`)
	_, rest, _ = strings.Cut(rest, "pid=")
	pid, _, _ := strings.Cut(rest, ",")
	return fmt.Sprintf(" by %s (pid %s)", name, pid)
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
