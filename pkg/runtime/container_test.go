package runtime

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"pivt.io/pivt/pkg/runtime/runtimetest"
)

// TestRunContainer is what the chaincode finds in its container.
func TestRunContainer(t *testing.T) {
	t.Parallel()
	for _, tls := range []bool{true, false} {
		t.Run(fmt.Sprintf("TLS=%t", tls), func(t *testing.T) {
			t.Parallel()
			got := make(chan runtimetest.Container, 1)
			c := runtimetest.New(t, runtimetest.Options{Images: images(func(_ context.Context, c runtimetest.Container) int {
				got <- c
				return 0
			})})
			cc := chaincode("My_CC.v1+rc")
			if !tls {
				cc.RootCert, cc.ClientCert, cc.ClientKey = "", "", ""
			}
			if err := start(t, c, cc, Options{}).wait(); err != nil {
				t.Fatal(err)
			}
			in := <-got
			wantEnv := map[string]string{
				"CORE_CHAINCODE_ID_NAME": "My_CC.v1+rc:" + testHash,
				"CORE_PEER_ADDRESS":      node + ":7052",
				"CORE_PEER_LOCALMSPID":   "Org1MSP",
				"CORE_PEER_TLS_ENABLED":  "false",
				"HOME":                   "/tmp",
			}
			wantFiles := map[string][]byte{}
			if tls {
				wantEnv["CORE_PEER_TLS_ENABLED"] = "true"
				for variable, file := range map[string]struct{ name, data string }{
					"CORE_PEER_TLS_ROOTCERT_FILE": {"peer.crt", "root"},
					"CORE_TLS_CLIENT_CERT_FILE":   {"client_pem.crt", "cert"},
					"CORE_TLS_CLIENT_KEY_FILE":    {"client_pem.key", "private"},
					"CORE_TLS_CLIENT_CERT_PATH":   {"client.crt", base64.StdEncoding.EncodeToString([]byte("cert"))},
					"CORE_TLS_CLIENT_KEY_PATH":    {"client.key", base64.StdEncoding.EncodeToString([]byte("private"))},
				} {
					wantEnv[variable] = "/etc/hyperledger/fabric/" + file.name
					wantFiles["/etc/hyperledger/fabric/"+file.name] = []byte(file.data)
				}
			}
			if diff := cmp.Diff(wantEnv, in.Env); diff != "" {
				t.Errorf("environment: -want, +got:\n%s", diff)
			}
			if diff := cmp.Diff(wantFiles, in.Files); diff != "" {
				t.Errorf("files: -want, +got:\n%s", diff)
			}
			for _, call := range c.Calls() {
				if !tls && strings.Contains(call, "secret") {
					t.Errorf("%s although the peer has no TLS", call)
				}
			}
		})
	}
}

func TestRunOwnership(t *testing.T) {
	t.Parallel()
	c := runtimetest.New(t, runtimetest.Options{Images: images(serve)})
	uid := c.AddPeer(node + "-0")
	client := c.Client()
	ended := make(chan error, 1)
	go func() {
		ended <- Run(t.Context(), client, Peer{Namespace: runtimetest.Namespace, Node: node, Pod: node + "-0", UID: uid},
			chaincode("basic_1.0"), Options{Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Mi")},
			}})
	}()
	pod := c.AwaitRunning()
	if got := pod.Spec.Containers[0].Resources.Requests.Memory().String(); got != "1Mi" {
		t.Errorf("memory request = %s, want the caller's", got)
	}
	if s := c.Secrets(); len(s) != 1 || len(s[0].OwnerReferences) != 1 || s[0].OwnerReferences[0].UID != pod.UID {
		t.Error("the secret does not belong to the chaincode's pod")
	}
	// The peer's node died: nobody asks the launcher to stop, the garbage collector acts.
	c.RemovePeer(node + "-0")
	awaitEmpty(t, c)
	if err := <-ended; err == nil {
		t.Error("Run = nil although its pod was deleted")
	}
}
