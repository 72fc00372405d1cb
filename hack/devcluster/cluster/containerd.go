package cluster

import (
	"fmt"
	"os"
	"path/filepath"
)

const pauseImage = "docker.io/pivt/pause:1"

// cniDirs are where distributions put the CNI plugins; Debian's comes first.
var cniDirs = []string{"/usr/lib/cni", "/opt/cni/bin"}

// containerdConfig is valid for containerd 1.6 (Debian 12) and later: they read version 2 too.
func (l Layout) containerdConfig(cniBin string) string {
	return fmt.Sprintf(`version = 2
root = %[1]q
state = %[2]q
# These want kernel modules or directories outside our own.
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = %[3]q

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %[4]q
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  # Without CAP_SYS_RESOURCE nobody may lower an OOM score, and pods would not start.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %[5]q
    conf_dir = %[6]q

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
      Root = %[7]q
`, l.state("containerd"), l.state("run", "containerd"), l.containerdSocket(), pauseImage, cniBin, l.state("cni", "conf"), l.state("run", "runc"))
}

// cniConfig makes pods ports of one bridge; hairpin lets a pod reach itself through its Service.
func (l Layout) cniConfig() string {
	return fmt.Sprintf(`{
  "cniVersion": "0.4.0",
  "name": %q,
  "plugins": [
    {
      "type": "bridge",
      "bridge": %q,
      "isGateway": true,
      "ipMasq": true,
      "hairpinMode": true,
      "ipam": {"type": "host-local", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": %q}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`, cniNetwork, podBridge, podCIDR, l.state("cni", "addresses"))
}

// cniBin is the directory that holds the bridge plugin.
func cniBin() (string, error) {
	for _, dir := range cniDirs {
		if _, err := os.Stat(filepath.Join(dir, "bridge")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no CNI plugin %q in %v", "bridge", cniDirs)
}
