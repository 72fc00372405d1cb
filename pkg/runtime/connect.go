package runtime

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"path/filepath"

	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// serviceAccount is where Kubernetes mounts a pod's token.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

// InCluster connects to the API server as the pod the process runs in. Only the core API
// is asked for: a full client costs memory in each of a peer's launchers.
// PIVT_SERVICE_ACCOUNT may name another directory with token and ca.crt.
func InCluster(env func(string) string) (typed.CoreV1Interface, error) {
	dir := cmp.Or(env("PIVT_SERVICE_ACCOUNT"), serviceAccount)
	token, ca := filepath.Join(dir, "token"), filepath.Join(dir, "ca.crt")
	for _, file := range []string{token, ca} {
		if _, err := os.Stat(file); err != nil {
			return nil, fmt.Errorf("reading the pod's service account: %w", err)
		}
	}
	client, err := typed.NewForConfig(&rest.Config{
		Host:            "https://" + net.JoinHostPort(env("KUBERNETES_SERVICE_HOST"), env("KUBERNETES_SERVICE_PORT")),
		BearerTokenFile: token, // read again as Kubernetes renews it
		TLSClientConfig: rest.TLSClientConfig{CAFile: ca},
		UserAgent:       "pivt-launcher",
		QPS:             -1, // a handful of calls per launch
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	return client, nil
}
