package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"pivt.io/pivt/hack/devcluster/ledger"
	"pivt.io/pivt/hack/devcluster/recipe"
)

// The components, in the order they are started. Each depends on those before it.
const (
	etcdName              = "etcd"
	containerdName        = "containerd"
	apiserverName         = "kube-apiserver"
	controllerManagerName = "kube-controller-manager"
	schedulerName         = "kube-scheduler"
	kubeletName           = "kubelet"
	proxyName             = "kube-proxy"
	routerName            = "kube-router"
)

// commands says how each component is run, with normal defaults wherever one node does not ask for something else.
func (l Layout) commands(parts map[string]recipe.Built) (map[string]ledger.Command, error) {
	containerd, err := lookTool("containerd")
	if err != nil {
		return nil, err
	}
	k8s, pki := parts["kubernetes"], l.pki
	commands := map[string]ledger.Command{
		etcdName: {Path: parts["etcd"].Bin("etcd"), Args: []string{
			"--name=" + nodeName, "--data-dir=" + l.state("etcd"), "--log-level=warn",
			"--listen-client-urls=https://127.0.0.1:" + etcdClientPort, "--advertise-client-urls=https://127.0.0.1:" + etcdClientPort,
			"--listen-peer-urls=https://127.0.0.1:" + etcdPeerPort, "--initial-advertise-peer-urls=https://127.0.0.1:" + etcdPeerPort,
			"--initial-cluster=" + nodeName + "=https://127.0.0.1:" + etcdPeerPort,
			"--client-cert-auth", "--trusted-ca-file=" + pki("etcd-ca.crt"), "--cert-file=" + pki("etcd.crt"), "--key-file=" + pki("etcd.key"),
			"--peer-client-cert-auth", "--peer-trusted-ca-file=" + pki("etcd-ca.crt"), "--peer-cert-file=" + pki("etcd.crt"), "--peer-key-file=" + pki("etcd.key"),
		}},
		containerdName: {Path: containerd, Args: []string{"--config=" + l.conf("containerd.toml"), "--log-level=warn"}},
		apiserverName: {Path: k8s.Bin(apiserverName), Args: []string{
			"--bind-address=" + NodeIP, "--advertise-address=" + NodeIP, "--secure-port=" + apiPort,
			"--etcd-servers=https://127.0.0.1:" + etcdClientPort,
			"--etcd-cafile=" + pki("etcd-ca.crt"), "--etcd-certfile=" + pki("etcd.crt"), "--etcd-keyfile=" + pki("etcd.key"),
			"--client-ca-file=" + pki("ca.crt"), "--tls-cert-file=" + pki("apiserver.crt"), "--tls-private-key-file=" + pki("apiserver.key"),
			"--kubelet-certificate-authority=" + pki("ca.crt"),
			"--kubelet-client-certificate=" + pki("apiserver-kubelet-client.crt"), "--kubelet-client-key=" + pki("apiserver-kubelet-client.key"),
			// Otherwise kubectl logs looks the node's name up in DNS.
			"--kubelet-preferred-address-types=InternalIP",
			"--service-account-issuer=https://kubernetes.default.svc." + clusterDomain,
			"--service-account-key-file=" + pki("service-accounts.pub"), "--service-account-signing-key-file=" + pki("service-accounts.key"),
			"--service-cluster-ip-range=" + serviceCIDR,
			"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		}},
		controllerManagerName: {Path: k8s.Bin(controllerManagerName), Args: append(l.clientOf("controller-manager"),
			"--bind-address=127.0.0.1", "--leader-elect=false", "--use-service-account-credentials",
			"--root-ca-file="+pki("ca.crt"), "--service-account-private-key-file="+pki("service-accounts.key"),
			"--cluster-signing-cert-file="+pki("ca.crt"), "--cluster-signing-key-file="+pki("ca.key"),
			"--allocate-node-cidrs", "--cluster-cidr="+podCIDR, "--node-cidr-mask-size=24", "--service-cluster-ip-range="+serviceCIDR,
		)},
		schedulerName: {Path: k8s.Bin(schedulerName), Args: append(l.clientOf("scheduler"), "--bind-address=127.0.0.1", "--leader-elect=false")},
		kubeletName: {Path: k8s.Bin(kubeletName), Args: []string{
			"--kubeconfig=" + l.conf("kubelet.kubeconfig"), "--config=" + l.conf("kubelet.yaml"),
			"--root-dir=" + l.state("kubelet"), "--hostname-override=" + nodeName, "--node-ip=" + NodeIP,
		}},
		proxyName: {Path: k8s.Bin(proxyName), Args: []string{"--config=" + l.conf("kube-proxy.yaml")}},
		// Only its firewall: kube-proxy serves Services, and one node needs no routes.
		routerName: {Path: parts["kube-router"].Bin(routerName), Args: []string{
			"--kubeconfig=" + l.conf("kube-router.kubeconfig"), "--hostname-override=" + nodeName,
			"--run-firewall=true", "--run-router=false", "--run-service-proxy=false",
			"--service-cluster-ip-range=" + serviceCIDR, "--enable-ipv6=false",
			"--health-port=0", "--metrics-port=0",
		}},
	}
	for name, c := range commands {
		c.Name, c.Log = name, l.log(name)
		// kubelet, kube-proxy and kube-router call iptables, ipset, mount and others by name.
		c.Env = []string{"PATH=" + toolPath(), "HOME=/root"}
		commands[name] = c
	}
	return commands, nil
}

func (l Layout) clientOf(name string) []string {
	file := l.conf(name + ".kubeconfig")
	return []string{"--kubeconfig=" + file, "--authentication-kubeconfig=" + file, "--authorization-kubeconfig=" + file}
}

// sbin are where system tools are, also for a root whose PATH comes from an ordinary user.
var sbin = []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"}

func toolPath() string {
	return strings.Join(append(sbin, os.Getenv("PATH")), string(os.PathListSeparator))
}

// lookTool finds a system tool in the usual places and in PATH.
func lookTool(name string) (string, error) {
	for _, dir := range filepath.SplitList(toolPath()) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("program %q is missing", name)
}

func (l Layout) kubeletConfig() string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: %[1]s
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %[2]q}
authorization: {mode: Webhook}
tlsCertFile: %[3]q
tlsPrivateKeyFile: %[4]q
containerRuntimeEndpoint: "unix://%[5]s"
cgroupDriver: cgroupfs
cgroupRoot: /%[6]s
failCgroupV1: false
failSwapOn: false
# Lowering it takes CAP_SYS_RESOURCE, which a container or a test machine may lack.
oomScoreAdj: 0
clusterDNS: [%[7]s]
clusterDomain: %[8]s
resolvConf: %[9]q
podLogsDir: %[10]q
volumePluginDir: %[11]q
# Images here come from no registry: one that is collected is lost. And a full disk of the machine is not the cluster's business.
imageGCHighThresholdPercent: 100
evictionHard:
  imagefs.available: "0%%"
  nodefs.available: "0%%"
  nodefs.inodesFree: "0%%"
`, NodeIP, l.pki("ca.crt"), l.pki("kubelet.crt"), l.pki("kubelet.key"), l.containerdSocket(), cgroupName, dnsServiceIP, clusterDomain,
		resolvConf(), l.state("log", "pods"), l.state("kubelet", "plugins"))
}

func (l Layout) proxyConfig() string {
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: %q}
mode: iptables
clusterCIDR: %s
hostnameOverride: %s
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
nodePortAddresses: [%s/32]
oomScoreAdj: 0
# 0 leaves the machine's own limits alone.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
# Needs route_localnet on every interface, which nobody here asks for.
iptables: {localhostNodePorts: false}
`, l.conf("proxy.kubeconfig"), podCIDR, nodeName, NodeIP)
}

// resolvConf is the file that names the real DNS servers: behind systemd-resolved, /etc/resolv.conf names a loopback address no pod can reach.
func resolvConf() string {
	const stub, real = "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"
	text, err := os.ReadFile(stub)
	if err == nil && strings.Contains(string(text), "nameserver 127.0.0.53") {
		if _, err := os.Stat(real); err == nil {
			return real
		}
	}
	return stub
}
