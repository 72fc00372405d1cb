package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pivt.io/pivt/hack/devcluster/ledger"
	"pivt.io/pivt/hack/devcluster/sweep"
)

// Down removes the cluster and everything it made, whatever state it is in.
func (c *Cluster) Down(ctx context.Context) error {
	if !c.claimed() {
		fmt.Fprintf(c.Out, "no cluster in %s, nothing to do\n", c.State)
		return nil
	}
	if err := checkMachine(); err != nil {
		return err
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return c.remove(ctx)
}

func (c *Cluster) remove(ctx context.Context) error {
	done := c.phase("removed everything of the cluster")
	before, err := sweep.Load(c.baselineFile())
	if errors.Is(err, fs.ErrNotExist) {
		// The baseline is written before the first change: nothing but the directory is there.
		err = os.RemoveAll(c.State)
		done()
		return err
	}
	if err != nil {
		return err
	}
	sockets := c.shimSockets()
	if err := c.kill(ctx); err != nil {
		return err
	}
	// Each line needs those above it: a mounted directory cannot be removed, a set in use not destroyed.
	for _, step := range []func() error{
		func() error { return sweep.Mounts(c.State) },
		func() error { return sweep.Bridge(podBridge) },
		func() error { return sweep.Bridge(nodeBridge) },
		func() error { return sweep.PacketFilter(before) },
		func() error { return sweep.AddressSets(before) },
		func() error { return sweep.Cgroups(cgroupName, 20*time.Second) },
		func() error { return c.removeFixed(sockets) },
		before.RemoveAbsent,
		before.RestoreSysctls,
		func() error { return os.RemoveAll(c.State) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("%w; run down again when that is solved", err)
		}
	}
	done()
	return nil
}

// kill ends every process of the cluster. All that they could save at the end is removed anyway, so it does not wait for
// them: the kubelet and containerd go first, since they would restart the others.
func (c *Cluster) kill(ctx context.Context) error {
	records, err := c.ledger().Records()
	if err != nil {
		return err
	}
	first := slices.DeleteFunc(slices.Clone(records), func(r ledger.Record) bool { return r.Name != kubeletName && r.Name != containerdName })
	for _, group := range [][]ledger.Record{first, records} {
		if err := ledger.Stop(group, 0); err != nil {
			return err
		}
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		left, err := c.leftovers()
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes of the cluster do not end, such as pid %d", len(left), left[0].PID)
		}
		// A process may fork between being listed and being killed, hence the loop.
		if err := ledger.Stop(left, 0); err != nil {
			return err
		}
	}
}

// leftovers are processes of ours that no record names: containers, their shims, what a component started.
func (c *Cluster) leftovers() ([]ledger.Record, error) {
	found, err := sweep.Processes(cgroupName)
	if err != nil {
		return nil, err
	}
	shims, err := c.shims()
	return append(found, shims...), err
}

// shims finds containerd's shims by the socket they report to. They are members of our control group already, unless
// somebody has moved them.
func (c *Cluster) shims() ([]ledger.Record, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	var found []ledger.Record
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil || !isShim(string(line), c.containerdSocket()) {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(file, "/proc/%d/", &pid); err != nil {
			continue
		}
		if r, err := ledger.Of("containerd-shim", pid); err == nil && r.Running() {
			found = append(found, r)
		}
	}
	return found, nil
}

// isShim decides from a command line, whose arguments end in NUL, whether it is a shim of the containerd at socket.
func isShim(cmdline, socket string) bool {
	args := strings.Split(strings.TrimRight(cmdline, "\x00"), "\x00")
	if !strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") {
		return false
	}
	i := slices.Index(args, "-address")
	return i > 0 && i+1 < len(args) && args[i+1] == socket
}

// shimSockets lists the sockets of our shims. containerd keeps them in one directory for all containerds of the machine,
// under names that say nothing; the shim's own directory holds the address.
func (c *Cluster) shimSockets() []string {
	files, _ := filepath.Glob(c.state("run", "containerd", "io.containerd.runtime.v2.task", "*", "*", "address"))
	var sockets []string
	for _, file := range files {
		address, err := os.ReadFile(file)
		path := strings.TrimPrefix(strings.TrimSpace(string(address)), "unix://")
		if err == nil && filepath.Dir(path) == shimSockets {
			sockets = append(sockets, path)
		}
	}
	return sockets
}

// resultsOf lists the results CNI plugins keep for pods whose network namespace is mounted below the state directory. Names do not tell: that of
// the loopback device says nothing of the cluster.
func resultsOf(dir, state string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return nil, err
	}
	var ours []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(text), `"`+state+`/`) {
			ours = append(ours, file)
		}
	}
	return ours, nil
}

// removeFixed removes our files from the directories components share with others.
func (c *Cluster) removeFixed(sockets []string) error {
	ours := slices.Clone(sockets)
	results, err := resultsOf(cniResults, c.State)
	if err != nil {
		return err
	}
	ours = append(ours, results...)
	links, err := filepath.Glob(filepath.Join(containerLogs, "*.log"))
	if err != nil {
		return err
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, c.State+"/") {
			ours = append(ours, link)
		}
	}
	ours = append(ours, filepath.Join(devicePlugins, "kubelet.sock"), filepath.Join(devicePlugins, "kubelet_internal_checkpoint"), filepath.Join(devicePlugins, "DEPRECATION"))
	for _, file := range ours {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
